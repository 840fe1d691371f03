//! Replies written as OpenAI's HTTP answers, whole or as a stream of events, faults included.
//!
//! Must not know connections: it makes responses and bodies.

use crate::script::{ChatInput, Fault, Reply, TokenCount};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use hyper::header::CONTENT_TYPE;
use serde_json::{Value, json};
use std::io;

/// A body that may break while it is sent.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How many bytes of an endless body are made at once.
const ENDLESS_CHUNK_BYTES: usize = 64 * 1024;

/// The content type and text of a chat's answer.
pub(crate) fn chat_answer(reply: &Reply, chat: &ChatInput) -> (&'static str, String) {
    match &reply.body {
        Some(raw) => ("application/json", raw.clone()),
        None if chat.wants_stream() => ("text/event-stream", streamed(reply, chat)),
        None => ("application/json", whole(reply, chat).to_string()),
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
    builder.body(body(reply.fault.clone(), text)).expect("a script's headers are well formed")
}

fn body(fault: Option<Fault>, text: String) -> Body {
    let bytes = Bytes::from(text);
    let half = bytes.slice(..bytes.len() / 2);
    let pieces = match fault {
        None | Some(Fault::Hang) => {
            return Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
        }
        Some(Fault::CutInTheMiddle) => {
            let cut = stream::once(async {
                // Lets the first half leave before the connection goes.
                tokio::task::yield_now().await;
                Err(io::Error::from(io::ErrorKind::ConnectionAborted))
            });
            stream::iter([Ok(half)]).chain(cut).boxed()
        }
        Some(Fault::StallInTheMiddle) => stream::iter([Ok(half)]).chain(stream::pending()).boxed(),
        Some(Fault::OneBytePer(pause)) => stream::iter(0..bytes.len())
            .then(move |at| {
                let byte = bytes.slice(at..=at);
                async move {
                    tokio::time::sleep(pause).await;
                    Ok(byte)
                }
            })
            .boxed(),
        Some(Fault::HugeBody) => {
            let chunk = Bytes::from(vec![b' '; ENDLESS_CHUNK_BYTES]);
            stream::repeat_with(move || Ok(chunk.clone())).boxed()
        }
        Some(Fault::InvalidUtf8) => {
            let broken = [Bytes::from_static(b"{\"text\": \"\xff\xfe\"}")];
            stream::iter(broken.map(Ok)).boxed()
        }
    };
    let frames = pieces.map(|piece: io::Result<Bytes>| piece.map(Frame::data));
    BodyExt::boxed_unsync(StreamBody::new(frames))
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

/// One event per word, one for the tool calls, one for the reason, one for the usage, `[DONE]`.
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
    if !reply.tool_calls.is_empty() {
        text.push_str(&delta(json!({"tool_calls": tool_calls(reply)})));
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

/// Four letters make a token, as a rule of thumb.
fn usage(reply: &Reply, chat: &ChatInput) -> Value {
    let guess = |letters: usize| letters.div_ceil(4) as u64;
    let TokenCount { input, output } = reply.usage.unwrap_or_else(|| TokenCount {
        input: guess(chat.body["messages"].to_string().len()),
        output: guess(reply.text.len() + reply.tool_calls.len()),
    });
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}
