//! Optional parts of a request that some servers and models refuse, learned from the text of the refusal.

use crate::error::{CallError, CallErrorKind};

/// An optional part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// `tools`: vLLM without a tool parser, Ollama with many small models, llama.cpp without `--jinja`.
    Tools,
    /// `temperature`: reasoning models accept only their default.
    Temperature,
    /// `max_tokens`: newer models of OpenAI take `max_completion_tokens` instead.
    MaxTokens,
}

/// Phrases by which servers refuse tools, in lower case.
const TOOL_PHRASES: [&str; 13] = [
    "tool choice requires",
    "enable-auto-tool-choice",
    "does not support tool",
    "do not support tool",
    "doesn't support tool",
    "that support tool use",
    "tools param requires",
    "tools are not supported",
    "tool use is not supported",
    "tool calling is not supported",
    "tool calls are not supported",
    "does not support function",
    "function calling is not",
];
/// Phrases by which servers refuse a named field, in lower case.
const FIELD_PHRASES: [&str; 8] = [
    "unsupported",
    "not supported",
    "does not support",
    "unrecognized",
    "unknown parameter",
    "not permitted",
    "deprecated",
    "unexpected keyword",
];

impl Capability {
    /// Returns what a run loses without it, as the rest of a sentence that begins with the provider.
    pub fn lack(self) -> &'static str {
        match self {
            Self::Tools => "takes no tools, so actions are asked for as text",
            Self::Temperature => "takes no temperature, so its own is used",
            Self::MaxTokens => "takes no max_tokens, so max_completion_tokens is sent",
        }
    }
}

impl CallError {
    /// Returns the part of the request that the provider refused, if its text names one. The same call without
    /// that part can succeed.
    pub fn lacking(&self) -> Option<Capability> {
        if !matches!(
            self.kind(),
            CallErrorKind::Refused | CallErrorKind::NotFound { .. } | CallErrorKind::Overloaded
        ) {
            return None;
        }
        let text = self.detail().to_ascii_lowercase();
        let refuses =
            |field: &str| text.contains(field) && FIELD_PHRASES.iter().any(|phrase| text.contains(phrase));
        if TOOL_PHRASES.iter().any(|phrase| text.contains(phrase)) || refuses("'tools'") {
            return Some(Capability::Tools);
        }
        if text.contains("max_completion_tokens") && refuses("max_tokens") {
            return Some(Capability::MaxTokens);
        }
        refuses("temperature").then_some(Capability::Temperature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_response::{RequestContext, from_status};
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;

    fn lacking(status: u16, body: &str) -> Option<Capability> {
        let context = RequestContext { model: Some("m"), key: None };
        let status = StatusCode::from_u16(status).unwrap();
        from_status(status, &HeaderMap::new(), body.as_bytes(), context).lacking()
    }

    #[test]
    fn refusal_names_the_lacking_capability() {
        for line in include_str!("tests/fixtures/refusals_of_tools.tsv").lines() {
            let (status, body) = line.split_once('\t').unwrap();
            assert_eq!(lacking(status.parse().unwrap(), body), Some(Capability::Tools), "{line}");
        }
        let table = [
            (
                "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is \
                 supported.",
                Some(Capability::Temperature),
            ),
            (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' \
                 instead.",
                Some(Capability::MaxTokens),
            ),
            ("temperature must be between 0 and 2", None),
            ("max_tokens is too large: 50000. This model supports at most 16384 completion tokens", None),
            ("I will not", None),
        ];
        for (text, expected) in table {
            assert_eq!(lacking(400, text), expected, "{text}");
        }
        assert_eq!(lacking(401, "this key does not support tools"), None);
    }
}
