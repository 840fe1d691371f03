//! OpenAI's chat completions, as OpenAI, vLLM, Ollama, llama.cpp, LM Studio, OpenRouter and others implement
//! them: writes requests, reads answers.
//!
//! Strict in requests, tolerant in answers: a missing usage, `content: null`, arguments as an object and a bare
//! list of models all occur in practice. Must not connect.

use crate::answer_end::AnswerEnd;
use crate::chat::{ChatAnswer, ChatRequest, Message, ModelInfo, Speaker, Tool, ToolCall, Usage};
use arbiter_core::provider::rate_limit::RateHints;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Builds the fields of `POST {base}/chat/completions`, except those for the delivery mode.
pub(crate) fn chat_fields(request: &ChatRequest) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("model".into(), request.model.as_str().into());
    body.insert("messages".into(), request.messages.iter().map(message_body).collect());
    if !request.tools.is_empty() {
        body.insert("tools".into(), request.tools.iter().map(tool_body).collect());
    }
    if let Some(temperature) = request.temperature {
        body.insert("temperature".into(), temperature.into());
    }
    if let Some(max_tokens) = request.max_tokens {
        let name = if request.uses_completion_limit { "max_completion_tokens" } else { "max_tokens" };
        body.insert(name.into(), max_tokens.into());
    }
    body
}

fn message_body(message: &Message) -> Value {
    let mut body = Map::new();
    body.insert("role".into(), role_name(message.role).into());
    let only_calls = message.content.is_empty() && !message.tool_calls.is_empty();
    let content = if only_calls { Value::Null } else { message.content.as_str().into() };
    body.insert("content".into(), content);
    if !message.tool_calls.is_empty() {
        body.insert("tool_calls".into(), message.tool_calls.iter().map(tool_call_body).collect());
    }
    if let Some(id) = &message.tool_call_id {
        body.insert("tool_call_id".into(), id.as_str().into());
    }
    Value::Object(body)
}

fn role_name(role: Speaker) -> &'static str {
    match role {
        Speaker::System => "system",
        Speaker::User => "user",
        Speaker::Assistant => "assistant",
        Speaker::Tool => "tool",
    }
}

fn tool_body(tool: &Tool) -> Value {
    json!({
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
    })
}

fn tool_call_body(call: &ToolCall) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

#[derive(Deserialize)]
struct WireResponse {
    model: Option<String>,
    choices: Vec<WireChoice>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct WireChoice {
    message: WireMessage,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct WireMessage {
    content: Option<WireContent>,
    refusal: Option<String>,
    tool_calls: Option<Vec<WireToolCall>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireContent {
    Text(String),
    Parts(Vec<WirePart>),
}

#[derive(Deserialize)]
struct WirePart {
    text: Option<String>,
}

#[derive(Deserialize)]
struct WireToolCall {
    id: Option<String>,
    function: WireFunction,
}

#[derive(Deserialize)]
struct WireFunction {
    name: String,
    arguments: Option<Value>,
}

/// Parses the answer to a chat; `asked_model` is used if the answer names no model.
///
/// # Errors
/// A text that describes the defect of the answer. It may quote the answer, so it must be redacted.
pub(crate) fn read_chat(body: Value, asked_model: &str) -> Result<ChatAnswer, String> {
    let end = AnswerEnd::of_choice(&body["choices"][0]);
    let answer = WireResponse::deserialize(body).map_err(|error| error.to_string())?;
    let choice = answer.choices.into_iter().next().ok_or("the answer holds no choice")?;
    let content = match choice.message.content {
        Some(WireContent::Text(text)) => text,
        Some(WireContent::Parts(parts)) => parts.into_iter().filter_map(|part| part.text).collect(),
        None => choice.message.refusal.unwrap_or_default(),
    };
    let calls = choice.message.tool_calls.unwrap_or_default().into_iter().enumerate();
    Ok(ChatAnswer {
        model: answer.model.filter(|model| !model.is_empty()).unwrap_or_else(|| asked_model.to_owned()),
        content,
        tool_calls: calls.map(|(index, call)| read_tool_call(index, call)).collect(),
        finish_reason: choice.finish_reason,
        end,
        usage: answer.usage.as_ref().and_then(read_usage).unwrap_or_default(),
        rate_hints: RateHints::default(),
    })
}

/// Parses a `usage`; `None` if it counts nothing.
pub(crate) fn read_usage(usage: &Value) -> Option<Usage> {
    let tokens = |names: [&str; 2]| names.iter().find_map(|name| token_count(usage.get(*name)?));
    let input = tokens(["prompt_tokens", "input_tokens"]);
    let output = tokens(["completion_tokens", "output_tokens"]);
    if input.is_none() && output.is_none() {
        return None;
    }
    Some(Usage { input_tokens: input.unwrap_or(0), output_tokens: output.unwrap_or(0) })
}

/// Reads a number of tokens; some servers write it as a float.
pub(crate) fn token_count(value: &Value) -> Option<u64> {
    let float = || value.as_f64().filter(|count| count.is_finite() && *count >= 0.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // it is not negative, and the cast saturates
    value.as_u64().or_else(|| float().map(|count| count as u64))
}

fn read_tool_call(index: usize, call: WireToolCall) -> ToolCall {
    ToolCall {
        id: call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{index}")),
        name: call.function.name,
        arguments: match call.function.arguments {
            Some(Value::String(text)) => text,
            Some(Value::Null) | None => "{}".to_owned(),
            Some(value) => value.to_string(),
        },
    }
}

/// Parses `{"data": [{"id": …}]}` or the bare list; entries without an id are skipped.
///
/// # Errors
/// A text that describes the defect of the list.
pub(crate) fn read_models(body: &Value) -> Result<Vec<ModelInfo>, String> {
    let entries = match (body, body.get("data")) {
        (Value::Array(entries), _) | (_, Some(Value::Array(entries))) => entries.as_slice(),
        // Ollama without any model.
        (_, Some(Value::Null)) => &[],
        _ => return Err("the answer holds no list of models".to_owned()),
    };
    // Anthropic lists retired models and refuses every call to them.
    let living = entries.iter().filter(|entry| entry["lifecycle"] != "retired");
    Ok(living
        .filter_map(|entry| {
            let id = entry.get("id")?.as_str()?.to_owned();
            Some(ModelInfo { id, context_window: context_window(entry) })
        })
        .collect())
}

/// Reads the context window as Groq, vLLM, OpenRouter, LM Studio and Anthropic name it, in this order.
fn context_window(entry: &Value) -> Option<u64> {
    ["context_window", "max_model_len", "context_length", "max_context_length", "max_input_tokens"]
        .iter()
        .find_map(|name| entry.get(name)?.as_u64().filter(|tokens| *tokens > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_writes_tools_calls_and_results_like_openai() {
        let call = ToolCall { id: "c1".into(), name: "finish".into(), arguments: "{}".into() };
        let request = ChatRequest {
            model: "m".into(),
            messages: vec![
                Message::new(Speaker::User, "hello"),
                Message { tool_calls: vec![call], ..Message::new(Speaker::Assistant, "") },
                Message::tool_result("c1", "done"),
            ],
            tools: vec![Tool {
                name: "finish".into(),
                description: "ends".into(),
                parameters: json!({"type": "object"}),
            }],
            temperature: Some(0.5),
            max_tokens: Some(10),
            uses_completion_limit: false,
        };
        let expected = json!({
            "model": "m",
            "messages": [
                {"role": "user", "content": "hello"},
                {"role": "assistant", "content": null, "tool_calls":
                    [{"id": "c1", "type": "function", "function": {"name": "finish", "arguments": "{}"}}]},
                {"role": "tool", "content": "done", "tool_call_id": "c1"},
            ],
            "tools": [{"type": "function", "function":
                {"name": "finish", "description": "ends", "parameters": {"type": "object"}}}],
            "temperature": 0.5,
            "max_tokens": 10,
        });
        assert_eq!(Value::Object(chat_fields(&request)), expected);
    }

    #[test]
    fn request_omits_unset_options() {
        let request = ChatRequest {
            model: "m".into(),
            messages: vec![],
            tools: vec![],
            temperature: None,
            max_tokens: None,
            uses_completion_limit: false,
        };
        assert_eq!(Value::Object(chat_fields(&request)), json!({"model": "m", "messages": []}));
    }

    #[test]
    fn answer_without_usage_content_or_ids_is_read() {
        let body = json!({"choices": [{"message": {"content": null, "tool_calls": [
            {"function": {"name": "finish", "arguments": {"summary": "x"}}},
            {"id": "", "function": {"name": "block"}},
        ]}}], "usage": null});
        let answer = read_chat(body, "asked").unwrap();
        assert_eq!((answer.model.as_str(), answer.content.as_str()), ("asked", ""));
        assert_eq!(answer.usage, Usage::default());
        let calls: Vec<_> =
            answer.tool_calls.iter().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
        assert_eq!(calls, [("call_0", r#"{"summary":"x"}"#), ("call_1", "{}")]);
    }

    #[test]
    fn content_parts_and_refusals_become_text() {
        let text =
            |message: Value| read_chat(json!({"choices": [{"message": message}]}), "m").unwrap().content;
        assert_eq!(
            text(json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})),
            "ab"
        );
        assert_eq!(text(json!({"content": null, "refusal": "I cannot"})), "I cannot");
    }

    #[test]
    fn usage_is_read_as_floats_and_under_either_name() {
        let counted = Some(Usage { input_tokens: 1_000, output_tokens: 500 });
        let floats: Value =
            serde_json::from_str(include_str!("tests/fixtures/answer_usage_floats.json")).unwrap();
        assert_eq!(read_usage(&floats["usage"]), counted);
        assert_eq!(read_usage(&json!({"input_tokens": 1_000, "output_tokens": 500})), counted);
        assert_eq!(read_usage(&json!({"prompt_tokens": -1.5, "completion_tokens": "many"})), None);
    }

    #[test]
    fn answer_without_a_choice_is_an_error() {
        for body in [json!({}), json!({"choices": []}), json!({"choices": [{}]}), json!([]), json!("x")] {
            assert!(read_chat(body.clone(), "m").is_err(), "{body}");
        }
    }

    #[test]
    fn model_list_is_read_in_every_dialect() {
        let body = json!({"data": [
            {"id": "a"}, {"id": "b", "max_model_len": 8192}, {"id": "c", "context_length": 0}, {"name": "no id"},
        ]});
        let read: Vec<_> =
            read_models(&body).unwrap().into_iter().map(|m| (m.id, m.context_window)).collect();
        assert_eq!(read, [("a".into(), None), ("b".into(), Some(8192)), ("c".into(), None)]);
        assert_eq!(read_models(&json!([{"id": "a"}])).unwrap().len(), 1);
        assert_eq!(read_models(&json!({"data": null})).unwrap(), []);
        assert!(read_models(&json!({"models": []})).is_err());
        let stages = ["active", "deprecated", "retired"];
        let stages = stages.map(|stage| json!({"id": stage, "lifecycle": stage}));
        let left: Vec<_> = read_models(&json!(stages)).unwrap().into_iter().map(|m| m.id).collect();
        assert_eq!(left, ["active", "deprecated"]);
    }
}
