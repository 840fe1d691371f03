//! Converts Anthropic's message to OpenAI's completion.

use super::{AnswerShape, JSON_TOOL, finish_reason, usage};
use serde_json::{Value, json};

/// Converts a message to a completion; `created` is in seconds since 1970.
///
/// # Errors
/// A text that describes the defect of the message.
pub(crate) fn completion(message: &Value, shape: AnswerShape, created: u64) -> Result<Value, String> {
    let blocks = message["content"].as_array().ok_or("the answer holds no content")?;
    let mut text = String::new();
    let mut calls = Vec::new();
    for block in blocks {
        match block["type"].as_str().unwrap_or_default() {
            "text" => text.push_str(block["text"].as_str().unwrap_or_default()),
            "tool_use" if shape == AnswerShape::JsonFromTool && block["name"] == JSON_TOOL => {
                text.push_str(&block["input"].to_string());
            }
            "tool_use" => {
                let function = json!({"name": block["name"], "arguments": block["input"].to_string()});
                calls.push(json!({"id": block["id"], "type": "function", "function": function}));
            }
            // Thinking blocks are for the provider only.
            _ => {}
        }
    }
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { text.into() };
    let mut answer = json!({"role": "assistant", "content": content, "refusal": null});
    if !calls.is_empty() {
        answer["tool_calls"] = calls.into();
    }
    let reason = message["stop_reason"].as_str().map(|reason| finish_reason(reason, shape));
    let choice = json!({"index": 0, "message": answer, "logprobs": null, "finish_reason": reason});
    Ok(json!({
        "id": message["id"],
        "object": "chat.completion",
        "created": created,
        "model": message["model"],
        "choices": [choice],
        "usage": usage(&message["usage"]),
    }))
}
