//! Fixtures: a client and its requests.

use arbiter_providers::{
    CallError, ChatBody, ChatChunk, ChatRequest, ChatStream, Client, Endpoint, EndpointPolicy, Message,
    Protocol, Speaker, Timeouts, Tls,
};
use arbiter_testkit::{Reply, Script, ScriptedProvider};
use serde_json::{Value, json};
use std::time::Duration;

/// Short limit for the tests that must reach it.
pub const LIMIT: Duration = Duration::from_millis(80);

pub const BOTH: [Protocol; 2] = [Protocol::OpenAi, Protocol::Anthropic];

pub fn client_with(provider: &ScriptedProvider, protocol: Protocol, timeouts: Timeouts) -> Client {
    let endpoint = Endpoint::parse(&provider.url(), EndpointPolicy::default()).unwrap();
    Client::with_protocol(endpoint, timeouts, &Tls::default(), protocol).unwrap()
}

pub fn client(provider: &ScriptedProvider, protocol: Protocol) -> Client {
    client_with(provider, protocol, Timeouts::default())
}

/// Starts a provider that always replies with `reply`, and its client.
pub fn always(reply: Reply, protocol: Protocol) -> (ScriptedProvider, Client) {
    let provider = ScriptedProvider::start(Script::always(reply));
    let client = client(&provider, protocol);
    (provider, client)
}

pub fn hello() -> ChatRequest {
    ChatRequest {
        model: "m".into(),
        messages: vec![Message::new(Speaker::System, "be brief"), Message::new(Speaker::User, "hello")],
        tools: vec![],
        temperature: None,
        max_tokens: None,
        uses_completion_limit: false,
    }
}

pub fn body(fields: Value) -> ChatBody {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(body).unwrap()
}

/// Returns all chunks, and the error if the stream ended in one; checks that nothing follows the end.
pub async fn all(mut stream: ChatStream) -> (Vec<ChatChunk>, Option<CallError>) {
    let mut chunks = Vec::new();
    let error = loop {
        match stream.next().await {
            Some(Ok(chunk)) => chunks.push(chunk),
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert!(stream.next().await.is_none());
    (chunks, error)
}

pub fn text_of(chunks: &[ChatChunk]) -> String {
    chunks.iter().filter_map(|chunk| chunk.content.as_deref()).collect()
}
