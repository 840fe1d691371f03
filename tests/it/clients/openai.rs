//! OpenAI's official client at the gateway, over providers of either protocol.

use crate::harness::python;
use crate::harness::{Harness, KEY};
use crate::tidy::root;
use arbiter_testkit::{ChatInput, Reply, Script, ScriptedProvider};
use serde_json::{Value, json};

/// A provider of each protocol, by the type it is registered with.
const PROTOCOLS: [&str; 2] = ["custom", "anthropic"];

async fn provider(harness: &Harness, kind: &str, script: Script) -> ScriptedProvider {
    provider_as(harness, kind, kind, script).await
}

async fn provider_as(harness: &Harness, id: &str, kind: &str, script: Script) -> ScriptedProvider {
    let provider = ScriptedProvider::start(script.with_models(&["m"]).requiring_key(KEY));
    let new = json!({"id": id, "name": id, "type": kind, "endpoint": provider.url(), "api_key": KEY});
    harness.create("providers", new).await;
    let beat = harness.act(&format!("providers/{id}/heartbeat"), Value::Null).await;
    assert_eq!(beat["status"], "active", "{beat}");
    provider
}

/// Returns the output of OpenAI's client at this server.
pub async fn openai(harness: &Harness, scenario: &str, input: Value) -> Value {
    let url = format!("{}/v1", harness.server.url());
    let variables = [("OPENAI_BASE_URL", url.as_str()), ("OPENAI_API_KEY", harness.server.token().unwrap())];
    python::run("openai_client.py", &[scenario, &input.to_string()], &variables).await
}

/// The request for a provider's own model.
fn auto(kind: &str) -> Value {
    json!({"model": format!("{kind}/auto")})
}

#[tokio::test]
async fn openai_client_reads_answers_and_streams_of_both_protocols() {
    let harness = Harness::new().await;
    for kind in PROTOCOLS {
        let script = Script::always(Reply::text("It rains in Paris.").with_usage(12, 5));
        let _provider = provider(&harness, kind, script).await;
        let seen = openai(&harness, "chat", auto(kind)).await;
        let answer = &seen["answer"];
        let choice = json!([{"index": 0, "finish_reason": "stop", "message":
            {"role": "assistant", "content": "It rains in Paris."}}]);
        assert!(includes(&answer["choices"], &choice), "{kind}: {seen}");
        let usage = json!({"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17});
        assert!(includes(&answer["usage"], &usage), "{kind}: {seen}");
        assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("m")), "{seen}");
        let run = harness.run_of_id(seen["run"].as_str().unwrap()).await;
        assert_eq!(run["provider_id"], kind, "{run}");

        let seen = openai(&harness, "stream", auto(kind)).await;
        assert_eq!(text_of(&seen), "It rains in Paris.", "{kind}: {seen}");
        let chunks = seen.as_array().unwrap();
        assert!(chunks.iter().all(|chunk| chunk["usage"].is_null()), "usage was not requested: {seen}");
        assert!(chunks.iter().all(|chunk| chunk["choices"][0]["index"] == 0), "{kind}: {seen}");
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop", "{kind}: {seen}");

        let with_usage = json!({"model": format!("{kind}/m"), "stream_options": {"include_usage": true}});
        let seen = openai(&harness, "stream", with_usage).await;
        assert_eq!(text_of(&seen), "It rains in Paris.", "{kind}: {seen}");
        let (last, others) = seen.as_array().unwrap().split_last().unwrap();
        assert!(last["choices"] == json!([]) && includes(&last["usage"], &usage), "{kind}: {seen}");
        assert!(others.iter().all(|chunk| chunk["usage"].is_null()), "{kind}: {seen}");

        let seen = openai(&harness, "chat_async", auto(kind)).await;
        let both = json!({"whole": "It rains in Paris.", "streamed": "It rains in Paris."});
        assert_eq!(seen, both, "{kind}");
    }
}

#[tokio::test]
async fn openai_client_completes_a_tool_call_round_trip() {
    let harness = Harness::new().await;
    for kind in PROTOCOLS {
        let answer = |chat: &ChatInput| {
            let result = chat.body["messages"].as_array().unwrap().last().unwrap();
            // `tool` of OpenAI's, a block of the user's of Anthropic's; whole or within a part.
            if result.to_string().contains("Rain.") {
                return Reply::text(format!("As the tool says: {}", results(result)));
            }
            Reply::tool("weather", json!({"place": "Paris"})).with_tool("weather", json!({"place": "Rome"}))
        };
        let provider = provider(&harness, kind, Script::answering(answer)).await;
        let seen = openai(&harness, "tools", auto(kind)).await;
        let calls = json!([
            ["call_0", "weather", {"place": "Paris"}],
            ["call_1", "weather", {"place": "Rome"}],
        ]);
        let heard = if kind == "anthropic" { "call_0 call_1" } else { "call_1" };
        let conversation = json!({
            "calls": calls, "reasons": ["tool_calls", "stop"], "answer": format!("As the tool says: {heard}"),
        });
        assert_eq!(seen, json!([conversation, conversation]), "{kind}");
        let asked = provider.requests().into_iter().find(|request| !request.body["tools"].is_null()).unwrap();
        assert!(asked.body["tools"].to_string().contains("The weather of a place."), "{}", asked.body);
    }
}

/// The calls whose results a message holds.
fn results(message: &Value) -> String {
    let blocks = message["content"].as_array().map_or(&[][..], Vec::as_slice);
    let of_blocks = blocks.iter().filter_map(|block| block["tool_use_id"].as_str());
    message["tool_call_id"].as_str().into_iter().chain(of_blocks).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn openai_client_lists_and_retrieves_models() {
    let harness = Harness::new().await;
    let _provider = provider(&harness, "anthropic", Script::default()).await;
    let seen = openai(&harness, "models", json!(["auto", "m", "anthropic/m"])).await;
    let model = |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "anthropic"});
    let (all, found) = (["anthropic/auto", "anthropic/m", "auto", "m"], ["auto", "m", "anthropic/m"]);
    assert_eq!(seen, json!({"listed": all.map(model), "found": found.map(model)}));
}

#[tokio::test]
async fn openai_client_raises_the_matching_error_class() {
    let harness = Harness::with(&[("ARBITER_PROVIDERS__RETRY_BUDGET_MS", "0")]).await;
    let failing = |chat: &ChatInput| match chat.last_text_of("user") {
        "limited" => Reply::rate_limited(Some(7)),
        "storm" => Reply::error(500, "oh"),
        "long" => Reply::error(400, json!({"error": {"message": "prompt is too long: 9 > 8"}}).to_string()),
        "filtered" => Reply::error(400, json!({"error": {"message": "no such words"}}).to_string()),
        "key" => Reply::error(401, json!({"error": {"message": "bad key"}}).to_string()),
        "stream" => Reply::failing(arbiter_testkit::Fault::ErrorAfterEvents(4)),
        text => Reply::text(text),
    };
    let mut providers = Vec::new();
    // A refused key makes a provider unhealthy and a limit closes it for a while, so each has its own.
    for kind in PROTOCOLS {
        for id in [kind.to_owned(), format!("{kind}-limited"), format!("{kind}-key")] {
            providers.push(provider_as(&harness, &id, kind, Script::answering(failing)).await);
        }
    }
    let says = |kind: &str, text: &str| json!({"model": format!("{kind}/m"), "messages": [{"role": "user", "content": text}]});
    let streamed = |mut request: Value| {
        request["stream"] = true.into();
        request
    };
    let told = |class: &str, status: u16, code: &str| json!({"class": class, "status_code": status, "code": code, "content_type": "application/json"});
    let about = |mut told: Value, param: &str| {
        told["param"] = param.into();
        told
    };
    let malformed = told("BadRequestError", 400, "invalid");
    let unknown = told("NotFoundError", 404, "model_not_found");
    let refused = told("BadRequestError", 400, "provider_refused");
    let mut table = vec![
        (json!({"model": "auto", "api_key": "wrong"}), told("AuthenticationError", 401, "invalid_api_key")),
        (json!({"model": "nonsense"}), about(unknown.clone(), "model")),
        (json!({"model": "nobody/m"}), unknown),
        (json!({"model": "auto", "messages": "nonsense"}), about(malformed.clone(), "messages")),
        (json!({"model": 7}), about(malformed, "model")),
        (json!({"model": "anthropic/m", "n": 2}), about(refused.clone(), "n")),
    ];
    for kind in PROTOCOLS {
        let storm = told("InternalServerError", 503, "provider_overloaded");
        // After the first word there is no status any more: an error in the stream says it.
        let late = json!({"class": "APIError", "code": "provider_overloaded", "type": "server_error"});
        table.extend([
            (says(kind, "long"), told("BadRequestError", 400, "context_length_exceeded")),
            (says(kind, "filtered"), refused.clone()),
            // Three strikes, and the provider is not asked any more.
            (says(kind, "storm"), storm.clone()),
            (streamed(says(kind, "storm")), storm),
            (streamed(says(kind, "stream")), late),
            // That the provider refuses our key is nothing that the client's key could mend.
            (says(&format!("{kind}-key"), "key"), told("InternalServerError", 502, "provider_failed")),
        ]);
    }
    let limited = json!({"class": "RateLimitError", "status_code": 429, "code": "rate_limit_exceeded", "retry_after": "7"});
    table.extend(PROTOCOLS.map(|kind| (says(&format!("{kind}-limited"), "limited"), limited.clone())));
    let requests: Vec<&Value> = table.iter().map(|(request, _)| request).collect();
    let seen = openai(&harness, "errors", json!(requests)).await;
    for ((request, wanted), seen) in table.iter().zip(seen.as_array().unwrap()) {
        assert!(includes(seen, wanted), "{request}: {seen}");
    }
}

#[tokio::test]
async fn openai_client_does_not_retry_a_spent_budget() {
    let harness = Harness::new().await;
    let provider = provider(&harness, "custom", Script::default()).await;
    let prices = json!({"price_input_per_mtok": 1.0, "price_output_per_mtok": 1.0});
    assert_eq!(harness.ask("PATCH", "providers/custom", Some(&prices)).await.status, 200);
    let cap = json!({"budgets": [{"scope": "total", "period": "day", "cap_usd": 0}]});
    assert_eq!(harness.ask("PUT", "budgets", Some(&cap)).await.status, 200);
    let seen = openai(&harness, "errors", json!([auto("custom")])).await;
    // The client has no class of its own for 402; those it has would make it ask again.
    let wanted = json!([{"class": "APIStatusError", "status_code": 402, "code": "budget_exhausted",
        "type": "insufficient_quota"}]);
    assert!(includes(&seen, &wanted), "{seen}");
    assert_eq!(provider.chat_count(), 0);
}

#[tokio::test]
async fn openai_client_with_default_retries_honours_retry_after() {
    let harness = Harness::with(&[("ARBITER_PROVIDERS__RETRY_BUDGET_MS", "0")]).await;
    let script = Script::in_turn([Reply::rate_limited(Some(1)), Reply::text("Now.")]);
    let provider = provider(&harness, "custom", script).await;
    assert_eq!(openai(&harness, "patient", auto("custom")).await, "Now.");
    assert_eq!(provider.chat_count(), 2);
}

#[tokio::test]
async fn openai_client_accepts_recorded_answers() {
    for (name, scenario) in [
        ("openai_chat.json", "chat"),
        ("openai_tool_chat.json", "chat"),
        ("openai_stream.txt", "stream"),
        ("openai_tool_stream.txt", "stream"),
    ] {
        let text = recorded(name);
        let kind = if scenario == "chat" { "application/json" } else { "text/event-stream" };
        let reply = Reply::raw(text.clone()).with_header("content-type", kind);
        let provider = ScriptedProvider::start(Script::always(reply));
        let (url, input) = (provider.url(), json!({"model": "m"}).to_string());
        let variables = [("OPENAI_BASE_URL", url.as_str()), ("OPENAI_API_KEY", "k")];
        let seen = python::run("openai_client.py", &[scenario, &input], &variables).await;
        let seen =
            if scenario == "chat" { vec![seen["answer"].clone()] } else { seen.as_array().unwrap().clone() };
        let sent: Vec<Value> = match scenario {
            "chat" => vec![serde_json::from_str(&text).unwrap()],
            _ => text
                .lines()
                .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
                .collect(),
        };
        assert!(!sent.is_empty() && seen == sent, "{name}: {seen:?}");
    }
}

/// An answer as it was recorded at a provider.
pub fn recorded(name: &str) -> String {
    let path = root().join("src/providers/tests/fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Tells whether a value has every wanted field with its value.
pub fn includes(seen: &Value, wanted: &Value) -> bool {
    match (seen, wanted) {
        (Value::Object(seen), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| seen.get(name).is_some_and(|seen| includes(seen, wanted)))
        }
        (Value::Array(seen), Value::Array(wanted)) => {
            seen.len() == wanted.len() && seen.iter().zip(wanted).all(|(seen, wanted)| includes(seen, wanted))
        }
        _ => seen == wanted,
    }
}

/// The text that the chunks of a stream make.
pub fn text_of(chunks: &Value) -> String {
    let chunks = chunks.as_array().unwrap().iter();
    chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}
