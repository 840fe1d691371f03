//! Converts OpenAI's request to Anthropic's, field by field.

use super::messages::{Conversation, read_messages};
use super::{AnswerShape, JSON_TOOL};
use crate::body::ChatBody;
use crate::error::CallError;
use serde_json::{Map, Value, json};

/// Token limit of an answer when the caller sets none; Anthropic's protocol requires one.
const DEFAULT_MAX_TOKENS: u64 = 4096;

/// Delivery of an answer: whole or streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryMode {
    Whole,
    /// A stream of events.
    Streamed,
}

/// A request in Anthropic's format.
#[derive(Debug)]
pub(crate) struct TranslatedRequest {
    pub body: Value,
    pub shape: AnswerShape,
}

/// Translates a request.
///
/// # Errors
/// [`crate::CallErrorKind::Unsupported`] names the first field that cannot be translated.
pub(crate) fn translate(body: &ChatBody, delivery: DeliveryMode) -> Result<TranslatedRequest, CallError> {
    let mut request = Map::new();
    for (field, value) in body.0.iter().filter(|(_, value)| !value.is_null()) {
        plain_field(&mut request, field, value)?;
    }
    let field = |name: &str| body.0.get(name).filter(|value| !value.is_null());
    let Conversation { mut system, turns } = read_messages(field("messages").unwrap_or(&Value::Null))?;
    let tools = field("tools").map_or_else(|| Ok(Vec::new()), read_tools)?;
    let choice = choice(field("tool_choice"), field("parallel_tool_calls"))?;
    let mut shape = AnswerShape::Plain;
    match field("response_format").map(|format| (format, format["type"].as_str().unwrap_or_default())) {
        None | Some((_, "text")) => {}
        Some((_, "json_object")) => system.push("Answer with one JSON object and nothing else.".to_owned()),
        // A forced tool makes the model follow the schema. Beside the caller's own tools it would prevent their
        // use, so the schema is then only an instruction.
        Some((format, "json_schema")) => {
            let schema = &format["json_schema"]["schema"];
            if !schema.is_object() {
                return Err(CallError::unsupported("response_format", "json_schema without a schema"));
            }
            if tools.is_empty() {
                shape = AnswerShape::JsonFromTool;
                request.insert(
                    "tools".to_owned(),
                    json!([{
                        "name": JSON_TOOL, "description": "Gives the answer.", "input_schema": schema,
                    }]),
                );
                request.insert("tool_choice".to_owned(), json!({"type": "tool", "name": JSON_TOOL}));
            } else {
                system.push(format!(
                    "Answer with one JSON value and nothing else. It follows this JSON Schema: {schema}"
                ));
            }
        }
        Some((_, other)) => {
            let why = format!("Anthropic's Messages have nothing for the format {other:?}");
            return Err(CallError::unsupported("response_format", &why));
        }
    }
    if !tools.is_empty() {
        request.insert("tools".to_owned(), tools.into());
        request.extend(choice.map(|choice| ("tool_choice".to_owned(), choice)));
    }
    if !system.is_empty() {
        request.insert("system".to_owned(), system.join("\n\n").into());
    }
    request.insert("messages".to_owned(), turns.into());
    let limit = field("max_completion_tokens").or_else(|| field("max_tokens"));
    request.insert("max_tokens".to_owned(), limit.cloned().unwrap_or_else(|| DEFAULT_MAX_TOKENS.into()));
    request.insert("stream".to_owned(), (delivery == DeliveryMode::Streamed).into());
    Ok(TranslatedRequest { body: Value::Object(request), shape })
}

/// Translates a field that does not depend on others.
fn plain_field(request: &mut Map<String, Value>, field: &str, value: &Value) -> Result<(), CallError> {
    let (name, value) = match field {
        // These are translated together with other fields, or set by this program.
        "messages"
        | "tools"
        | "tool_choice"
        | "parallel_tool_calls"
        | "response_format"
        | "max_tokens"
        | "max_completion_tokens"
        | "stream"
        | "stream_options" => return Ok(()),
        "model" | "top_p" | "top_k" => (field, value.clone()),
        // OpenAI's scale ends at 2, Anthropic's at 1: larger values become 1.
        "temperature" if value.as_f64().is_some_and(|temperature| temperature > 1.0) => (field, json!(1.0)),
        "temperature" => (field, value.clone()),
        "stop" if value.is_string() => ("stop_sequences", json!([value])),
        "stop" => ("stop_sequences", value.clone()),
        "user" => ("metadata", json!({"user_id": value})),
        _ if is_default(field, value) => return Ok(()),
        "n" => return Err(CallError::unsupported(field, "Anthropic's Messages give one answer to a call")),
        _ => return Err(CallError::unsupported(field, "Anthropic's Messages have nothing for it")),
    };
    request.insert(name.to_owned(), value);
    Ok(())
}

/// Returns whether a field only repeats its default.
fn is_default(field: &str, value: &Value) -> bool {
    match field {
        "n" => *value == 1,
        "frequency_penalty" | "presence_penalty" => value.as_f64() == Some(0.0),
        "logprobs" | "store" => *value == false,
        "logit_bias" | "metadata" => value.as_object().is_some_and(Map::is_empty),
        "modalities" => *value == json!(["text"]),
        "service_tier" => *value == "auto" || *value == "default",
        _ => false,
    }
}

/// Converts the tools. `strict` is dropped: Anthropic's models follow the schema, without a guarantee.
fn read_tools(tools: &Value) -> Result<Vec<Value>, CallError> {
    let list = tools.as_array().ok_or_else(|| CallError::unsupported("tools", "it is no list"))?;
    let tool = |(at, tool): (usize, &Value)| {
        let function = &tool["function"];
        if tool["type"] != "function" || !function["name"].is_string() {
            return Err(CallError::unsupported(
                format!("tools[{at}]"),
                "only functions with a name are known",
            ));
        }
        let mut schema = function["parameters"].as_object().cloned().unwrap_or_default();
        schema.entry("type").or_insert_with(|| "object".into());
        let mut translated = json!({"name": function["name"], "input_schema": schema});
        if function["description"].is_string() {
            translated["description"] = function["description"].clone();
        }
        Ok(translated)
    };
    list.iter().enumerate().map(tool).collect()
}

fn choice(choice: Option<&Value>, parallel: Option<&Value>) -> Result<Option<Value>, CallError> {
    let mut translated = match choice {
        None => None,
        Some(choice) => Some(match (choice.as_str(), choice["function"]["name"].as_str()) {
            (Some("auto"), _) => json!({"type": "auto"}),
            (Some("required"), _) => json!({"type": "any"}),
            (Some("none"), _) => json!({"type": "none"}),
            (None, Some(name)) if choice["type"] == "function" => json!({"type": "tool", "name": name}),
            _ => return Err(CallError::unsupported("tool_choice", "it is none of the known choices")),
        }),
    };
    if parallel == Some(&Value::Bool(false)) {
        let choice = translated.get_or_insert_with(|| json!({"type": "auto"}));
        if choice["type"] != "none" {
            choice["disable_parallel_tool_use"] = true.into();
        }
    }
    Ok(translated)
}

#[cfg(test)]
mod tests;
