//! Budgets hold: parallel calls do not overrun a cap, a crash leaves nothing reserved, warnings are told.

use crate::refusals::problem;
use crate::stage::{KEY, Stage};
use arbiter_testkit::{HttpAnswer, Reply, Script, ScriptedProvider};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

/// What a call costs: 1,000 tokens at ten dollars a million.
const COST: f64 = 0.01;

/// A server whose provider answers each question for [`COST`], after a moment in which others ask too.
async fn priced() -> (Stage, ScriptedProvider) {
    let stage = Stage::new().await;
    let reply = Reply::text("Yes.").using(0, 1_000).after(Duration::from_millis(30));
    let provider = ScriptedProvider::start(Script::always(reply).with_models(&["m"]).requiring_key(KEY));
    let new = json!({"id": "one", "name": "One", "type": "custom", "endpoint": provider.url(), "api_key": KEY,
        "price_input_per_mtok": 0.0, "price_output_per_mtok": 10.0});
    stage.create("providers", new).await;
    stage.act("providers/one/heartbeat", Value::Null).await;
    (stage, provider)
}

async fn budget(stage: &Stage, cap_usd: f64) {
    let wanted = json!({"budgets": [{"scope": "total", "period": "day", "cap_usd": cap_usd}]});
    let put = stage.ask("PUT", "budgets", Some(&wanted)).await;
    assert_eq!(put.status, 200, "{}", put.json());
}

async fn question(stage: &Stage) -> HttpAnswer {
    stage.ask("POST", "repl", Some(&json!({"message": "Is it so?"}))).await
}

/// What the ledger holds, in dollars.
async fn spent(stage: &Stage) -> f64 {
    let usage = stage.get("usage?group_by=provider&per=total").await;
    usage.as_array().unwrap().iter().map(|line| line["cost_usd"].as_f64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_calls_do_not_overrun_a_budget_and_a_kill_leaves_nothing_reserved() {
    let (mut stage, _provider) = priced().await;
    budget(&stage, 0.5).await;
    let ask = |_| question(&stage);
    let answers: Vec<HttpAnswer> =
        futures_util::stream::iter(0..200).map(ask).buffer_unordered(64).collect().await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        let told = problem(refused, 402, "budget-exhausted");
        assert!(told["detail"].as_str().unwrap().contains("the budget of total"), "{told}");
    }
    #[allow(clippy::cast_precision_loss)]
    let paid = served as f64 * COST;
    // Each sets aside what the longest answer would cost, so the last cents of a budget buy nothing.
    assert!(served >= 25 && paid <= 0.5 + COST, "{served} were served");
    assert!((spent(&stage).await - paid).abs() < 1e-6, "{} in the ledger", spent(&stage).await);
    // With nothing set aside any more, a refusal means that the budget is at its end.
    while question(&stage).await.status == 200 {}
    let told = stage.get("events?type=budget.*&limit=1000").await;
    let levels: Vec<u64> =
        told.as_array().unwrap().iter().filter_map(|event| event["data"]["level"].as_u64()).collect();
    assert!(levels.contains(&50), "{told}");
    assert!(told.as_array().unwrap().iter().any(|event| event["type"] == "budget.exhausted"), "{told}");

    stage.server.kill9();
    stage.server.restart().await;
    budget(&stage, 0.6).await;
    let mut more = 0;
    while question(&stage).await.status == 200 {
        more += 1;
        assert!(more < 100, "nothing is limited");
    }
    assert!(more >= 1, "what was reserved at the kill is free again");
    assert!(spent(&stage).await <= 0.6 + COST, "{}", spent(&stage).await);
}

#[tokio::test]
async fn a_bead_whose_budget_is_spent_is_not_worked_on_and_says_why() {
    let (stage, _provider) = priced().await;
    stage.create("projects", json!({"id": "p", "name": "P"})).await;
    let wanted = json!({"budgets": [{"scope": "project:p", "period": "month", "cap_usd": 0.001}]});
    assert_eq!(stage.ask("PUT", "budgets", Some(&wanted)).await.status, 200);
    let agent = json!({"id": "a", "name": "a", "provider_id": "one", "project_id": "p"});
    stage.create("agents", agent).await;
    stage.bead("b", json!({})).await;
    let tried = stage.until("beads/b", |bead| bead["last_error"].is_string()).await;
    assert!(tried["last_error"].as_str().unwrap().contains("the budget of project:p"), "{tried}");
    assert_eq!(question(&stage).await.status, 200, "other money is untouched");
    let usage = stage.get("usage?group_by=project&per=total").await;
    assert!(usage.as_array().unwrap().iter().all(|line| line["key"] != "p"), "{usage}");
}
