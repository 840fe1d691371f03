//! Reason why a model's answer ended, in one vocabulary for every wire format.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Reason why an answer ended. Each reader of an answer must judge it: half a sentence is not a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerEnd {
    /// The model said all it had to say.
    Complete,
    /// The model waits for the results of its tool calls.
    ToolCalls,
    /// The token limit cut the answer off.
    Length,
    /// A filter of the provider removed the answer or a part of it.
    Filtered,
    /// The model declined to answer.
    Refused,
    /// The provider failed within the answer.
    Error,
    /// The provider gave no reason, or one that is not known; the answer counts as whole.
    #[default]
    Unknown,
}

impl AnswerEnd {
    /// Reads a provider's word for the end, in any letter case.
    pub(crate) fn of_word(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "stop" | "end_turn" | "stop_sequence" | "eos" | "eos_token" | "end" | "completed" => {
                Self::Complete
            }
            "tool_calls" | "tool_use" | "function_call" => Self::ToolCalls,
            "length"
            | "max_tokens"
            | "max_output_tokens"
            | "max_length"
            | "model_length"
            | "token_limit"
            | "model_context_window_exceeded" => Self::Length,
            "content_filter"
            | "content_filtered"
            | "guardrail_intervened"
            | "safety"
            | "recitation"
            | "blocklist"
            | "prohibited_content"
            | "spii"
            | "sensitive" => Self::Filtered,
            "refusal" | "refused" => Self::Refused,
            "error" | "network_error" | "insufficient_system_resource" | "abort" => Self::Error,
            _ => Self::Unknown,
        }
    }

    /// Reads the end of one of OpenAI's choices, whose text is in `message` or, of a stream, in `delta`.
    pub(crate) fn of_choice(choice: &Value) -> Self {
        let is_refusal = |part: &Value| part["refusal"].as_str().is_some_and(|text| !text.is_empty());
        if is_refusal(&choice["message"]) || is_refusal(&choice["delta"]) {
            return Self::Refused;
        }
        choice["finish_reason"].as_str().map(Self::of_word).unwrap_or_default()
    }

    /// Returns the end of an answer whose next part, or next choice, ended with `later`. A defect stays.
    #[must_use]
    pub fn followed_by(self, later: Self) -> Self {
        match (self.defect(), later) {
            (Some(_), _) if later.defect().is_none() => self,
            (None, Self::Unknown) => self,
            _ => later,
        }
    }

    /// Returns why the answer is not a whole one; `None` if it is.
    pub fn defect(self) -> Option<&'static str> {
        match self {
            Self::Complete | Self::ToolCalls | Self::Unknown => None,
            Self::Length => Some("the answer was cut off by its token limit"),
            Self::Filtered => Some("a filter of the provider stopped the answer"),
            Self::Refused => Some("the model refused to answer"),
            Self::Error => Some("the provider failed within the answer"),
        }
    }

    /// Returns the word under which an end is recorded.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ToolCalls => "tool_calls",
            Self::Length => "length",
            Self::Filtered => "filtered",
            Self::Refused => "refused",
            Self::Error => "error",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finish_reason_maps_to_its_end() {
        let end = |reason: Value| AnswerEnd::of_choice(&json!({"finish_reason": reason, "message": {}}));
        assert_eq!(end(json!("stop")), AnswerEnd::Complete);
        assert_eq!(end(json!("MAX_TOKENS")), AnswerEnd::Length);
        assert_eq!(end(json!("content_filter")), AnswerEnd::Filtered);
        assert_eq!(end(Value::Null), AnswerEnd::Unknown);
        let refusal =
            json!({"finish_reason": "stop", "message": {"content": null, "refusal": "I will not."}});
        assert_eq!(AnswerEnd::of_choice(&refusal), AnswerEnd::Refused);
    }

    #[test]
    fn defect_outlasts_a_later_whole_end() {
        let end = |first: AnswerEnd, later| first.followed_by(later);
        assert_eq!(end(AnswerEnd::Refused, AnswerEnd::Complete), AnswerEnd::Refused);
        assert_eq!(end(AnswerEnd::Complete, AnswerEnd::Length), AnswerEnd::Length);
        assert_eq!(end(AnswerEnd::Complete, AnswerEnd::Unknown), AnswerEnd::Complete);
        assert_eq!(end(AnswerEnd::Unknown, AnswerEnd::ToolCalls), AnswerEnd::ToolCalls);
    }
}
