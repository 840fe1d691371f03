//! Providers that stand in for each other: before a word came, and only within their pool.

use crate::harness::{KEY, Stage};
use arbiter_testkit::{Reply, Script, ScriptedProvider};
use serde_json::{Value, json};

async fn registered(stage: &Stage, id: &str, pool: Option<&str>, script: Script) -> ScriptedProvider {
    let provider = ScriptedProvider::start(script.with_models(&["m"]).requiring_key(KEY));
    let new = json!({"id": id, "name": id, "type": "custom", "endpoint": provider.url(), "api_key": KEY, "pool": pool});
    stage.create("providers", new).await;
    stage.act(&format!("providers/{id}/heartbeat"), Value::Null).await;
    provider
}

#[tokio::test]
async fn a_provider_that_fails_is_replaced_by_another_of_its_pool_and_the_ledger_says_so() {
    // Once each: what follows a round in which everybody failed is not the matter here.
    let stage = Stage::with(&[("ARBITER_PROVIDERS__RETRY_BUDGET_MS", "0")]).await;
    let broken = registered(&stage, "broken", Some("fast"), Script::always(Reply::error(503, "busy"))).await;
    let sound = registered(&stage, "sound", Some("fast"), Script::always(Reply::text("From sound."))).await;
    let lonely = registered(&stage, "lonely", None, Script::always(Reply::error(503, "busy"))).await;
    let ask = async |provider: &str, stream: bool| {
        let question = json!({"message": "Who is there?", "provider_id": provider, "stream": stream});
        stage.ask("POST", "repl", Some(&question)).await
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
    // Nobody stands in for a provider without a pool: prompts do not wander.
    assert_eq!(ask("lonely", false).await.status, 503);
    assert_eq!((lonely.chat_count(), sound.chat_count()), (1, 2));
    let usage = stage.get("usage?group_by=provider&per=total").await;
    let calls = |id: &str| {
        let line = usage.as_array().unwrap().iter().find(|line| line["key"] == id);
        line.map_or(0, |line| line["calls"].as_u64().unwrap())
    };
    assert_eq!((calls("sound"), calls("broken"), calls("lonely")), (2, 0, 1), "{usage}");
}

#[tokio::test]
async fn a_provider_that_fails_again_and_again_is_unhealthy_by_its_calls_and_given_a_rest() {
    let stage = Stage::new().await;
    let broken = registered(
        &stage,
        "broken",
        Some("fast"),
        Script::always(Reply::failing(arbiter_testkit::Fault::CutInTheMiddle)),
    )
    .await;
    let sound = registered(&stage, "sound", Some("fast"), Script::always(Reply::text("From sound."))).await;
    for _ in 0..6 {
        let question = json!({"message": "Who is there?", "provider_id": "broken"});
        let answer = stage.ask("POST", "repl", Some(&question)).await;
        // Unhealthy by now, it is not asked for any more by name.
        assert!(matches!(answer.status, 200 | 409), "{}", answer.json());
    }
    let row = stage.get("providers/broken").await;
    assert_ne!(row["status"], "active", "real calls count: {row}");
    assert!(
        broken.chat_count() <= 4 && sound.chat_count() >= 2,
        "{} {}",
        broken.chat_count(),
        sound.chat_count()
    );
}
