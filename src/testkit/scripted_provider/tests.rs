//! The provider as a client sees it, over real loopback HTTP.

use super::*;
use crate::{HttpResponse, SseClient, SseError, send};

fn chat(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": text}]})
}

async fn ask(provider: &ScriptedProvider, body: &Value, headers: &[(&str, &str)]) -> HttpResponse {
    send("POST", &format!("{}/chat/completions", provider.url()), headers, Some(body)).await.unwrap()
}

#[tokio::test]
async fn chat_is_answered_and_recorded() {
    let provider = ScriptedProvider::start(Script::default());
    let answer = ask(&provider, &chat("say hello"), &[("authorization", "Bearer k")]).await;
    let body = answer.json();
    let content = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(content.starts_with("[simulated]") && content.ends_with("say hello"), "{content}");
    assert_eq!((answer.status, body["model"].as_str()), (200, Some("m")));
    assert!(body["usage"]["prompt_tokens"].as_u64() > Some(0));
    let requests = provider.requests();
    assert_eq!((requests.len(), provider.chat_count(), provider.cancelled()), (1, 1, 0));
    assert_eq!(requests[0].path, "/v1/chat/completions");
    assert_eq!(requests[0].authorization.as_deref(), Some("Bearer k"));
    assert_eq!(requests[0].header("content-type"), "application/json");
    assert_eq!(requests[0].body, chat("say hello"));
}

#[tokio::test]
async fn script_replies_in_turn_and_can_be_replaced() {
    let provider = ScriptedProvider::start(Script::in_turn([Reply::error(503, "busy"), Reply::text("two")]));
    let text = |answer: HttpResponse| answer.json()["choices"][0]["message"]["content"].clone();
    assert_eq!(ask(&provider, &chat(""), &[]).await.status, 503);
    assert_eq!(text(ask(&provider, &chat(""), &[]).await), "two");
    assert_eq!(text(ask(&provider, &chat(""), &[]).await), "two");
    provider.set_script(Script::answering(|chat| Reply::text(format!("{} {}", chat.model(), chat.number))));
    assert_eq!(text(ask(&provider, &chat(""), &[]).await), "m 4");
}

#[tokio::test]
async fn models_and_required_key_follow_the_script() {
    let provider = ScriptedProvider::start(Script::default().with_models(&["a", "b"]).requiring_key("k"));
    let url = format!("{}/models", provider.url());
    let list = send("GET", &url, &[("authorization", "Bearer k")], None).await.unwrap().json();
    assert_eq!(list["data"][1]["id"], "b");
    assert_eq!(send("GET", &url, &[], None).await.unwrap().status, 401);
    assert_eq!(ask(&provider, &chat(""), &[("authorization", "Bearer x")]).await.status, 401);
    assert_eq!(
        send("GET", &format!("{url}/no"), &[("authorization", "Bearer k")], None).await.unwrap().status,
        404
    );
}

#[tokio::test]
async fn streamed_chat_ends_with_done() {
    let reply = Reply::text("one two").with_tool("finish", json!({"summary": "x"})).with_usage(5, 2);
    let provider = ScriptedProvider::start(Script::always(reply));
    let mut body = chat("go");
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let answer = ask(&provider, &body, &[]).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let mut events: Vec<&str> =
        text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect();
    assert_eq!(events.pop(), Some("[DONE]"));
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let deltas = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(deltas.collect::<String>(), "one two");
    let calls: Vec<&Value> =
        events.iter().map(|event| &event["choices"][0]["delta"]["tool_calls"][0]["function"]).collect();
    assert!(calls.iter().any(|call| call["name"] == "finish"));
    let arguments = calls.iter().filter_map(|call| call["arguments"].as_str());
    assert_eq!(arguments.collect::<String>(), r#"{"summary":"x"}"#);
    assert_eq!(events.last().unwrap()["usage"]["prompt_tokens"], 5);
}

#[tokio::test]
async fn hanging_chat_is_counted_and_cut_off_by_shutdown() {
    let provider = ScriptedProvider::start(Script::always(Reply::failing(Fault::Hang)));
    let url = format!("{}/chat/completions", provider.url());
    let asking = tokio::spawn(async move { send("POST", &url, &[], Some(&chat(""))).await.is_err() });
    provider.wait_for_chats(1).await;
    assert!(!asking.is_finished());
    provider.shutdown();
    assert!(asking.await.unwrap(), "a connection was lost");
}

#[tokio::test]
async fn cut_stream_is_lost_not_ended() {
    let reply =
        Reply { body: Some("data: 1\n\ndata: 2\n\n".repeat(8)), ..Reply::failing(Fault::CutInTheMiddle) };
    let reply = reply.with_header("content-type", "text/event-stream");
    let provider = ScriptedProvider::start(Script::default().with_models_reply(reply));
    let mut client = SseClient::connect(&format!("{}/models", provider.url()), None, None).await.unwrap();
    let mut frames = 0;
    let error = loop {
        match client.next(Duration::from_secs(60)).await {
            Ok(_) => frames += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SseError::Lost(_)), "{error}");
    assert_eq!(frames, 8);
}

#[tokio::test]
async fn messages_are_answered_in_anthropic_format() {
    let reply = Reply::text("one two").with_tool("finish", json!({"summary": "x"})).with_usage(5, 2);
    let provider = ScriptedProvider::start(Script::always(reply).requiring_key("k"));
    let url = format!("{}/messages", provider.url());
    let key = [("x-api-key", "k")];
    let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "go"}]});
    assert_eq!(send("POST", &url, &[], Some(&body)).await.unwrap().status, 401);
    let message = send("POST", &url, &key, Some(&body)).await.unwrap().json();
    assert_eq!((&message["type"], &message["stop_reason"]), (&json!("message"), &json!("tool_use")));
    assert_eq!(message["content"][1]["input"]["summary"], "x");
    assert_eq!(message["usage"], json!({"input_tokens": 5, "output_tokens": 2}));
    body["stream"] = true.into();
    let text = send("POST", &url, &key, Some(&body)).await.unwrap().body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(text.starts_with("event: message_start\ndata: {"), "{text}");
    assert!(text.contains("event: ping\n") && text.contains("input_json_delta"), "{text}");
    assert!(text.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "{text}");
}

#[tokio::test]
async fn failures_before_the_script_are_counted_down() {
    let script = Script::in_turn([Reply::text("one"), Reply::text("two")]);
    let provider = ScriptedProvider::start(script.after_failures(2, Reply::rate_limited(Some(3))));
    for _ in 0..2 {
        let refused = ask(&provider, &chat(""), &[]).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, "3"));
    }
    for expected in ["one", "two"] {
        let answer = ask(&provider, &chat(""), &[]).await.json();
        assert_eq!(answer["choices"][0]["message"]["content"], expected);
    }
}

#[tokio::test]
async fn client_disconnect_is_counted() {
    for fault in [Fault::Hang, Fault::HangAfterHeaders, Fault::StallAfterEvents(1), Fault::EndlessEvents] {
        let provider = ScriptedProvider::start(Script::always(Reply::failing(fault.clone())));
        let url = format!("{}/chat/completions", provider.url());
        let mut body = chat("");
        body["stream"] = true.into();
        let asking = tokio::spawn(async move { send("POST", &url, &[], Some(&body)).await.is_ok() });
        provider.wait_for_chats(1).await;
        assert_eq!(provider.cancelled(), 0, "{fault:?}");
        asking.abort();
        provider.wait_for_cancellations(1).await;
    }
}
