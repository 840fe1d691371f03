//! The script of a scripted provider: data, and a closure where data is not enough.
//!
//! Must not know sockets; `scripted_provider.rs` plays the script, `provider_wire.rs` writes it down.

use crate::script_fault::Fault;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The wire format in which a provider was asked, and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WireProtocol {
    #[default]
    OpenAi,
    Anthropic,
}

/// A chat as the provider received it.
#[derive(Clone, Debug)]
pub struct ChatInput {
    pub protocol: WireProtocol,
    /// The request's JSON body; `null` when it was no JSON.
    pub body: Value,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// Which chat of this provider it is, from 1.
    pub number: usize,
}

impl ChatInput {
    /// The model that is asked.
    pub fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// The text of the last message with this role, or the first text of its parts; empty when there is none.
    pub fn last_text_of(&self, role: &str) -> &str {
        if role == "system" && self.protocol == WireProtocol::Anthropic {
            return self.body["system"].as_str().unwrap_or_default();
        }
        let messages = self.body["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let last = messages.iter().rev().find(|message| message["role"] == role);
        let content = last.map_or(&Value::Null, |message| &message["content"]);
        let parts = content.as_array().map_or(&[][..], Vec::as_slice);
        let first = parts.iter().find_map(|part| part["text"].as_str());
        content.as_str().or(first).unwrap_or_default()
    }

    /// True if the client asks for a stream of events.
    pub fn wants_stream(&self) -> bool {
        self.body["stream"] == true
    }
}

/// A tool the scripted model calls.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolUse {
    pub id: String,
    pub name: String,
    /// The arguments; sent as JSON text.
    pub arguments: Value,
}

/// The tokens a reply claims to have used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCount {
    /// Tokens of the prompt.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
}

/// One answer of the provider.
#[derive(Clone, Debug)]
pub struct Reply {
    pub text: String,
    pub tool_calls: Vec<ToolUse>,
    /// Usage in the answer; estimated from the lengths of the texts when absent.
    pub usage: Option<TokenCount>,
    pub delay: Duration,
    pub status: u16,
    /// Headers besides the content type, or instead of it.
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    pub fault: Option<Fault>,
}

impl Reply {
    /// A model's plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tool_calls: Vec::new(),
            usage: None,
            delay: Duration::ZERO,
            status: 200,
            headers: Vec::new(),
            body: None,
            fault: None,
        }
    }

    /// A model that calls one tool.
    pub fn tool(name: impl Into<String>, arguments: Value) -> Self {
        Self::text("").with_tool(name, arguments)
    }

    /// An error status with a raw body.
    pub fn error(status: u16, body: impl Into<String>) -> Self {
        Self { status, ..Self::raw(body) }
    }

    /// A raw body in place of a well-formed answer.
    pub fn raw(body: impl Into<String>) -> Self {
        Self { body: Some(body.into()), ..Self::text("") }
    }

    /// A redirect to another URL.
    pub fn redirect(url: impl Into<String>) -> Self {
        Self::error(302, "").with_header("location", url)
    }

    /// A refusal for too many calls, which says how many seconds to wait, or does not.
    pub fn rate_limited(retry_after_seconds: Option<u64>) -> Self {
        let error =
            json!({"type": "rate_limit_error", "message": "too many calls", "code": "rate_limit_exceeded"});
        let reply = Self::error(429, json!({"type": "error", "error": error}).to_string());
        match retry_after_seconds {
            Some(seconds) => reply.with_header("retry-after", seconds.to_string()),
            None => reply,
        }
    }

    /// A reply that suffers this fault.
    pub fn failing(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::text("[simulated] a text long enough to be cut in two") }
    }

    /// The same reply, which calls one more tool.
    #[must_use]
    pub fn with_tool(mut self, name: impl Into<String>, arguments: Value) -> Self {
        let id = format!("call_{}", self.tool_calls.len());
        self.tool_calls.push(ToolUse { id, name: name.into(), arguments });
        self
    }

    /// The same reply with a header; `content-type` replaces the usual one.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same reply after a time of thinking.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The same reply with this count of tokens.
    #[must_use]
    pub fn with_usage(mut self, input: u64, output: u64) -> Self {
        self.usage = Some(TokenCount { input, output });
        self
    }
}

type ReplyFn = Arc<dyn Fn(&ChatInput) -> Reply + Send + Sync>;

/// How a scripted provider behaves.
#[derive(Clone)]
pub struct Script {
    pub(crate) models: Value,
    pub(crate) models_reply: Option<Reply>,
    pub(crate) required_key: Option<String>,
    pub(crate) answer: ReplyFn,
}

/// Offers the model `scripted-model` and answers every chat with a text that says it is simulated.
impl Default for Script {
    fn default() -> Self {
        Self::answering(|chat| {
            let asked: String = chat.last_text_of("user").chars().take(200).collect();
            Reply::text(format!("[simulated] no model was asked; this stands for an answer to: {asked}"))
        })
    }
}

impl Script {
    /// Answers every chat with what the closure says.
    pub fn answering(answer: impl Fn(&ChatInput) -> Reply + Send + Sync + 'static) -> Self {
        Self {
            models: json!([{"id": "scripted-model", "object": "model"}]),
            models_reply: None,
            required_key: None,
            answer: Arc::new(answer),
        }
    }

    /// Answers every chat with the same reply.
    pub fn always(reply: Reply) -> Self {
        Self::answering(move |_| reply.clone())
    }

    /// Answers the chats with these replies in turn, and the last of them for ever after.
    ///
    /// # Panics
    /// When a chat comes and there are no replies.
    pub fn in_turn(replies: impl Into<Vec<Reply>>) -> Self {
        let replies = replies.into();
        Self::answering(move |chat| {
            let last = replies.len().checked_sub(1).expect("a script in turn needs a reply");
            replies[(chat.number - 1).min(last)].clone()
        })
    }

    /// Gives this reply to as many chats before it goes on as it is: a storm that passes.
    ///
    /// The chats after it are counted from 1 again.
    #[must_use]
    pub fn after_failures(mut self, count: usize, failure: Reply) -> Self {
        let answer = self.answer;
        self.answer = Arc::new(move |chat| match chat.number.checked_sub(count) {
            None | Some(0) => failure.clone(),
            Some(number) => answer(&ChatInput { number, ..chat.clone() }),
        });
        self
    }

    /// Offers these models.
    #[must_use]
    pub fn with_models(mut self, ids: &[&str]) -> Self {
        self.models = ids.iter().map(|id| json!({"id": id, "object": "model"})).collect();
        self
    }

    /// Offers these entries as its list of models, just as they are.
    #[must_use]
    pub fn with_model_entries(mut self, entries: Value) -> Self {
        self.models = entries;
        self
    }

    /// Answers requests for the list of models with this reply; its faults apply.
    #[must_use]
    pub fn with_models_reply(mut self, reply: Reply) -> Self {
        self.models_reply = Some(reply);
        self
    }

    /// Refuses every request without this key, and echoes what it was given as a careless provider does.
    #[must_use]
    pub fn requiring_key(mut self, key: impl Into<String>) -> Self {
        self.required_key = Some(key.into());
        self
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("models", &self.models).finish_non_exhaustive()
    }
}
