//! Anthropic's Messages, translated from and to OpenAI's chat completions, the one form in which a chat is
//! kept here.
//!
//! Must not connect. What has no counterpart is refused by the name of its field and never dropped, for a
//! caller that asked for something must learn that it will not get it.

mod answer;
mod messages;
mod request;
mod stream;

pub(crate) use answer::completion;
pub(crate) use request::{DeliveryMode, translate};
pub(crate) use stream::StreamTranslator;

use serde_json::{Value, json};

/// The version of the protocol that is spoken: value of the header `anthropic-version`.
pub(crate) const VERSION: &str = "2023-06-01";

/// The tool through which an answer that must follow a JSON Schema is given.
const JSON_TOOL: &str = "json_answer";

/// What becomes of an answer on the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerShape {
    /// Texts are texts and tools are tools.
    Plain,
    /// The arguments of [`JSON_TOOL`] are the text.
    JsonFromTool,
}

/// OpenAI's word for why a model stopped; a word that is new here is passed on.
fn finish_reason(stop_reason: &str, shape: AnswerShape) -> &str {
    match stop_reason {
        "tool_use" if shape == AnswerShape::JsonFromTool => "stop",
        "tool_use" => "tool_calls",
        "end_turn" | "stop_sequence" | "pause_turn" => "stop",
        "max_tokens" | "model_context_window_exceeded" => "length",
        "refusal" => "content_filter",
        other => other,
    }
}

/// OpenAI's account of what a call used. Anthropic counts what went through its cache apart from the input.
fn usage(usage: &Value) -> Value {
    let tokens = |name: &str| usage[name].as_u64().unwrap_or(0);
    let cached = tokens("cache_read_input_tokens");
    let input = tokens("input_tokens") + tokens("cache_creation_input_tokens") + cached;
    let output = tokens("output_tokens");
    json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": input + output,
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}
