//! Failover: only before the first token, and only within a pool.

use crate::harness::{Harness, KEY};
use arbiter_testkit::{Reply, Script, ScriptedProvider};
use serde_json::{Value, json};

async fn register_provider(
    harness: &Harness,
    id: &str,
    pool: Option<&str>,
    script: Script,
) -> ScriptedProvider {
    let provider = ScriptedProvider::start(script.with_models(&["m"]).requiring_key(KEY));
    let new = json!({"id": id, "name": id, "type": "custom", "endpoint": provider.url(), "api_key": KEY, "pool": pool});
    harness.create("providers", new).await;
    harness.act(&format!("providers/{id}/heartbeat"), Value::Null).await;
    provider
}

#[tokio::test]
async fn failing_provider_fails_over_in_its_pool_and_is_recorded() {
    // Once each: what follows a round in which everybody failed is not the matter here.
    let harness = Harness::with(&[("ARBITER_PROVIDERS__RETRY_BUDGET_MS", "0")]).await;
    let broken =
        register_provider(&harness, "broken", Some("fast"), Script::always(Reply::error(503, "busy"))).await;
    let sound =
        register_provider(&harness, "sound", Some("fast"), Script::always(Reply::text("From sound."))).await;
    let lonely = register_provider(&harness, "lonely", None, Script::always(Reply::error(503, "busy"))).await;
    let ask = async |provider: &str, stream: bool| {
        let question = json!({"message": "Who is there?", "provider_id": provider, "stream": stream});
        harness.ask("POST", "repl", Some(&question)).await
    };
    let answer = ask("broken", false).await;
    assert_eq!(
        (answer.status, answer.json()["response"].as_str()),
        (200, Some("From sound.")),
        "{}",
        answer.json()
    );
    assert_eq!((broken.chat_count(), sound.chat_count()), (1, 1));
    let streamed = ask("broken", true).await;
    assert!(String::from_utf8_lossy(&streamed.body).contains("event: answer"), "{streamed:?}");
    // A provider outside a pool never fails over.
    assert_eq!(ask("lonely", false).await.status, 503);
    assert_eq!((lonely.chat_count(), sound.chat_count()), (1, 2));
    let usage = harness.get("usage?group_by=provider&per=total").await;
    let calls = |id: &str| {
        let line = usage.as_array().unwrap().iter().find(|line| line["key"] == id);
        line.map_or(0, |line| line["calls"].as_u64().unwrap())
    };
    assert_eq!((calls("sound"), calls("broken"), calls("lonely")), (2, 0, 1), "{usage}");
}

#[tokio::test]
async fn repeated_call_failures_open_the_circuit_breaker() {
    let harness = Harness::new().await;
    let broken = register_provider(
        &harness,
        "broken",
        Some("fast"),
        Script::always(Reply::failing(arbiter_testkit::Fault::CutInTheMiddle)),
    )
    .await;
    let sound =
        register_provider(&harness, "sound", Some("fast"), Script::always(Reply::text("From sound."))).await;
    for _ in 0..6 {
        let question = json!({"message": "Who is there?", "provider_id": "broken"});
        let answer = harness.ask("POST", "repl", Some(&question)).await;
        // Unhealthy by now, it is not asked for any more by name.
        assert!(matches!(answer.status, 200 | 409), "{}", answer.json());
    }
    let row = harness.get("providers/broken").await;
    assert_ne!(row["status"], "active", "real calls count: {row}");
    assert!(
        broken.chat_count() <= 4 && sound.chat_count() >= 2,
        "{} {}",
        broken.chat_count(),
        sound.chat_count()
    );
}
