//! Limits of a provider: concurrent calls and calls a minute, set by the operator or by the provider.

use crate::harness::{Harness, KEY};
use arbiter_testkit::{Fault, HttpResponse, Reply, Script, ScriptedProvider};
use serde_json::{Value, json};
use std::time::Duration;

async fn limited(harness: &Harness, id: &str, fields: Value, script: Script) -> ScriptedProvider {
    let provider = ScriptedProvider::start(script.with_models(&["m"]).requiring_key(KEY));
    harness.register(id, &provider.url(), KEY).await;
    let patched = harness.ask("PATCH", &format!("providers/{id}"), Some(&fields)).await;
    assert_eq!(patched.status, 200, "{}", patched.json());
    provider
}

fn refused(answer: &HttpResponse) -> u64 {
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (429, &json!("rate_limit_exceeded")),
        "{}",
        answer.json()
    );
    answer.header("retry-after").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provider_concurrency_limit_is_never_exceeded() {
    let harness = Harness::new().await;
    let script = Script::always(Reply::text("Yes.").after(Duration::from_millis(200)));
    let provider = limited(&harness, "one", json!({"max_concurrency": 2}), script).await;
    let answers = futures_util::future::join_all((0..8).map(|_| harness.chat("one/m", json!({})))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(provider.max_concurrent_chats(), 2, "eight calls, two at a time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_holds_its_permit_until_end_or_disconnect() {
    let harness = Harness::with(&[("ARBITER_PROVIDERS__CALL_DEADLINE_MS", "1500")]).await;
    let script = Script::always(Reply::failing(Fault::StallAfterEvents(2)));
    let provider = limited(&harness, "one", json!({"max_concurrency": 1}), script).await;
    let mut stream = harness.chat_streaming("one/m").await;
    assert!(stream.next().await.unwrap().is_some());
    let full = harness.chat("one/m", json!({})).await;
    assert_eq!(full.status, 429, "{}", full.json());
    assert_eq!(provider.chat_count(), 1, "the second call never came to the provider");
    provider.set_script(Script::always(Reply::text("Yes.")).requiring_key(KEY));
    drop(stream);
    provider.wait_for_cancellations(1).await;
    assert_eq!(harness.chat("one/m", json!({})).await.status, 200);
}

#[tokio::test]
async fn call_over_per_minute_limit_fails_over_or_gets_retry_after() {
    let harness = Harness::with(&[("ARBITER_PROVIDERS__RETRY_BUDGET_MS", "1000")]).await;
    let yes = || Script::always(Reply::text("Yes."));
    let narrow = limited(&harness, "narrow", json!({"requests_per_minute": 1}), yes()).await;
    assert_eq!(harness.chat("narrow/m", json!({})).await.status, 200);
    let wait = refused(&harness.chat("narrow/m", json!({})).await);
    assert!((30..=60).contains(&wait), "{wait} s");
    let few = limited(&harness, "few", json!({"tokens_per_minute": 1_000}), yes()).await;
    assert_eq!(harness.chat("few/m", json!({"max_tokens": 900})).await.status, 200);
    // What it really took counts, not what it might have taken.
    assert_eq!(harness.chat("few/m", json!({"max_tokens": 900})).await.status, 200);
    let more = harness.chat("few/m", json!({"max_tokens": 5_000})).await;
    refused(&more);
    assert_eq!((narrow.chat_count(), few.chat_count()), (1, 2));

    let wide = limited(&harness, "wide", json!({"pool": "gpu"}), yes()).await;
    let patched = harness.ask("PATCH", "providers/narrow", Some(&json!({"pool": "gpu"}))).await;
    assert_eq!(patched.status, 200);
    let served = harness.chat("narrow/m", json!({})).await;
    assert_eq!((served.status, served.header("x-arbiter-provider")), (200, "wide"), "{}", served.json());
    assert_eq!((narrow.chat_count(), wide.chat_count()), (1, 1));
    let run = harness.run_of(&served).await;
    assert_eq!(run["calls"][0]["failover_from"], "narrow", "{run}");
    assert!(run["calls"][0]["failover_reason"].as_str().unwrap().contains("limits for a minute"), "{run}");
}

#[tokio::test]
async fn rate_limited_provider_is_not_called_until_its_reset() {
    let harness = Harness::with(&[("ARBITER_PROVIDERS__RETRY_BUDGET_MS", "1000")]).await;
    let provider = limited(&harness, "one", json!({}), Script::always(Reply::rate_limited(Some(30)))).await;
    let first = refused(&harness.chat("one/m", json!({})).await);
    let second = refused(&harness.chat("one/m", json!({})).await);
    assert!(first == 30 && (20..=30).contains(&second), "{first} {second}");
    assert_eq!(provider.chat_count(), 1, "the second call was not even sent");
    let row = harness.get("providers/one").await;
    assert_eq!(row["status"], "active", "a limit is no failure");

    let told = Reply::text("Yes.")
        .with_header("x-ratelimit-remaining-requests", "0")
        .with_header("x-ratelimit-reset-requests", "20s");
    let frank = limited(&harness, "frank", json!({}), Script::always(told)).await;
    assert_eq!(harness.chat("frank/m", json!({})).await.status, 200);
    assert!((10..=20).contains(&refused(&harness.chat("frank/m", json!({})).await)));
    assert_eq!(frank.chat_count(), 1);

    // A short wait is waited for.
    let brief =
        Script::in_turn([Reply::rate_limited(None).with_header("retry-after-ms", "50"), Reply::text("Yes.")]);
    let brief = limited(&harness, "brief", json!({}), brief).await;
    assert_eq!(harness.chat("brief/m", json!({})).await.status, 200);
    assert_eq!(brief.chat_count(), 2);
}

#[tokio::test]
async fn retired_model_is_replaced_within_the_same_call() {
    let harness = Harness::new().await;
    let provider = ScriptedProvider::start(Script::default().with_models(&["old"]).requiring_key(KEY));
    harness.register("one", &provider.url(), KEY).await;
    let answer = |chat: &arbiter_testkit::ChatInput| match chat.model() {
        "new" => Reply::text("From the new one."),
        gone => Reply::error(
            404,
            json!({"error": {"message": format!("no {gone}"), "code": "model_not_found"}}).to_string(),
        ),
    };
    provider.set_script(Script::answering(answer).with_models(&["new"]).requiring_key(KEY));
    let question = json!({"message": "Who is there?"});
    let answered = harness.ask("POST", "repl", Some(&question)).await;
    assert_eq!(
        (answered.status, &answered.json()["response"]),
        (200, &json!("From the new one.")),
        "{}",
        answered.json()
    );
    assert_eq!(harness.get("providers/one").await["model"], "new");
    assert_eq!(provider.chat_count(), 2);
    let asked = harness.chat("one/auto", json!({})).await;
    assert_eq!(asked.status, 200);
    let named = harness.chat("one/old", json!({})).await;
    assert_eq!(
        (named.status, &named.json()["error"]["code"]),
        (404, &json!("model_not_found")),
        "a request that names a model gets no other one"
    );
}
