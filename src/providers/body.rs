//! A chat as a gateway passes it on: OpenAI's request, field by field.
//!
//! Must not judge the fields: a provider that speaks OpenAI's protocol gets them all, the translator to
//! another protocol says which it has nothing for.

use crate::chat::ChatRequest;
use crate::openai;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The body of a chat completion as OpenAI defines it, with every field it came with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChatBody(pub Map<String, Value>);

impl ChatBody {
    /// The model that is asked; empty when none is named.
    pub fn model(&self) -> &str {
        self.0.get("model").and_then(Value::as_str).unwrap_or_default()
    }

    /// Asks another model.
    pub fn set_model(&mut self, model: &str) {
        self.0.insert("model".to_owned(), model.into());
    }

    /// Whether the caller wants its answer as a stream.
    pub fn wants_stream(&self) -> bool {
        self.0.get("stream") == Some(&Value::Bool(true))
    }

    /// Whether the caller of a stream wants to be told at its end what it used.
    pub fn wants_usage(&self) -> bool {
        self.0.get("stream_options").is_some_and(|options| options["include_usage"] == true)
    }

    /// How many answers are wanted.
    pub(crate) fn choices(&self) -> u64 {
        self.0.get("n").and_then(Value::as_u64).unwrap_or(1)
    }

    /// What is sent for one answer that comes as a whole.
    pub(crate) fn whole(&self) -> Vec<u8> {
        let mut fields = self.0.clone();
        fields.insert("stream".to_owned(), false.into());
        // Only a stream may have them.
        fields.remove("stream_options");
        written(fields)
    }

    /// What is sent for a stream that tells what it used.
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

    /// What is sent to a provider that does not know how to tell it.
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
    fn unknown_fields_are_kept_and_those_of_the_delivery_are_ours() {
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
    fn a_body_tells_what_it_asks_for() {
        let mut asked = body(json!({"n": 2, "stream_options": {"include_usage": true}}));
        assert_eq!((asked.model(), asked.choices()), ("", 2));
        assert!(asked.wants_usage() && !asked.wants_stream());
        asked.set_model("m");
        assert_eq!(asked.model(), "m");
        assert!(!body(json!({"stream_options": null})).wants_usage());
    }
}
