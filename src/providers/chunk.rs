//! Chunks of a streamed answer: the raw JSON to pass on, and the fields parsed from it.

use crate::answer_end::AnswerEnd;
use crate::chat::Usage;
use crate::openai::read_usage;
use bytes::Bytes;
use serde_json::Value;

/// A chunk of a streamed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatChunk {
    /// OpenAI's `chat.completion.chunk` as JSON: the provider's own bytes if it uses that protocol.
    pub data: Bytes,
    pub content: Option<String>,
    /// Usage of the call so far; the largest value counts.
    pub usage: Option<Usage>,
    pub finish_reason: Option<String>,
    /// Reason why an answer ended within this chunk; [`AnswerEnd::Unknown`] if none did.
    pub end: AnswerEnd,
    /// True if the chunk adds to an answer or ends one. A role alone does neither.
    pub has_answer: bool,
    pub is_usage_only: bool,
}

/// A part of a tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToolCallDelta {
    pub index: u64,
    pub id: String,
    pub name: String,
    pub arguments: String,
}

/// A chunk with its parsed fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParsedChunk {
    pub chat_chunk: ChatChunk,
    pub model: Option<String>,
    pub calls: Vec<ToolCallDelta>,
    pub choices: usize,
    pub finished: Vec<u64>,
}

impl ParsedChunk {
    /// Parses a chunk; a missing field or one of another type counts as absent.
    pub(crate) fn read(value: &Value, data: Bytes) -> Self {
        let choices = value["choices"].as_array().map_or(&[][..], Vec::as_slice);
        let mut chunk = Self {
            chat_chunk: ChatChunk {
                data,
                content: None,
                usage: read_usage(&value["usage"]),
                finish_reason: None,
                end: AnswerEnd::Unknown,
                has_answer: choices.iter().any(adds_to_answer),
                is_usage_only: !value["usage"].is_null() && choices.iter().all(is_empty_choice),
            },
            model: nonempty_text(&value["model"]),
            calls: Vec::new(),
            choices: choices.len(),
            finished: Vec::new(),
        };
        for choice in choices {
            let delta = &choice["delta"];
            chunk.add_text(&delta["content"]);
            chunk.add_text(&delta["refusal"]);
            let calls = delta["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
            chunk.calls.extend(calls.iter().enumerate().map(|(at, call)| tool_call_delta(at, call)));
            chunk.chat_chunk.end = chunk.chat_chunk.end.followed_by(AnswerEnd::of_choice(choice));
            if let Some(reason) = nonempty_text(&choice["finish_reason"]) {
                chunk.finished.push(choice["index"].as_u64().unwrap_or(0));
                chunk.chat_chunk.finish_reason = Some(reason);
            }
        }
        chunk
    }

    fn add_text(&mut self, content: &Value) {
        let mut add = |text: &str| {
            if !text.is_empty() {
                self.chat_chunk.content.get_or_insert_default().push_str(text);
            }
        };
        match content {
            Value::String(text) => add(text),
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).for_each(add),
            _ => {}
        }
    }
}

/// Returns whether a choice adds nothing to its answer, as in LiteLLM's usage chunk.
fn is_empty_choice(choice: &Value) -> bool {
    let is_empty = |value: &Value| value.as_object().map_or(value.is_null(), serde_json::Map::is_empty);
    is_empty(&choice["delta"]) && choice["finish_reason"].is_null() && choice["logprobs"].is_null()
}

/// Returns whether a choice adds to its answer or ends it.
fn adds_to_answer(choice: &Value) -> bool {
    let holds = |value: &Value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(parts) => !parts.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    };
    let delta = choice["delta"].as_object();
    nonempty_text(&choice["finish_reason"]).is_some()
        || delta.is_some_and(|delta| delta.iter().any(|(name, value)| name != "role" && holds(value)))
}

/// Returns a text that is not empty; several providers write an empty text in the place of null.
fn nonempty_text(value: &Value) -> Option<String> {
    value.as_str().filter(|nonempty_text| !nonempty_text.is_empty()).map(str::to_owned)
}

fn tool_call_delta(at: usize, call: &Value) -> ToolCallDelta {
    let function = &call["function"];
    ToolCallDelta {
        index: call["index"].as_u64().unwrap_or(at as u64),
        id: nonempty_text(&call["id"]).unwrap_or_default(),
        name: nonempty_text(&function["name"]).unwrap_or_default(),
        arguments: match &function["arguments"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            whole => whole.to_string(),
        },
    }
}
