//! Replies written as OpenAI's HTTP answers, whole or as a stream of events.
//!
//! Must not know connections: it makes responses. `provider_faults.rs` makes the bodies, and breaks them;
//! `provider_messages.rs` writes the same replies in Anthropic's words.

use crate::provider_faults::{Body, body};
use crate::provider_messages;
use crate::script::{ChatInput, Reply, TokenCount, WireProtocol};
use hyper::Response;
use hyper::header::CONTENT_TYPE;
use serde_json::{Value, json};

/// The content type and text of a chat's answer.
pub(crate) fn chat_answer(reply: &Reply, chat: &ChatInput) -> (&'static str, String) {
    match &reply.body {
        Some(raw) => ("application/json", raw.clone()),
        None => match (chat.protocol, chat.wants_stream()) {
            (WireProtocol::OpenAi, true) => ("text/event-stream", streamed(reply, chat)),
            (WireProtocol::OpenAi, false) => ("application/json", whole(reply, chat).to_string()),
            (WireProtocol::Anthropic, true) => {
                ("text/event-stream", provider_messages::streamed(reply, chat))
            }
            (WireProtocol::Anthropic, false) => {
                ("application/json", provider_messages::whole(reply, chat).to_string())
            }
        },
    }
}

/// The response that carries `text` as the reply wants it, or breaks on the way.
pub(crate) fn response(reply: &Reply, content_type: &str, text: String) -> Response<Body> {
    let mut builder = Response::builder().status(reply.status);
    if !reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        builder = builder.header(CONTENT_TYPE, content_type);
    }
    for (name, value) in &reply.headers {
        builder = builder.header(name, value);
    }
    builder.body(body(reply.fault.as_ref(), text)).expect("a script's headers are well formed")
}

fn whole(reply: &Reply, chat: &ChatInput) -> Value {
    let mut message = json!({"role": "assistant", "content": content(reply)});
    if !reply.tool_calls.is_empty() {
        message["tool_calls"] = tool_calls(reply);
    }
    json!({
        "id": format!("chatcmpl-scripted-{}", chat.number),
        "object": "chat.completion",
        "created": 0,
        "model": chat.model(),
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(reply)}],
        "usage": usage(reply, chat),
    })
}

/// One event per word, one for each tool's call and two for its arguments, one for the reason, one for the
/// usage, `[DONE]`.
fn streamed(reply: &Reply, chat: &ChatInput) -> String {
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": format!("chatcmpl-scripted-{}", chat.number),
            "object": "chat.completion.chunk",
            "created": 0,
            "model": chat.model(),
            "choices": choices,
            "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let delta =
        |delta: Value| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]), Value::Null);
    let mut text = delta(json!({"role": "assistant", "content": ""}));
    for word in reply.text.split_inclusive(' ') {
        text.push_str(&delta(json!({"content": word})));
    }
    for (index, call) in reply.tool_calls.iter().enumerate() {
        let head = json!({"name": call.name, "arguments": ""});
        text.push_str(&delta(
            json!({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": head}]}),
        ));
        for part in halves(&call.arguments.to_string()) {
            text.push_str(&delta(json!({"tool_calls": [{"index": index, "function": {"arguments": part}}]})));
        }
    }
    let end = json!([{"index": 0, "delta": {}, "finish_reason": finish_reason(reply)}]);
    text.push_str(&chunk(end, Value::Null));
    if chat.body["stream_options"]["include_usage"] == true {
        text.push_str(&chunk(json!([]), usage(reply, chat)));
    }
    text.push_str("data: [DONE]\n\n");
    text
}

fn content(reply: &Reply) -> Value {
    if reply.text.is_empty() { Value::Null } else { reply.text.as_str().into() }
}

fn finish_reason(reply: &Reply) -> &'static str {
    if reply.tool_calls.is_empty() { "stop" } else { "tool_calls" }
}

fn tool_calls(reply: &Reply) -> Value {
    let calls = reply.tool_calls.iter().enumerate();
    calls
        .map(|(index, call)| {
            let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
            json!({"index": index, "id": call.id, "type": "function", "function": function})
        })
        .collect()
}

/// A text in two parts, as arguments come in a stream.
pub(crate) fn halves(text: &str) -> [&str; 2] {
    let (first, second) = text.split_at(text.floor_char_boundary(text.len() / 2));
    [first, second]
}

fn usage(reply: &Reply, chat: &ChatInput) -> Value {
    let TokenCount { input, output } = tokens(reply, chat);
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}

/// Four letters make a token, as a rule of thumb.
pub(crate) fn tokens(reply: &Reply, chat: &ChatInput) -> TokenCount {
    let guess = |letters: usize| letters.div_ceil(4) as u64;
    reply.usage.unwrap_or_else(|| TokenCount {
        input: guess(chat.body["messages"].to_string().len()),
        output: guess(reply.text.len() + reply.tool_calls.len()),
    })
}
