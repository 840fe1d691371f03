//! Assembles a whole answer from a stream's chunks.

use crate::answer_end::AnswerEnd;
use crate::chat::{ChatAnswer, ToolCall, Usage};
use crate::chunk::{ParsedChunk, ToolCallDelta};
use arbiter_core::provider::rate_limit::RateHints;

/// Answer assembled so far.
#[derive(Debug, Default)]
pub(crate) struct StreamAssembler {
    model: Option<String>,
    content: String,
    calls: Vec<(u64, ToolCall)>,
    finish_reason: Option<String>,
    end: AnswerEnd,
    usage: Usage,
    has_choice: bool,
}

impl StreamAssembler {
    pub(crate) fn add(&mut self, chunk: ParsedChunk) {
        self.has_choice |= chunk.choices > 0;
        if self.model.is_none() {
            self.model = chunk.model;
        }
        self.content.push_str(chunk.chat_chunk.content.as_deref().unwrap_or_default());
        for part in chunk.calls {
            self.add_call(part);
        }
        self.finish_reason = chunk.chat_chunk.finish_reason.or(self.finish_reason.take());
        self.end = self.end.followed_by(chunk.chat_chunk.end);
        // Some providers report a running total with every chunk, and a zero with the last.
        self.usage = self.usage.at_least(chunk.chat_chunk.usage.unwrap_or_default());
    }

    fn add_call(&mut self, part: ToolCallDelta) {
        let open = self.calls.iter_mut().rfind(|(index, _)| *index == part.index);
        match open {
            // A different id under the same index is another call: some providers number each call from 0.
            Some((_, call)) if part.id.is_empty() || call.id.is_empty() || call.id == part.id => {
                if call.id.is_empty() {
                    call.id = part.id;
                }
                if call.name.is_empty() {
                    call.name = part.name;
                }
                call.arguments.push_str(&part.arguments);
            }
            _ => {
                let call = ToolCall { id: part.id, name: part.name, arguments: part.arguments };
                self.calls.push((part.index, call));
            }
        }
    }

    /// Returns the whole answer; `asked_model` is used if no chunk named a model.
    ///
    /// # Errors
    /// A text that names the missing part.
    pub(crate) fn finish(self, asked_model: &str, rate_hints: RateHints) -> Result<ChatAnswer, String> {
        if !self.has_choice {
            return Err("the stream holds no choice".to_owned());
        }
        if self.calls.iter().any(|(_, call)| call.name.is_empty()) {
            return Err("the stream holds a tool's call without a name".to_owned());
        }
        let calls = self.calls.into_iter().enumerate();
        let named = |(at, (_, call)): (usize, (u64, ToolCall))| match call.id.is_empty() {
            true => ToolCall { id: format!("call_{at}"), ..call },
            false => call,
        };
        Ok(ChatAnswer {
            model: self.model.unwrap_or_else(|| asked_model.to_owned()),
            content: self.content,
            tool_calls: calls.map(named).collect(),
            finish_reason: self.finish_reason,
            end: self.end,
            usage: self.usage,
            rate_hints,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn assemble(chunks: &[Value]) -> Result<ChatAnswer, String> {
        let mut assembler = StreamAssembler::default();
        for chunk in chunks {
            assembler.add(ParsedChunk::read(chunk, bytes::Bytes::new()));
        }
        assembler.finish("asked", RateHints::default())
    }

    fn calls(deltas: &[Value]) -> Vec<(String, String, String)> {
        let chunk = |calls: &Value| json!({"choices": [{"delta": {"tool_calls": calls}}]});
        let chunks: Vec<Value> = deltas.iter().map(chunk).collect();
        let calls = assemble(&chunks).unwrap().tool_calls;
        calls.into_iter().map(|call| (call.id, call.name, call.arguments)).collect()
    }

    #[test]
    fn tool_call_arguments_are_joined_by_index() {
        let joined = calls(&[
            json!([{"index": 0, "id": "a", "function": {"name": "one", "arguments": ""}}]),
            json!([{"index": 1, "id": "b", "function": {"name": "two", "arguments": "{"}}]),
            json!([{"index": 0, "function": {"arguments": "{\"x\":"}}, {"index": 1, "function": {"arguments": "}"}}]),
            json!([{"index": 0, "id": "a", "function": {"name": "one", "arguments": "1}"}}]),
        ]);
        let call = |id: &str, name: &str, text: &str| (id.to_owned(), name.to_owned(), text.to_owned());
        assert_eq!(joined, [call("a", "one", "{\"x\":1}"), call("b", "two", "{}")]);
    }

    #[test]
    fn tool_calls_with_one_index_are_separated_by_id() {
        let whole =
            |id: &str| json!([{"index": 0, "id": id, "function": {"name": "f", "arguments": {"x": 1}}}]);
        let ids: Vec<String> = calls(&[whole("a"), whole("b")]).into_iter().map(|call| call.0).collect();
        assert_eq!(ids, ["a", "b"]);
        let nameless = calls(&[json!([{"function": {"name": "f"}}, {"function": {"name": "g"}}])]);
        assert_eq!((nameless[0].0.as_str(), nameless[1].0.as_str()), ("call_0", "call_1"));
    }

    #[test]
    fn largest_usage_report_counts() {
        let usage = |output: u64| json!({"prompt_tokens": 5, "completion_tokens": output});
        let answer = assemble(&[
            json!({"choices": [{"delta": {"content": "a"}}], "usage": usage(1)}),
            json!({"choices": [{"delta": {"content": "b"}, "finish_reason": "stop"}], "usage": usage(2)}),
            json!({"choices": [], "usage": null}),
            json!({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}),
        ]);
        let answer = answer.unwrap();
        assert_eq!((answer.content.as_str(), answer.model.as_str()), ("ab", "asked"));
        assert_eq!(answer.usage, Usage { input_tokens: 5, output_tokens: 2 });
    }

    #[test]
    fn stream_without_an_answer_is_an_error() {
        assert!(assemble(&[json!({"choices": []})]).is_err());
        assert!(assemble(&[json!({"choices": [{"delta": {"tool_calls": [{"id": "a"}]}}]})]).is_err());
    }
}
