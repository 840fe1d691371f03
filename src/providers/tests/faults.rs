//! Faulty providers: each fault ends in time, with a named error, and without filling the memory.

use crate::stage::{BOTH, LIMIT, all, always, body, client, client_with, hello, text_of};
use arbiter_providers::{
    CallError, CallErrorKind, Client, Endpoint, EndpointPolicy, MAX_EVENTS, Protocol, Timeouts, Tls,
};
use arbiter_testkit::{Fault, Reply, Script, ScriptedProvider, TestCa};
use serde_json::{Value, json};
use std::time::Duration;

const WORDS: &str = "one two three four five six seven eight nine ten";

fn failing(fault: Fault) -> Reply {
    Reply { text: WORDS.into(), ..Reply::failing(fault) }
}

/// Returns the text received from a stream, and its error.
async fn listen(reply: Reply, protocol: Protocol, timeouts: Timeouts) -> (String, Option<CallError>) {
    let provider = ScriptedProvider::start(Script::always(reply));
    let client = client_with(&provider, protocol, timeouts);
    match client.stream(None, &body(json!({}))).await {
        Ok(stream) => {
            let (chunks, error) = all(stream).await;
            assert!(chunks.len() <= MAX_EVENTS);
            (text_of(&chunks), error)
        }
        Err(error) => (String::new(), Some(error)),
    }
}

#[tokio::test]
async fn hanging_provider_times_out_at_the_limit() {
    let usual = Timeouts::default();
    let whole = Timeouts { whole_call: LIMIT, ..usual };
    let idle = Timeouts { idle: LIMIT, ..usual };
    let stream = Timeouts { whole_stream: Some(LIMIT), ..usual };
    let drip = Fault::OneBytePer(Duration::from_millis(10));
    let table = [
        (Fault::Hang, whole, "no whole answer"),
        (Fault::HangAfterHeaders, whole, "no stream began"),
        (Fault::HangAfterHeaders, stream, "did not end"),
        (Fault::StallAfterEvents(4), idle, "stopped"),
        (Fault::StallInTheMiddle, idle, "stopped"),
        (Fault::StallAfterEvents(4), stream, "did not end"),
        (drip, stream, "did not end"),
        (Fault::EndlessEvents, Timeouts { whole_stream: Some(Duration::ZERO), ..usual }, "did not end"),
    ];
    for (fault, timeouts, expected) in table {
        for protocol in BOTH {
            let (_, error) = listen(failing(fault.clone()), protocol, timeouts).await;
            let error = error.unwrap();
            assert_eq!(*error.kind(), CallErrorKind::TimedOut, "{fault:?} {protocol:?}: {error}");
            assert!(error.to_string().contains(expected), "{fault:?} {protocol:?}: {error}");
        }
    }
}

#[tokio::test]
async fn provider_fault_maps_to_its_error_kind() {
    let stream = |reply: Reply| reply.with_header("content-type", "text/event-stream");
    let limited = |seconds| CallErrorKind::RateLimited { retry_after: seconds };
    let table = [
        (failing(Fault::CutAfterEvents(5)), CallErrorKind::Unreachable),
        (failing(Fault::CutInTheMiddle), CallErrorKind::Unreachable),
        (failing(Fault::ErrorAfterEvents(5)), CallErrorKind::Overloaded),
        (failing(Fault::InvalidUtf8), CallErrorKind::Broken),
        (failing(Fault::LineOfMegabytes(100)), CallErrorKind::TooLarge),
        (failing(Fault::EndlessEvents), CallErrorKind::TooLarge),
        (stream(failing(Fault::HugeBody)), CallErrorKind::TooLarge),
        (stream(Reply::raw("")), CallErrorKind::Unreachable),
        (stream(Reply::raw("data: {\"choices\": [{\"delta\"")), CallErrorKind::Unreachable),
        (stream(Reply::raw("data: {]\n\n")), CallErrorKind::Broken),
        (stream(Reply::raw("data: 7\n\n")), CallErrorKind::Broken),
        (stream(Reply::raw("data: {\"error\": {\"code\": 429}}\n\n")), limited(None)),
        (Reply::text(WORDS).with_header("content-type", "text/html"), CallErrorKind::Broken),
        (Reply::raw("{}"), CallErrorKind::Broken),
        (Reply::raw(r#"{"error": {"type": "overloaded_error"}}"#), CallErrorKind::Overloaded),
        (Reply::error(500, "oh"), CallErrorKind::Overloaded),
        (Reply::rate_limited(None), limited(None)),
        (Reply::rate_limited(Some(7)), limited(Some(Duration::from_secs(7)))),
        (Reply::redirect("http://169.254.169.254/latest/meta-data"), CallErrorKind::Broken),
    ];
    for (reply, expected) in table {
        for protocol in BOTH {
            let (_, error) = listen(reply.clone(), protocol, Timeouts::default()).await;
            let error = error.unwrap_or_else(|| panic!("{protocol:?} {reply:?}"));
            assert_eq!(*error.kind(), expected, "{protocol:?} {reply:?}: {error}");
        }
    }
}

#[tokio::test]
async fn truncated_stream_delivers_its_chunks_and_then_an_error() {
    for protocol in BOTH {
        let (heard, error) = listen(failing(Fault::CutAfterEvents(6)), protocol, Timeouts::default()).await;
        assert!(heard.starts_with("one two") && WORDS.starts_with(&heard), "{heard}");
        assert!(error.unwrap().to_string().contains("cut in the middle"));
    }
}

#[tokio::test]
async fn complete_stream_needs_no_proper_end() {
    // All events except the usage and the end; the connection breaks then.
    let events = [(Protocol::OpenAi, 12), (Protocol::Anthropic, 15)];
    for (protocol, count) in events {
        let (heard, error) =
            listen(failing(Fault::CutAfterEvents(count)), protocol, Timeouts::default()).await;
        assert_eq!((heard.as_str(), error), (WORDS, None), "{protocol:?}");
        let idle = Timeouts { idle: LIMIT, ..Timeouts::default() };
        let (heard, error) = listen(failing(Fault::StallAfterEvents(count)), protocol, idle).await;
        assert_eq!((heard.as_str(), error), (WORDS, None), "{protocol:?}");
    }
}

#[tokio::test]
async fn dropped_stream_is_cancelled_at_the_provider() {
    for protocol in BOTH {
        for fault in [Fault::StallAfterEvents(4), Fault::EndlessEvents] {
            let (provider, client) = always(failing(fault), protocol);
            let mut stream = client.stream(None, &body(json!({}))).await.unwrap();
            stream.next().await.unwrap().unwrap();
            assert_eq!(provider.cancelled(), 0);
            drop(stream);
            provider.wait_for_cancellations(1).await;
        }
        let (provider, client) = always(failing(Fault::Hang), protocol);
        let calling = tokio::spawn(async move { client.chat(None, &hello()).await });
        provider.wait_for_chats(1).await;
        calling.abort();
        provider.wait_for_cancellations(1).await;
    }
}

#[tokio::test]
async fn finished_stream_returns_its_connection_to_the_pool() {
    for protocol in BOTH {
        let (provider, client) = always(Reply::text(WORDS), protocol);
        for _ in 0..5 {
            let (chunks, error) = all(client.stream(None, &body(json!({}))).await.unwrap()).await;
            assert_eq!((text_of(&chunks).as_str(), error), (WORDS, None));
        }
        assert_eq!((provider.chat_count(), provider.cancelled()), (5, 0));
        let connections = provider.connection_count();
        assert!(connections < 5, "{protocol:?}: no connection of {connections} served twice");
    }
}

#[tokio::test]
async fn transient_failures_are_reported_per_call_and_pass() {
    let script = Script::always(Reply::text("fine")).after_failures(3, Reply::error(500, "oh"));
    let provider = ScriptedProvider::start(script);
    let client = client(&provider, Protocol::OpenAi);
    for _ in 0..3 {
        assert!(client.stream(None, &body(json!({}))).await.unwrap_err().is_transient());
    }
    assert!(client.stream(None, &body(json!({}))).await.is_ok());
    assert_eq!(provider.chat_count(), 4, "the client itself never tries again");
}

#[tokio::test]
async fn stream_goes_on_after_its_finish_reason() {
    let event = |delta: Value, reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        format!("data: {}\n\n", json!({"choices": [choice]}))
    };
    let answer = event(json!({"content": WORDS}), json!("stop"));
    let more = event(json!({"content": "and more"}), Value::Null);
    let stream = |text: String| Reply::raw(text).with_header("content-type", "text/event-stream");
    let usage = "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 1, \"completion_tokens\": 2}}\n\n";
    let error = "data: {\"error\": \"oh\"}\n\n";
    let both = format!("{WORDS}and more");
    let replies = [
        (stream(format!("{answer}{more}{usage}")), both.as_str()),
        (stream(format!("{answer}{error}")), WORDS),
        (stream(format!("{answer}data: nonsense\n\n")), WORDS),
        (stream(format!("{answer}data: cut o")), WORDS),
        (stream(format!("{answer}data: [DONE]\n\n{more}")), WORDS),
    ];
    for (reply, expected) in replies {
        let (heard, error) = listen(reply.clone(), Protocol::OpenAi, Timeouts::default()).await;
        assert_eq!((heard.as_str(), error), (expected, None), "{reply:?}");
    }
}

#[tokio::test]
async fn aborted_tls_handshake_is_unreachable() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let tls = Tls { ca_cert: Some(TestCa::new("a ca").pem().to_owned()), ..Tls::default() };
    for protocol in BOTH {
        let endpoint = Endpoint::parse(&url, EndpointPolicy::default()).unwrap();
        let client = Client::with_protocol(endpoint, Timeouts::default(), &tls, protocol).unwrap();
        let asked = body(json!({}));
        let (error, _) = tokio::join!(client.stream(None, &asked), async {
            drop(listener.accept().await.unwrap());
        });
        assert_eq!(*error.unwrap_err().kind(), CallErrorKind::Unreachable);
    }
}
