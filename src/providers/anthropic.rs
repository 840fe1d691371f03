//! Translation between Anthropic's Messages and OpenAI's chat completions, the only chat format used
//! internally.
//!
//! Must not connect. A field without a counterpart is refused by name and never dropped, so that the caller
//! learns that it is not supported.

mod answer;
mod messages;
mod request;
mod stream;

pub(crate) use answer::completion;
pub(crate) use request::{DeliveryMode, translate};
pub(crate) use stream::StreamTranslator;

use crate::openai::token_count;
use serde_json::{Value, json};

/// Protocol version, sent as the header `anthropic-version`.
pub(crate) const VERSION: &str = "2023-06-01";

/// Name of the tool that carries an answer which must follow a JSON Schema.
const JSON_TOOL: &str = "json_answer";

/// Shape of the answer to translate back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerShape {
    /// Text blocks become text and tool calls become tool calls.
    Plain,
    /// The arguments of [`JSON_TOOL`] become the text.
    JsonFromTool,
}

/// Returns OpenAI's finish reason for Anthropic's stop reason; unknown reasons pass through.
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

/// Converts the token usage. Anthropic counts cached tokens apart from the input.
fn usage(usage: &Value) -> Value {
    let tokens = |name: &str| token_count(&usage[name]).unwrap_or(0);
    let cached = tokens("cache_read_input_tokens");
    let written = tokens("cache_creation_input_tokens");
    let input = tokens("input_tokens").saturating_add(written).saturating_add(cached);
    let output = tokens("output_tokens");
    json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": input.saturating_add(output),
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}
