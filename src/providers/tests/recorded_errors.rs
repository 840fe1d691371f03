//! Recorded refusals of real providers.

use crate::recorded::fixture;
use crate::stage::{all, always, body, text_of};
use arbiter_providers::{CallErrorKind, Protocol, RateHints};
use arbiter_testkit::Reply;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn recorded_error_has_its_kind_for_answers_and_streams() {
    let not_found = CallErrorKind::NotFound { model: "m".into() };
    let limited = CallErrorKind::RateLimited { retry_after: None };
    let table = [
        (401, "openai_error_key.json", CallErrorKind::Auth),
        (404, "openai_error_model.json", not_found.clone()),
        (400, "openai_error_context.json", CallErrorKind::ContextTooLong),
        (429, "openai_error_rate.json", limited.clone()),
        (429, "openai_error_quota.json", CallErrorKind::Refused),
        (500, "openai_error_server.json", CallErrorKind::Overloaded),
        (400, "vllm_error_context.json", CallErrorKind::ContextTooLong),
        (404, "vllm_error_model.json", not_found.clone()),
        (400, "llamacpp_error_context.json", CallErrorKind::ContextTooLong),
        (503, "llamacpp_error_loading.json", CallErrorKind::Overloaded),
        (404, "ollama_error_model.json", not_found.clone()),
        (402, "openrouter_error_credit.json", CallErrorKind::Refused),
        (400, "litellm_error_key.json", CallErrorKind::Auth),
        (400, "litellm_error_context.json", CallErrorKind::ContextTooLong),
        (400, "litellm_error_model.json", not_found.clone()),
        (401, "anthropic_error_key.json", CallErrorKind::Auth),
        (403, "anthropic_error_permission.json", CallErrorKind::Auth),
        (404, "anthropic_error_model.json", not_found),
        (429, "anthropic_error_rate.json", limited),
        (529, "anthropic_error_overloaded.json", CallErrorKind::Overloaded),
        (400, "anthropic_error_context.json", CallErrorKind::ContextTooLong),
        (400, "anthropic_error_request.json", CallErrorKind::Refused),
        (500, "anthropic_error_server.json", CallErrorKind::Overloaded),
        (413, "anthropic_error_size.json", CallErrorKind::ContextTooLong),
        (400, "anthropic_error_credit.json", CallErrorKind::Refused),
    ];
    for (status, name, expected) in table {
        let protocol = if name.starts_with("anthropic") { Protocol::Anthropic } else { Protocol::OpenAi };
        let (provider, client) = always(Reply::error(status, fixture(name)), protocol);
        let whole = client.complete(None, &body(json!({}))).await.unwrap_err();
        let stream = client.stream(None, &body(json!({}))).await.unwrap_err();
        assert_eq!((whole.kind(), stream.kind()), (&expected, &expected), "{name}");
        assert_eq!(provider.chat_count(), 2, "{name}: nothing is asked twice");
    }
}

#[tokio::test]
async fn mid_stream_error_follows_the_chunks_before_it() {
    for (name, protocol) in [
        ("openrouter_error_stream.txt", Protocol::OpenAi),
        ("anthropic_error_stream.txt", Protocol::Anthropic),
    ] {
        let reply = Reply::raw(fixture(name)).with_header("content-type", "text/event-stream");
        let (_provider, client) = always(reply, protocol);
        let (chunks, error) = all(client.stream(None, &body(json!({}))).await.unwrap()).await;
        assert_eq!(text_of(&chunks), "Grüße", "{name}");
        assert_eq!(*error.unwrap().kind(), CallErrorKind::Overloaded, "{name}");
    }
}

#[tokio::test]
async fn rate_hints_come_with_answers_and_with_errors() {
    let limits = |reply: Reply| {
        reply
            .with_header("x-ratelimit-remaining-requests", "12")
            .with_header("x-ratelimit-remaining-tokens", "0")
            .with_header("x-ratelimit-reset-tokens", "6m0s")
    };
    let expected = RateHints {
        requests_left: Some(12),
        tokens_left: Some(0),
        reset_after: Some(Duration::from_secs(360)),
        retry_after: None,
    };
    let (_provider, client) = always(limits(Reply::text("fine")), Protocol::OpenAi);
    assert_eq!(client.complete(None, &body(json!({}))).await.unwrap().rate_hints, expected);
    assert_eq!(*client.stream(None, &body(json!({}))).await.unwrap().rate_hints(), expected);
    assert_eq!(client.chat(None, &crate::stage::hello()).await.unwrap().rate_hints, expected);
    let (_provider, client) = always(limits(Reply::rate_limited(Some(9))), Protocol::OpenAi);
    let error = client.complete(None, &body(json!({}))).await.unwrap_err();
    let wait = Some(Duration::from_secs(9));
    assert_eq!(*error.kind(), CallErrorKind::RateLimited { retry_after: wait });
    assert_eq!(*error.rate_hints(), RateHints { retry_after: wait, ..expected });
}
