//! Converts Anthropic's events to OpenAI's chunks, one at a time.

use super::{AnswerShape, JSON_TOOL, finish_reason, usage};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A tool call with incomplete arguments.
#[derive(Debug)]
struct OpenToolCall {
    target: ArgumentTarget,
    has_arguments: bool,
}

/// Destination of a call's arguments.
#[derive(Clone, Copy, Debug)]
enum ArgumentTarget {
    /// The call with this index in OpenAI's numbering, which skips texts.
    Call(usize),
    Text,
}

/// Translator of one stream.
#[derive(Debug)]
pub(crate) struct StreamTranslator {
    shape: AnswerShape,
    created: u64,
    id: Value,
    model: Value,
    calls: usize,
    open: BTreeMap<u64, OpenToolCall>,
    usage: Map<String, Value>,
    is_done: bool,
}

impl StreamTranslator {
    /// Creates a translator; `created` is in seconds since 1970.
    pub(crate) fn new(shape: AnswerShape, created: u64) -> Self {
        Self {
            shape,
            created,
            id: Value::Null,
            model: Value::Null,
            calls: 0,
            open: BTreeMap::new(),
            usage: Map::new(),
            is_done: false,
        }
    }

    /// Returns whether the stream has announced its end.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Converts an event to a chunk, if it has one. Unknown kinds of events are skipped, as the protocol
    /// requires.
    pub(crate) fn event(&mut self, event: &Value) -> Option<Value> {
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => {
                let message = &event["message"];
                self.id = message["id"].clone();
                self.model = message["model"].clone();
                self.add_usage(&message["usage"]);
                Some(self.delta(json!({"role": "assistant", "content": ""})))
            }
            "content_block_start" => self.on_block_start(event),
            "content_block_delta" => self.on_block_delta(event),
            "content_block_stop" => {
                let call = self.open.remove(&event["index"].as_u64()?)?;
                // A call without arguments gets an empty object, because an empty text is not JSON.
                (!call.has_arguments).then(|| self.arguments(call.target, "{}"))
            }
            "message_delta" => {
                self.add_usage(&event["usage"]);
                let reason = finish_reason(event["delta"]["stop_reason"].as_str()?, self.shape);
                let choice = json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": reason});
                Some(self.chunk(json!([choice])))
            }
            "message_stop" => self.end(),
            _ => None,
        }
    }

    /// Returns the last chunk, which holds the usage; `None` if it was returned before.
    pub(crate) fn end(&mut self) -> Option<Value> {
        if self.is_done {
            return None;
        }
        self.is_done = true;
        let mut chunk = self.chunk(json!([]));
        chunk["usage"] = usage(&Value::Object(self.usage.clone()));
        Some(chunk)
    }

    fn on_block_start(&mut self, event: &Value) -> Option<Value> {
        let block = &event["content_block"];
        match block["type"].as_str()? {
            "text" => Some(block["text"].as_str()?)
                .filter(|text| !text.is_empty())
                .map(|text| self.delta(json!({"content": text}))),
            "tool_use" => {
                let is_answer = self.shape == AnswerShape::JsonFromTool && block["name"] == JSON_TOOL;
                let target = if is_answer { ArgumentTarget::Text } else { ArgumentTarget::Call(self.calls) };
                // Some servers send the whole input with the start of the block, and no deltas.
                let input = block["input"].as_object().filter(|input| !input.is_empty());
                let open = OpenToolCall { target, has_arguments: input.is_some() };
                self.open.insert(event["index"].as_u64()?, open);
                let arguments =
                    input.map(|input| Value::Object(input.clone()).to_string()).unwrap_or_default();
                let ArgumentTarget::Call(index) = target else {
                    return (!arguments.is_empty()).then(|| self.arguments(target, &arguments));
                };
                self.calls += 1;
                let function = json!({"name": block["name"], "arguments": arguments});
                let call =
                    json!({"index": index, "id": block["id"], "type": "function", "function": function});
                Some(self.delta(json!({"tool_calls": [call]})))
            }
            _ => None,
        }
    }

    fn on_block_delta(&mut self, event: &Value) -> Option<Value> {
        let delta = &event["delta"];
        match delta["type"].as_str()? {
            "text_delta" => Some(self.delta(json!({"content": delta["text"].as_str()?}))),
            "input_json_delta" => {
                let part = delta["partial_json"].as_str().filter(|part| !part.is_empty())?;
                let call = self.open.get_mut(&event["index"].as_u64()?)?;
                call.has_arguments = true;
                let target = call.target;
                Some(self.arguments(target, part))
            }
            _ => None,
        }
    }

    fn arguments(&self, target: ArgumentTarget, part: &str) -> Value {
        self.delta(match target {
            ArgumentTarget::Call(index) => {
                json!({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
            }
            ArgumentTarget::Text => json!({"content": part}),
        })
    }

    fn delta(&self, delta: Value) -> Value {
        self.chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]))
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    /// Adds a usage report. Counts only grow: a later report with a missing number or 0 changes nothing.
    fn add_usage(&mut self, counted: &Value) {
        for (name, value) in counted.as_object().into_iter().flatten() {
            let before = self.usage.get(name).and_then(Value::as_u64).unwrap_or(0);
            if value.as_u64().is_some_and(|now| now >= before) {
                self.usage.insert(name.clone(), value.clone());
            }
        }
    }
}
