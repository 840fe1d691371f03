//! Replies written as Anthropic's Messages, whole or as a stream of events.

use crate::provider_wire::{halves, tokens};
use crate::script::{ChatInput, Reply};
use serde_json::{Value, json};

/// The message.
pub(crate) fn whole(reply: &Reply, chat: &ChatInput) -> Value {
    let mut content = Vec::new();
    if !reply.text.is_empty() {
        content.push(json!({"type": "text", "text": reply.text}));
    }
    for call in &reply.tool_calls {
        content.push(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}));
    }
    let mut message = message(chat);
    message["content"] = content.into();
    message["stop_reason"] = stop_reason(reply).into();
    message["usage"] = usage(reply, chat);
    message
}

/// The start, a ping, a block for the text with an event per word, a block for each tool's call with its
/// arguments in two parts, the reason with the usage, the end.
pub(crate) fn streamed(reply: &Reply, chat: &ChatInput) -> String {
    let mut text = String::new();
    let mut event = |event: Value| {
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        text.push_str(&format!("event: {kind}\ndata: {event}\n\n"));
    };
    let mut start = message(chat);
    start["content"] = json!([]);
    start["usage"] = json!({"input_tokens": tokens(reply, chat).input, "output_tokens": 1});
    event(json!({"type": "message_start", "message": start}));
    event(json!({"type": "ping"}));
    let mut index = 0;
    if !reply.text.is_empty() {
        let block = json!({"type": "text", "text": ""});
        event(json!({"type": "content_block_start", "index": index, "content_block": block}));
        for word in reply.text.split_inclusive(' ') {
            let delta = json!({"type": "text_delta", "text": word});
            event(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        event(json!({"type": "content_block_stop", "index": index}));
        index += 1;
    }
    for call in &reply.tool_calls {
        let block = json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}});
        event(json!({"type": "content_block_start", "index": index, "content_block": block}));
        for part in halves(&call.arguments.to_string()) {
            let delta = json!({"type": "input_json_delta", "partial_json": part});
            event(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        event(json!({"type": "content_block_stop", "index": index}));
        index += 1;
    }
    let delta = json!({"stop_reason": stop_reason(reply), "stop_sequence": null});
    event(json!({"type": "message_delta", "delta": delta, "usage": usage(reply, chat)}));
    event(json!({"type": "message_stop"}));
    text
}

fn message(chat: &ChatInput) -> Value {
    json!({
        "id": format!("msg_scripted_{}", chat.number),
        "type": "message",
        "role": "assistant",
        "model": chat.model(),
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
    })
}

fn stop_reason(reply: &Reply) -> &'static str {
    if reply.tool_calls.is_empty() { "end_turn" } else { "tool_use" }
}

fn usage(reply: &Reply, chat: &ChatInput) -> Value {
    let used = tokens(reply, chat);
    json!({"input_tokens": used.input, "output_tokens": used.output})
}
