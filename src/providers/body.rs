//! A chat request that the gateway passes on: OpenAI's request, field by field.
//!
//! Must not validate fields: a provider with OpenAI's protocol gets them all. The translator to another
//! protocol refuses those without a counterpart.

use crate::chat::ChatRequest;
use crate::openai;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Size assumed for an image, a sound or a file, in characters: about the cost of a large image.
const OTHER_PART_CHARS: u64 = 6_000;

/// Fields that limit the tokens of an answer.
const LIMITS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// Body of a chat completion as OpenAI defines it, with every field of the request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChatBody(pub Map<String, Value>);

impl ChatBody {
    /// Returns the requested model; empty if none is given.
    pub fn model(&self) -> &str {
        self.0.get("model").and_then(Value::as_str).unwrap_or_default()
    }

    /// Sets the requested model.
    pub fn set_model(&mut self, model: &str) {
        self.0.insert("model".to_owned(), model.into());
    }

    /// Returns whether the caller requests a streamed answer.
    pub fn wants_stream(&self) -> bool {
        self.0.get("stream") == Some(&Value::Bool(true))
    }

    /// Returns whether the caller requests the usage at the end of a stream.
    pub fn wants_usage(&self) -> bool {
        self.0.get("stream_options").is_some_and(|options| options["include_usage"] == true)
    }

    /// Counts the characters of the prompt and of every other text that a provider may read, such as tools. A
    /// non-text part counts as [`OTHER_PART_CHARS`].
    pub fn prompt_chars(&self) -> u64 {
        let messages = self.0.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let is_text = |value: &&Value| value.is_string() || value.is_array() || value.is_object();
        let others = self.0.iter().filter(|(name, _)| !["model", "messages"].contains(&name.as_str()));
        let others =
            others.map(|(_, value)| value).filter(is_text).map(|value| value.to_string().len() as u64);
        messages.iter().map(chars_of).chain(others).fold(0, u64::saturating_add)
    }

    /// Returns the token limit of all answers together, if the caller sets one. Of two limits the larger counts:
    /// each provider reads another field.
    pub fn answer_tokens(&self) -> Option<u64> {
        let most = LIMITS.iter().filter_map(|name| count(self.0.get(*name)?)).max();
        Some(most?.saturating_mul(self.choices()))
    }

    /// Limits each answer to `tokens`, in the place of any limit that cannot be read. `newer` names the field:
    /// `max_completion_tokens`, which OpenAI's models require, or `max_tokens`, which every other server knows.
    pub fn limit_answer(&mut self, tokens: u32, newer: bool) {
        for name in LIMITS {
            self.0.remove(name);
        }
        let [newest, oldest] = LIMITS;
        self.0.insert(if newer { newest } else { oldest }.to_owned(), tokens.into());
    }

    /// Returns the number of requested answers, at least one.
    pub fn choices(&self) -> u64 {
        self.0.get("n").and_then(count).unwrap_or(1).max(1)
    }

    /// Serializes the request for an answer that is not streamed.
    pub(crate) fn whole(&self) -> Vec<u8> {
        let mut fields = self.0.clone();
        fields.insert("stream".to_owned(), false.into());
        // Valid only in a streamed request.
        fields.remove("stream_options");
        written(fields)
    }

    /// Serializes the request for a stream that reports its usage.
    pub(crate) fn streamed_with_usage(&self) -> Vec<u8> {
        let mut fields = self.0.clone();
        fields.insert("stream".to_owned(), true.into());
        match fields.get_mut("stream_options") {
            Some(Value::Object(options)) => {
                options.insert("include_usage".to_owned(), true.into());
            }
            _ => {
                fields.insert("stream_options".to_owned(), json!({"include_usage": true}));
            }
        }
        written(fields)
    }

    /// Serializes the request for a stream from a provider that cannot report the usage.
    pub(crate) fn streamed(&self) -> Vec<u8> {
        let mut fields = self.0.clone();
        fields.insert("stream".to_owned(), true.into());
        fields.remove("stream_options");
        written(fields)
    }
}

impl From<&ChatRequest> for ChatBody {
    fn from(request: &ChatRequest) -> Self {
        Self(openai::chat_fields(request))
    }
}

/// Reads a number as a provider would: `2.0` is two, and half a token is one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not negative, and a cast saturates
fn count(value: &Value) -> Option<u64> {
    let number = value.as_f64().filter(|number| *number >= 0.0)?;
    Some(value.as_u64().unwrap_or(number.ceil() as u64))
}

/// Counts the characters of a message.
fn chars_of(message: &Value) -> u64 {
    let calls = message.get("tool_calls").map_or(0, |calls| calls.to_string().len() as u64);
    let content = match &message["content"] {
        Value::String(text) => text.len() as u64,
        Value::Array(parts) => parts
            .iter()
            .map(|part| part["text"].as_str().map_or(OTHER_PART_CHARS, |text| text.len() as u64))
            .fold(0, u64::saturating_add),
        _ => 0,
    };
    content.saturating_add(calls)
}

fn written(fields: Map<String, Value>) -> Vec<u8> {
    Value::Object(fields).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(value: Value) -> ChatBody {
        serde_json::from_value(value).unwrap()
    }

    fn read(bytes: Vec<u8>) -> Value {
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn chat_body_keeps_unknown_fields_and_sets_stream_fields() {
        let asked = body(json!({
            "model": "m", "messages": [], "stream": true, "stream_options": {"x": 1}, "reasoning_effort": "low",
        }));
        let kept = json!({"model": "m", "messages": [], "reasoning_effort": "low"});
        let with = |stream: bool, options: Value| {
            let mut expected = kept.clone();
            expected["stream"] = stream.into();
            if !options.is_null() {
                expected["stream_options"] = options;
            }
            expected
        };
        assert_eq!(read(asked.whole()), with(false, Value::Null));
        assert_eq!(read(asked.streamed()), with(true, Value::Null));
        assert_eq!(read(asked.streamed_with_usage()), with(true, json!({"x": 1, "include_usage": true})));
    }

    #[test]
    fn chat_body_size_comes_from_texts_and_limits() {
        let asked = body(json!({"n": 2, "max_tokens": 5, "messages": [
            {"role": "user", "content": "12345"},
            {"role": "user", "content": [{"type": "text", "text": "123"}, {"type": "image_url"}]},
            {"role": "assistant", "content": null},
        ]}));
        assert_eq!((asked.prompt_chars(), asked.answer_tokens()), (8 + OTHER_PART_CHARS, Some(10)));
        for both in [(5, 7), (7, 5)] {
            let both = body(json!({"max_tokens": both.0, "max_completion_tokens": both.1}));
            assert_eq!((both.prompt_chars(), both.answer_tokens()), (0, Some(7)), "the larger one counts");
        }
        assert_eq!(body(json!({"max_tokens": 4.5, "n": 2.0})).answer_tokens(), Some(10));
        assert_eq!(body(json!({"functions": ["123"]})).prompt_chars(), 7);
        for unknown in
            [json!({}), json!({"max_tokens": "9"}), json!({"max_tokens": -1}), json!({"max_tokens": null})]
        {
            let mut unknown = body(unknown);
            assert_eq!(unknown.answer_tokens(), None);
            unknown.limit_answer(3, true);
            assert_eq!(read(unknown.whole()), json!({"max_completion_tokens": 3, "stream": false}));
            unknown.limit_answer(3, false);
            assert_eq!(read(unknown.whole()), json!({"max_tokens": 3, "stream": false}));
        }
    }

    #[test]
    fn chat_body_reports_its_options() {
        let mut asked = body(json!({"n": 2, "stream_options": {"include_usage": true}}));
        assert_eq!((asked.model(), asked.choices()), ("", 2));
        assert!(asked.wants_usage() && !asked.wants_stream());
        asked.set_model("m");
        assert_eq!(asked.model(), "m");
        assert!(!body(json!({"stream_options": null})).wants_usage());
    }
}
