//! Budgets hold: parallel calls do not overrun a cap, a crash leaves nothing reserved, warnings are told.

use crate::admission::refusals::problem;
use crate::harness::{KEY, Stage};
use arbiter_testkit::{Fault, HttpAnswer, Reply, Script, ScriptedProvider};
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
    assert!(served >= 20 && paid <= 0.5 + COST, "{served} were served");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_settle_no_more_than_one_dollar() {
    let (stage, provider) = priced().await;
    budget(&stage, 1.0).await;
    // Each sets aside two cents and costs one.
    let ask = |_| stage.chat("one/m", json!({"max_tokens": 2_000}));
    let answers: Vec<HttpAnswer> = futures_util::future::join_all((0..1_000).map(ask)).await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (402, &json!("budget_exhausted")));
    }
    assert_eq!(provider.chat_count(), served, "whoever was refused was never sent on");
    assert!((50..=100).contains(&served), "{served} were served");
    // The rest of the dollar buys one call after the other.
    while stage.chat("one/m", json!({"max_tokens": 1_000})).await.status == 200 {}
    stage.until_spent(1.0).await;
    assert!(spent(&stage).await <= 1.0 + COST, "{} in the ledger", spent(&stage).await);
    let budgets = stage.get("budgets").await;
    assert_eq!((&budgets[0]["reserved_usd"], &budgets[0]["warned"]), (&json!(0.0), &json!(100)), "{budgets}");
}

impl Stage {
    /// Waits until the ledger's lines, which are written behind the answers, hold so much.
    async fn until_spent(&self, dollars: f64) {
        let mut events = self.stream("?type=budget.exhausted", Some(0)).await;
        events.next(crate::harness::SOON).await.unwrap();
        let deadline = tokio::time::Instant::now() + crate::harness::SOON;
        while spent(self).await < dollars - COST / 2.0 {
            assert!(tokio::time::Instant::now() < deadline, "only {} are in the ledger", spent(self).await);
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_call_on_its_way_may_cost_is_set_aside_until_it_ends() {
    let (stage, provider) = priced().await;
    budget(&stage, 1.0).await;
    provider.set_script(Script::always(Reply::failing(Fault::StallAfterEvents(1))).requiring_key(KEY));
    let stream = stage.chat_in_pieces("one/m").await;
    let held = stage.get("budgets").await;
    assert!(held[0]["reserved_usd"].as_f64().unwrap() > 0.0, "{held}");
    assert!(held[0]["left_usd"].as_f64().unwrap() < 1.0, "{held}");
    drop(stream);
    provider.cancellations(1).await;
}

#[tokio::test]
async fn a_bead_whose_budget_is_spent_waits_without_an_attempt_and_goes_on_when_there_is_more() {
    let (stage, provider) = priced().await;
    stage.create("projects", json!({"id": "p", "name": "P"})).await;
    let capped = async |cap_usd: f64| {
        let wanted = json!({"budgets": [{"scope": "project:p", "period": "month", "cap_usd": cap_usd}]});
        assert_eq!(stage.ask("PUT", "budgets", Some(&wanted)).await.status, 200);
    };
    capped(0.0).await;
    let agent = json!({"id": "a", "name": "a", "provider_id": "one", "project_id": "p"});
    stage.create("agents", agent).await;
    stage.bead("b", json!({})).await;
    let why = stage.get("beads/b/why").await;
    assert!(why.to_string().contains("the budget of project:p is spent until"), "{why}");
    assert_eq!(question(&stage).await.status, 200, "other money is untouched");
    assert_eq!(provider.chat_count(), 1);
    capped(1.0).await;
    let closed = stage.until_bead("b", "closed").await;
    assert_eq!(closed["attempts"], 0, "{closed}");

    // A budget that holds less than one more call may cost: no attempt either, and a time for the next look.
    capped(COST + 0.001).await;
    stage.bead("c", json!({})).await;
    let waiting = stage.until("beads/c", |bead| bead["last_error"].is_string()).await;
    assert_eq!((&waiting["status"], &waiting["attempts"]), (&json!("open"), &json!(0)), "{waiting}");
    assert!(waiting["last_error"].as_str().unwrap().contains("the budget of project:p"), "{waiting}");
    let why = stage.get("beads/c/why").await;
    assert!(why.to_string().contains("the next attempt is at"), "{why}");
}
