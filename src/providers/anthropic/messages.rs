//! Converts OpenAI's messages to Anthropic's.
//!
//! Instructions are separate, user and assistant alternate, and tool results belong to the user's turns.

use crate::error::CallError;
use serde_json::{Map, Value, json};

/// A conversation in Anthropic's format.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub system: Vec<String>,
    /// Messages; two consecutive ones never have the same role.
    pub turns: Vec<Value>,
}

impl Conversation {
    fn push_turn(&mut self, role: &str, mut blocks: Vec<Value>) {
        if blocks.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some(turn) if turn["role"] == role => {
                if let Some(content) = turn["content"].as_array_mut() {
                    content.append(&mut blocks);
                }
            }
            _ => self.turns.push(json!({"role": role, "content": blocks})),
        }
    }
}

/// Parses OpenAI's list of messages.
pub(super) fn read_messages(messages: &Value) -> Result<Conversation, CallError> {
    let list = messages.as_array().ok_or_else(|| CallError::unsupported("messages", "it is no list"))?;
    let mut conversation = Conversation::default();
    for (at, message) in list.iter().enumerate() {
        let path = format!("messages[{at}]");
        let content = blocks(&message["content"], &format!("{path}.content"))?;
        match message["role"].as_str().unwrap_or_default() {
            "system" | "developer" => {
                let texts = content.iter().filter_map(|block| block["text"].as_str());
                conversation.system.extend(texts.map(str::to_owned));
            }
            "user" => conversation.push_turn("user", content),
            "assistant" => {
                let mut content = content;
                content.extend(text(message["refusal"].as_str().unwrap_or_default()));
                content.extend(tool_uses(&message["tool_calls"]));
                conversation.push_turn("assistant", content);
            }
            "tool" => conversation.push_turn("user", vec![tool_result(message, content)]),
            other => {
                let why = format!("Anthropic's Messages have nothing for the role {other:?}");
                return Err(CallError::unsupported(format!("{path}.role"), &why));
            }
        }
    }
    Ok(conversation)
}

/// Builds a text block; `None` for an empty text, which Anthropic refuses.
fn text(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}))
}

fn blocks(content: &Value, path: &str) -> Result<Vec<Value>, CallError> {
    let parts = match content {
        Value::Null => return Ok(Vec::new()),
        Value::String(whole) => return Ok(text(whole).into_iter().collect()),
        Value::Array(parts) => parts,
        _ => return Err(CallError::unsupported(path, "it is neither a text nor a list of parts")),
    };
    let mut blocks = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let kind = part["type"].as_str().unwrap_or_default();
        match kind {
            "text" => blocks.extend(text(part["text"].as_str().unwrap_or_default())),
            "refusal" => blocks.extend(text(part["refusal"].as_str().unwrap_or_default())),
            "image_url" => {
                let url = part["image_url"]["url"].as_str().or_else(|| part["image_url"].as_str());
                let source = image(url.unwrap_or_default()).ok_or_else(|| {
                    let path = format!("{path}[{at}].image_url");
                    CallError::unsupported(path, "it is neither a base64 data url nor an https url")
                })?;
                blocks.push(json!({"type": "image", "source": source}));
            }
            _ => {
                let why = "Anthropic's Messages have nothing for such a part";
                return Err(CallError::unsupported(format!("{path}[{at}].{kind}"), why));
            }
        }
    }
    Ok(blocks)
}

fn image(url: &str) -> Option<Value> {
    if url.starts_with("https://") {
        return Some(json!({"type": "url", "url": url}));
    }
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?.split(';').next()?;
    Some(json!({"type": "base64", "media_type": media_type, "data": data}))
}

fn tool_uses(calls: &Value) -> Vec<Value> {
    let calls = calls.as_array().map_or(&[][..], Vec::as_slice);
    let input = |arguments: &Value| match arguments {
        Value::Object(object) => object.clone(),
        Value::String(text) if text.trim().is_empty() => Map::new(),
        // A model's earlier arguments stay in the conversation even if they are not a JSON object.
        Value::String(text) => serde_json::from_str(text)
            .unwrap_or_else(|_| Map::from_iter([("arguments".to_owned(), text.as_str().into())])),
        _ => Map::new(),
    };
    let tool_use = |call: &Value| {
        let function = &call["function"];
        let input = input(&function["arguments"]);
        json!({"type": "tool_use", "id": id(&call["id"]), "name": function["name"], "input": input})
    };
    calls.iter().map(tool_use).collect()
}

fn tool_result(message: &Value, content: Vec<Value>) -> Value {
    let mut result = json!({"type": "tool_result", "tool_use_id": id(&message["tool_call_id"])});
    if !content.is_empty() {
        result["content"] = content.into();
    }
    result
}

/// Replaces the characters of other providers' ids that Anthropic does not allow.
fn id(id: &Value) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    id.as_str().unwrap_or_default().chars().map(fit).collect()
}
