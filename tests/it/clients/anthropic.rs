//! Anthropic's official client against the scripted provider: the wire format of our tests is the one of
//! Anthropic's API, as far as the client's types tell. The same for recorded answers.

use crate::clients::openai::{includes, recorded};
use crate::harness::python;
use crate::harness::{Harness, KEY};
use arbiter_testkit::{ChatInput, Fault, Reply, Script, ScriptedProvider};
use serde_json::{Value, json};

/// The address that Anthropic's client wants: it adds `/v1` itself.
fn base(provider: &ScriptedProvider) -> String {
    provider.url().strip_suffix("/v1").unwrap().to_owned()
}

/// Returns the output of Anthropic's client at a provider.
async fn anthropic(provider: &ScriptedProvider, key: &str, scenario: &str) -> Value {
    let base = base(provider);
    let variables = [("ANTHROPIC_BASE_URL", base.as_str()), ("ANTHROPIC_API_KEY", key)];
    python::run("anthropic_client.py", &[scenario], &variables).await
}

/// Returns the errors of its messages at providers with these replies.
async fn errors(providers: &[ScriptedProvider]) -> Vec<Value> {
    let bases: Vec<String> = providers.iter().map(base).collect();
    let arguments: Vec<&str> = ["errors"].into_iter().chain(bases.iter().map(String::as_str)).collect();
    let seen = python::run("anthropic_client.py", &arguments, &[("ANTHROPIC_API_KEY", "k")]).await;
    seen.as_array().unwrap().clone()
}

fn always(reply: Reply) -> ScriptedProvider {
    ScriptedProvider::start(Script::always(reply))
}

fn stream(text: String) -> Reply {
    Reply::raw(text).with_header("content-type", "text/event-stream")
}

#[tokio::test]
async fn anthropic_client_accepts_scripted_messages() {
    let provider = always(Reply::text("It rains in Paris.").with_usage(12, 5));
    let message = json!({"type": "message", "role": "assistant", "model": "claude-scripted",
        "content": [{"type": "text", "text": "It rains in Paris."}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 12, "output_tokens": 5}});
    let seen = anthropic(&provider, "k", "message").await;
    assert!(includes(&seen, &message), "{seen}");
    let seen = anthropic(&provider, "k", "stream").await;
    assert_eq!(seen["text"], json!(["It ", "rains ", "in ", "Paris."]));
    assert!(includes(&seen["message"], &message), "{seen}");

    let answer = |chat: &ChatInput| match chat.body["messages"].to_string().contains("tool_result") {
        true => Reply::text("It rains."),
        false => Reply::tool("weather", json!({"place": "Paris"})).with_tool("weather", json!({})),
    };
    let provider = ScriptedProvider::start(Script::answering(answer));
    let conversation = json!({
        "calls": [["call_0", "weather", {"place": "Paris"}], ["call_1", "weather", {}]],
        "reasons": ["tool_use", "end_turn"], "answer": "It rains.",
    });
    assert_eq!(anthropic(&provider, "k", "tools").await, json!([conversation, conversation]));
}

#[tokio::test]
async fn anthropic_client_accepts_scripted_errors() {
    let keyed = ScriptedProvider::start(Script::default().requiring_key("right"));
    let seen = errors(&[keyed, always(Reply::rate_limited(Some(1)))]).await;
    let wanted = [
        json!({"class": "AuthenticationError", "status_code": 401, "type": "authentication_error"}),
        json!({"class": "RateLimitError", "status_code": 429, "type": "rate_limit_error"}),
    ];
    assert!(includes(&json!(seen), &json!(wanted)), "{seen:?}");
    let broken = always(Reply::failing(Fault::ErrorAfterEvents(4)));
    let seen = anthropic(&broken, "k", "stream_error").await;
    // Of the four the ping is none for the client's user.
    assert!(includes(&seen, &json!({"type": "overloaded_error", "events": 3})), "{seen}");
}

#[tokio::test]
async fn anthropic_client_accepts_recorded_answers() {
    let message = recorded("anthropic_message.json");
    let seen = anthropic(&always(Reply::raw(message.clone())), "k", "message").await;
    assert_eq!(seen["content"], json_of(&message)["content"]);
    for (name, stop_reason) in
        [("anthropic_stream.txt", "end_turn"), ("anthropic_tool_stream.txt", "tool_use")]
    {
        let seen = anthropic(&always(stream(recorded(name))), "k", "stream").await;
        assert_eq!(seen["message"]["stop_reason"], stop_reason, "{name}: {seen}");
    }
    let message = recorded("anthropic_tool_message.json");
    let seen = anthropic(&always(Reply::raw(message.clone())), "k", "message").await;
    assert_eq!(seen["content"], json_of(&message)["content"]);
}

#[tokio::test]
async fn anthropic_retired_model_is_listed_but_not_offered() {
    // The list was recorded before models had a stage; the client wants one.
    let mut models = json_of(&recorded("anthropic_models.json"))["data"].clone();
    let ids: Vec<Value> = models.as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
    for (at, lifecycle) in ["active", "retired"].into_iter().enumerate() {
        models[at]["lifecycle"] = lifecycle.into();
    }
    let provider = ScriptedProvider::start(Script::default().with_model_entries(models).requiring_key(KEY));
    let seen = anthropic(&provider, KEY, "models").await;
    let seen: Vec<&Value> = seen.as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(seen, ids.iter().collect::<Vec<_>>());

    let harness = Harness::new().await;
    let new =
        json!({"id": "claude", "name": "c", "type": "anthropic", "endpoint": provider.url(), "api_key": KEY});
    harness.create("providers", new).await;
    harness.act("providers/claude/heartbeat", Value::Null).await;
    let offered = harness.get("providers/claude/models").await.to_string();
    assert!(offered.contains(ids[0].as_str().unwrap()), "{offered}");
    assert!(!offered.contains(ids[1].as_str().unwrap()), "{offered}");
}

#[tokio::test]
async fn anthropic_client_has_a_class_for_each_recorded_error() {
    let table = [
        (401, "key", "AuthenticationError", "authentication_error"),
        (403, "permission", "PermissionDeniedError", "permission_error"),
        (404, "model", "NotFoundError", "not_found_error"),
        (413, "size", "ContentTooLargeError", "request_too_large"),
        (429, "rate", "RateLimitError", "rate_limit_error"),
        (400, "context", "BadRequestError", "invalid_request_error"),
        (400, "request", "BadRequestError", "invalid_request_error"),
        (400, "credit", "BadRequestError", "invalid_request_error"),
        (500, "server", "InternalServerError", "api_error"),
        (529, "overloaded", "OverloadedError", "overloaded_error"),
    ];
    let providers = table.map(|(status, name, ..)| {
        always(Reply::error(status, recorded(&format!("anthropic_error_{name}.json"))))
    });
    for ((status, name, class, kind), seen) in table.iter().zip(errors(&providers).await) {
        let wanted = json!({"class": class, "status_code": status, "type": kind});
        assert!(includes(&seen, &wanted), "{name}: {seen}");
    }
    let seen = anthropic(&always(stream(recorded("anthropic_error_stream.txt"))), "k", "stream_error").await;
    assert!(includes(&seen, &json!({"type": "overloaded_error", "events": 3})), "{seen}");
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
