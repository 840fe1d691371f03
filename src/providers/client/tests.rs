//! Calls over loopback HTTP to a scripted provider.

use super::exchange::MAX_ERROR_BODY_BYTES;
use super::*;
use crate::endpoint::EndpointPolicy;
use crate::{ChatRequest, Message, Speaker, Tool, Usage};
use arbiter_testkit::{Fault, Reply, Script, ScriptedProvider};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

const KEY: &str = "sk-very/secret\"0123456789";
/// Short limit for the tests that must reach it.
const LIMIT: Duration = Duration::from_millis(50);

fn client_with(provider: &ScriptedProvider, timeouts: Timeouts) -> Client {
    let endpoint = Endpoint::parse(&provider.url(), EndpointPolicy::default()).unwrap();
    Client::new(endpoint, timeouts).unwrap()
}

fn client(provider: &ScriptedProvider) -> Client {
    client_with(provider, Timeouts::default())
}

fn key() -> SecretString {
    SecretString::from(KEY)
}

fn hello() -> ChatRequest {
    ChatRequest {
        model: "scripted-model".into(),
        messages: vec![Message::new(Speaker::User, "hello")],
        tools: vec![Tool { name: "finish".into(), description: "ends".into(), parameters: json!({}) }],
        temperature: None,
        max_tokens: None,
        uses_completion_limit: false,
    }
}

/// Returns the error of one chat with a provider that always replies with `reply`.
async fn failure(reply: Reply) -> CallError {
    let provider = ScriptedProvider::start(Script::always(reply));
    let error = client(&provider).chat(Some(&key()), &hello()).await.unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(provider.chat_count(), 1, "a client never asks twice by itself");
    error
}

#[tokio::test]
async fn key_is_sent_only_in_the_header() {
    let provider = ScriptedProvider::start(Script::default().requiring_key(KEY));
    let answer = client(&provider).chat(Some(&key()), &hello()).await.unwrap();
    assert!(answer.content.starts_with("[simulated]"), "{answer:?}");
    let requests = provider.requests();
    assert_eq!(requests[0].path, "/v1/chat/completions");
    assert_eq!(requests[0].authorization, Some(format!("Bearer {KEY}")));
    assert!(!requests[0].body.to_string().contains("secret"));
}

#[tokio::test]
async fn call_without_key_sends_no_header() {
    let provider = ScriptedProvider::start(Script::default());
    client(&provider).chat(None, &hello()).await.unwrap();
    client(&provider).list_models(Some(&SecretString::from(""))).await.unwrap();
    assert!(provider.requests().iter().all(|request| request.authorization.is_none()));
}

#[tokio::test]
async fn answer_has_tool_calls_and_usage() {
    let reply = Reply::tool("finish", json!({"summary": "done"})).with_usage(12, 3);
    let provider = ScriptedProvider::start(Script::always(reply));
    let answer = client(&provider).chat(None, &hello()).await.unwrap();
    assert_eq!(answer.tool_calls[0].name, "finish");
    assert_eq!(answer.tool_calls[0].arguments, r#"{"summary":"done"}"#);
    assert_eq!(answer.usage, Usage { input_tokens: 12, output_tokens: 3 });
    assert_eq!(answer.finish_reason.as_deref(), Some("tool_calls"));
}

#[tokio::test]
async fn model_list_has_context_windows() {
    let entries = json!([{"id": "a", "max_model_len": 4096}, {"id": "b"}]);
    let provider = ScriptedProvider::start(Script::default().with_model_entries(entries));
    let models = client(&provider).list_models(None).await.unwrap();
    assert_eq!(models[0], ModelInfo { id: "a".into(), context_window: Some(4096) });
    assert_eq!(models[1].context_window, None);
}

#[tokio::test]
async fn wrong_key_error_hides_the_echoed_key() {
    let provider = ScriptedProvider::start(Script::default().requiring_key("another"));
    let chat = client(&provider).chat(Some(&key()), &hello()).await.unwrap_err();
    let list = client(&provider).list_models(Some(&key())).await.unwrap_err();
    for error in [chat, list] {
        assert_eq!(*error.kind(), CallErrorKind::Auth);
        assert!(error.to_string().contains("Bearer [redacted]"), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}

#[tokio::test]
async fn echoed_key_is_redacted_in_every_form() {
    let escaped = KEY.replace('"', "\\\"").replace('/', "\\/");
    let echoes = [
        Reply::error(500, KEY),
        Reply::error(500, format!(r#"{{"error": {{"message": "{escaped}"}}}}"#)),
        Reply::error(500, format!(r#"{{"key": "{escaped}"}}"#)),
        Reply::error(400, format!("{} {KEY}", "x".repeat(2040))),
        Reply::error(400, format!("{} {KEY}", "x".repeat(MAX_ERROR_BODY_BYTES - 15))),
        Reply::raw(format!(r#"{{"choices": "{escaped}"}}"#)),
        Reply::raw(format!(r#"{{"error": "{escaped}"}}"#)),
        Reply::raw(KEY),
        Reply::raw("{}").with_header("content-type", KEY),
        Reply::redirect(format!("http://127.0.0.1/{KEY}")),
    ];
    for reply in echoes {
        let error = failure(reply.clone()).await;
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("very") && !shown.contains("0123456789"), "{reply:?}: {shown}");
        assert!(error.to_string().len() < 2200, "{} bytes", error.to_string().len());
    }
}

#[tokio::test]
async fn key_invalid_in_a_header_is_refused_before_any_call() {
    let provider = ScriptedProvider::start(Script::default());
    let bad = SecretString::from("sk-secret\r\nHost: evil");
    let error = client(&provider).chat(Some(&bad), &hello()).await.unwrap_err();
    assert_eq!(*error.kind(), CallErrorKind::Auth);
    assert!(!error.to_string().contains("sk-secret"));
    assert_eq!(provider.requests(), []);
}

#[tokio::test]
async fn rate_limit_error_has_retry_after() {
    let error = failure(Reply::error(429, "slow down").with_header("retry-after", "7")).await;
    assert_eq!(*error.kind(), CallErrorKind::RateLimited { retry_after: Some(Duration::from_secs(7)) });
    assert!(error.is_transient());
}

#[tokio::test]
async fn provider_failure_is_transient_and_missing_model_is_not() {
    let error = failure(Reply::error(500, r#"{"error": {"message": "oh no"}}"#)).await;
    assert_eq!(*error.kind(), CallErrorKind::Overloaded);
    assert!(error.is_transient());
    assert_eq!(error.to_string(), "the provider is failing or overloaded: status 500: oh no");
    let error = failure(Reply::error(404, "{}")).await;
    assert_eq!(*error.kind(), CallErrorKind::NotFound { model: "scripted-model".into() });
    assert!(!error.is_transient());
}

#[tokio::test]
async fn silent_provider_times_out_at_the_call_limit() {
    let provider = ScriptedProvider::start(Script::always(Reply::failing(Fault::Hang)));
    let client = client_with(&provider, Timeouts { whole_call: LIMIT, ..Timeouts::default() });
    let error = client.chat(None, &hello()).await.unwrap_err();
    assert_eq!(*error.kind(), CallErrorKind::TimedOut);
    assert!(error.to_string().contains("50ms"), "{error}");
}

#[tokio::test]
async fn dripping_answer_times_out_at_the_call_limit() {
    let drip = Reply::failing(Fault::OneBytePer(Duration::from_millis(5)));
    let provider = ScriptedProvider::start(Script::always(drip));
    let client = client_with(&provider, Timeouts { whole_call: LIMIT, ..Timeouts::default() });
    let error = client.chat(None, &hello()).await.unwrap_err();
    assert_eq!(*error.kind(), CallErrorKind::TimedOut);
}

#[tokio::test]
async fn stalled_answer_times_out_at_the_idle_limit() {
    let provider = ScriptedProvider::start(Script::always(Reply::failing(Fault::StallInTheMiddle)));
    let client = client_with(&provider, Timeouts { idle: LIMIT, ..Timeouts::default() });
    let error = client.chat(None, &hello()).await.unwrap_err();
    assert_eq!(*error.kind(), CallErrorKind::TimedOut);
    assert!(error.to_string().contains("stopped"), "{error}");
}

#[tokio::test]
async fn first_byte_may_come_after_the_idle_limit() {
    let provider = ScriptedProvider::start(Script::always(Reply::text("thought").after(LIMIT * 2)));
    let client = client_with(&provider, Timeouts { idle: LIMIT, ..Timeouts::default() });
    assert_eq!(client.chat(None, &hello()).await.unwrap().content, "thought");
}

#[tokio::test]
async fn endless_answer_is_cut_at_the_size_limit() {
    let provider = ScriptedProvider::start(Script::always(Reply::failing(Fault::HugeBody)));
    let error = client(&provider).chat(None, &hello()).await.unwrap_err();
    assert_eq!(*error.kind(), CallErrorKind::TooLarge);
    assert!(!error.is_transient());
}

#[tokio::test]
async fn endless_answer_uses_memory_up_to_its_limit() {
    const SMALL: usize = 200_000;
    let endless = Script::default().with_models_reply(Reply::failing(Fault::HugeBody));
    let provider = ScriptedProvider::start(endless);
    let client = client(&provider);
    let mut response = client.http.get(client.endpoint.below(&["models"])).send().await.unwrap();
    let (mut body, context) =
        (block_buffer::BlockBuffer::default(), RequestContext { model: None, key: None });
    let error = client.read_body(&mut response, &mut body, SMALL, context).await.unwrap_err();
    assert_eq!(*error.kind(), CallErrorKind::TooLarge);
    assert_eq!(body.count(), SMALL);
}

#[tokio::test]
async fn endless_error_body_keeps_the_error_of_its_status() {
    let reply = Reply { status: 503, ..Reply::failing(Fault::HugeBody) };
    assert_eq!(*failure(reply).await.kind(), CallErrorKind::Overloaded);
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let trap = ScriptedProvider::start(Script::default());
    let error = failure(Reply::redirect(format!("{}/chat/completions", trap.url()))).await;
    assert_eq!(*error.kind(), CallErrorKind::Broken);
    assert_eq!(trap.requests(), []);
}

#[tokio::test]
async fn answer_that_is_not_json_is_broken() {
    let broken = [
        Reply::failing(Fault::InvalidUtf8),
        Reply::raw("<html>log in</html>").with_header("content-type", "text/html"),
        Reply::raw("fine").with_header("content-type", "text/plain"),
        Reply::raw(""),
        Reply::raw("{\"choices\": ["),
        Reply::raw("[".repeat(100_000)),
        Reply::raw("{\"choices\": []}"),
    ];
    for reply in broken {
        let error = failure(reply.clone()).await;
        assert_eq!(*error.kind(), CallErrorKind::Broken, "{reply:?}: {error}");
    }
}

#[tokio::test]
async fn truncated_answer_is_a_lost_connection() {
    let error = failure(Reply::failing(Fault::CutInTheMiddle)).await;
    assert_eq!(*error.kind(), CallErrorKind::Unreachable);
    assert!(error.is_transient());
}

#[tokio::test]
async fn closed_port_is_unreachable() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    // The connection's local end holds its port, so no other process can listen on it.
    let held = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let closed = format!("http://{}", held.local_addr().unwrap());
    let endpoint = Endpoint::parse(&closed, EndpointPolicy::default()).unwrap();
    let client = Client::new(endpoint, Timeouts::default()).unwrap();
    let error = client.list_models(None).await.unwrap_err();
    assert_eq!(*error.kind(), CallErrorKind::Unreachable);
}

static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// Resolves to loopback once, and to a metadata service afterwards.
fn rebinding(_: String) -> LookupFuture {
    let address = match LOOKUPS.fetch_add(1, Ordering::SeqCst) {
        0 => SocketAddr::from(([127, 0, 0, 1], 0)),
        _ => SocketAddr::from(([169, 254, 169, 254], 0)),
    };
    Box::pin(async move { Ok(vec![address]) })
}

#[tokio::test]
async fn rebinding_name_is_checked_at_each_connection() {
    let close = Reply::text("once").with_header("connection", "close");
    let provider = ScriptedProvider::start(Script::always(close));
    let text = format!("http://rebound.example:{}", provider.address().port());
    let endpoint = Endpoint::parse(&text, EndpointPolicy::default()).unwrap();
    let client = Client::with_lookup(endpoint, Timeouts::default(), &Tls::default(), rebinding).unwrap();
    assert_eq!(client.chat(None, &hello()).await.unwrap().content, "once");
    let error = client.chat(Some(&key()), &hello()).await.unwrap_err();
    assert_eq!(*error.kind(), CallErrorKind::Refused);
    assert!(error.to_string().contains("169.254.169.254"), "{error}");
    assert_eq!((LOOKUPS.load(Ordering::SeqCst), provider.chat_count()), (2, 1));
}

#[tokio::test]
async fn https_endpoint_builds_a_client() {
    let endpoint = Endpoint::parse("https://127.0.0.1:1", EndpointPolicy::default()).unwrap();
    let client = Client::new(endpoint, Timeouts::default()).unwrap();
    assert_eq!(*client.list_models(None).await.unwrap_err().kind(), CallErrorKind::Unreachable);
}
