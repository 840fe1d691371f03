//! A whole answer as a stream of one piece, for providers that do not stream.

use bytes::Bytes;
use serde_json::Value;

/// Converts OpenAI's completion to the events of a stream; `None` if it holds no choice.
pub(crate) fn events(mut completion: Value) -> Option<Bytes> {
    let choices = completion.get_mut("choices")?.as_array_mut().filter(|choices| !choices.is_empty())?;
    for choice in choices {
        let choice = choice.as_object_mut()?;
        let mut delta = choice.remove("message")?;
        if let Some(calls) = delta.get_mut("tool_calls").and_then(Value::as_array_mut) {
            for (at, call) in calls.iter_mut().enumerate() {
                call.as_object_mut()?.insert("index".to_owned(), at.into());
            }
        }
        choice.insert("delta".to_owned(), delta);
    }
    completion["object"] = "chat.completion.chunk".into();
    Some(format!("data: {completion}\n\ndata: [DONE]\n\n").into())
}
