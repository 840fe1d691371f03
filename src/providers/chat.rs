//! Provider-independent types of a chat.
//!
//! Runs are stored with these types, so a field may be added here but not renamed. Must not know any wire
//! format: `openai.rs` translates.

use crate::answer_end::AnswerEnd;
use arbiter_core::provider::rate_limit::RateHints;
use serde::{Deserialize, Serialize};

/// Role of a message's author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    System,
    User,
    Assistant,
    Tool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub role: Speaker,
    /// Text; empty if the model only calls tools.
    #[serde(default)]
    pub content: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// For [`Speaker::Tool`]: id of the call that this message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// Creates a message of plain text.
    pub fn new(role: Speaker, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None }
    }

    /// Creates the result message of the tool call with this id.
    pub fn tool_result(tool_call_id: impl Into<String>, content: impl Into<String>) -> Self {
        Self { tool_call_id: Some(tool_call_id.into()), ..Self::new(Speaker::Tool, content) }
    }
}

/// A tool that a model may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    pub name: String,
    pub description: String,
    /// JSON Schema of the arguments.
    pub parameters: serde_json::Value,
}

/// A tool call requested by a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Id that the result refers to; generated locally if the provider gives none.
    pub id: String,
    pub name: String,
    /// Arguments as JSON text, exactly as the model wrote them; possibly not valid JSON.
    pub arguments: String,
}

/// Provider-independent chat request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    pub model: String,
    /// Conversation so far, oldest first.
    pub messages: Vec<Message>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Sampling temperature; the provider's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Token limit of the answer; the provider's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Sends the limit as `max_completion_tokens`, for models that refuse `max_tokens`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uses_completion_limit: bool,
}

/// A model's answer to a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatAnswer {
    /// Model that answered, as the provider reports it; the requested model otherwise.
    pub model: String,
    /// Text of the answer; empty if the model only calls tools.
    pub content: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Reason why the model stopped, in the provider's word (`stop`, `length`, `tool_calls` …).
    pub finish_reason: Option<String>,
    /// The same reason in one vocabulary for all providers; answers stored by earlier versions have none.
    #[serde(default)]
    pub end: AnswerEnd,
    pub usage: Usage,
    /// Rate-limit headers of the answer; not stored.
    #[serde(skip)]
    pub rate_hints: RateHints,
}

/// Tokens of one call; zero if the provider did not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens, including those read from or written to a cache.
    pub input_tokens: u64,
    pub output_tokens: u64,
}

impl Usage {
    /// Returns the larger count of each kind: a later, smaller report does not undo an earlier one.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.max(other.input_tokens),
            output_tokens: self.output_tokens.max(other.output_tokens),
        }
    }
}

/// A model that a provider offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    pub id: String,
    /// Token limit of prompt and answer together, if the provider reports it.
    pub context_window: Option<u64>,
}
