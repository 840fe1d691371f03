//! Budgets: parallel calls do not exceed a cap, a crash leaves nothing reserved, warnings are sent.

use crate::admission::refusals::problem;
use crate::harness::{Harness, KEY};
use arbiter_testkit::{Fault, HttpResponse, Reply, Script, ScriptedProvider};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

/// Cost of a call: 1,000 tokens at ten dollars a million.
const CALL_COST_USD: f64 = 0.01;

/// A server whose provider answers each question for [`CALL_COST_USD`], after a moment in which others ask too.
async fn start_priced() -> (Harness, ScriptedProvider) {
    let harness = Harness::new().await;
    let reply = Reply::text("Yes.").with_usage(0, 1_000).after(Duration::from_millis(30));
    let provider = ScriptedProvider::start(Script::always(reply).with_models(&["m"]).requiring_key(KEY));
    let new = json!({"id": "one", "name": "One", "type": "custom", "endpoint": provider.url(), "api_key": KEY,
        "price_input_per_mtok": 0.0, "price_output_per_mtok": 10.0});
    harness.create("providers", new).await;
    harness.act("providers/one/heartbeat", Value::Null).await;
    (harness, provider)
}

async fn set_budget(harness: &Harness, cap_usd: f64) {
    let wanted = json!({"budgets": [{"scope": "total", "period": "day", "cap_usd": cap_usd}]});
    let put = harness.ask("PUT", "budgets", Some(&wanted)).await;
    assert_eq!(put.status, 200, "{}", put.json());
}

async fn ask_question(harness: &Harness) -> HttpResponse {
    harness.ask("POST", "repl", Some(&json!({"message": "Is it so?"}))).await
}

/// Returns the total of the ledger, in dollars.
async fn spent_usd(harness: &Harness) -> f64 {
    let usage = harness.get("usage?group_by=provider&per=total").await;
    usage.as_array().unwrap().iter().map(|line| line["cost_usd"].as_f64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_calls_stay_in_budget_and_kill_leaves_no_reservation() {
    let (mut harness, _provider) = start_priced().await;
    set_budget(&harness, 0.5).await;
    let ask = |_| ask_question(&harness);
    let answers: Vec<HttpResponse> =
        futures_util::stream::iter(0..200).map(ask).buffer_unordered(64).collect().await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        let told = problem(refused, 402, "budget-exhausted");
        assert!(told["detail"].as_str().unwrap().contains("the budget of total"), "{told}");
    }
    #[allow(clippy::cast_precision_loss)]
    let paid = served as f64 * CALL_COST_USD;
    assert!(served > 0 && paid <= 0.5 + CALL_COST_USD, "{served} were served");
    assert!((spent_usd(&harness).await - paid).abs() < 1e-6, "{} in the ledger", spent_usd(&harness).await);
    // With nothing set aside any more, a refusal means that the budget is at its end. Each call sets aside what the
    // longest answer would cost, so the last cents buy nothing.
    let mut all = served;
    while ask_question(&harness).await.status == 200 {
        all += 1;
    }
    assert!(all >= 20, "{all} were served");
    let told = harness.get("events?type=budget.*&limit=1000").await;
    let levels: Vec<u64> =
        told.as_array().unwrap().iter().filter_map(|event| event["data"]["level"].as_u64()).collect();
    assert!(levels.contains(&50), "{told}");
    assert!(told.as_array().unwrap().iter().any(|event| event["type"] == "budget.exhausted"), "{told}");

    harness.server.kill9();
    harness.server.restart().await;
    set_budget(&harness, 0.6).await;
    let mut more = 0;
    while ask_question(&harness).await.status == 200 {
        more += 1;
        assert!(more < 100, "nothing is limited");
    }
    assert!(more >= 1, "what was reserved at the kill is free again");
    assert!(spent_usd(&harness).await <= 0.6 + CALL_COST_USD, "{}", spent_usd(&harness).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_parallel_calls_cost_at_most_the_budget() {
    let (harness, provider) = start_priced().await;
    set_budget(&harness, 1.0).await;
    // Each sets aside two cents and costs one.
    let ask = |_| harness.chat("one/m", json!({"max_tokens": 2_000}));
    let answers: Vec<HttpResponse> = futures_util::future::join_all((0..1_000).map(ask)).await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (402, &json!("budget_exhausted")));
    }
    assert_eq!(provider.chat_count(), served, "a refused call never reaches the provider");
    assert!((50..=100).contains(&served), "{served} were served");
    // The rest of the dollar buys one call after the other.
    while harness.chat("one/m", json!({"max_tokens": 1_000})).await.status == 200 {}
    harness.wait_until_spent(1.0).await;
    assert!(spent_usd(&harness).await <= 1.0 + CALL_COST_USD, "{} in the ledger", spent_usd(&harness).await);
    let budgets = harness.get("budgets").await;
    assert_eq!((&budgets[0]["reserved_usd"], &budgets[0]["warned"]), (&json!(0.0), &json!(100)), "{budgets}");
}

impl Harness {
    /// Waits until the ledger's lines, which are written behind the answers, hold so much.
    async fn wait_until_spent(&self, dollars: f64) {
        let mut events = self.stream("?type=budget.exhausted", Some(0)).await;
        events.next(crate::harness::TIMEOUT).await.unwrap();
        let deadline = tokio::time::Instant::now() + crate::harness::TIMEOUT;
        while spent_usd(self).await < dollars - CALL_COST_USD / 2.0 {
            assert!(
                tokio::time::Instant::now() < deadline,
                "only {} are in the ledger",
                spent_usd(self).await
            );
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_in_flight_reserves_its_cost_until_it_ends() {
    let (harness, provider) = start_priced().await;
    set_budget(&harness, 1.0).await;
    provider.set_script(Script::always(Reply::failing(Fault::StallAfterEvents(2))).requiring_key(KEY));
    let stream = harness.chat_streaming("one/m").await;
    let held = harness.get("budgets").await;
    assert!(held[0]["reserved_usd"].as_f64().unwrap() > 0.0, "{held}");
    assert!(held[0]["left_usd"].as_f64().unwrap() < 1.0, "{held}");
    drop(stream);
    provider.wait_for_cancellations(1).await;
}

/// The limits that the provider was sent with its newest chat.
fn sent_limits(provider: &ScriptedProvider) -> (Value, Value) {
    let requests = provider.requests();
    let body = &requests.iter().rfind(|request| request.path.ends_with("chat/completions")).unwrap().body;
    (body["max_completion_tokens"].clone(), body["max_tokens"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgeted_call_costs_at_most_what_is_set_aside() {
    let (harness, provider) = start_priced().await;
    assert_eq!(harness.chat("one/m", json!({})).await.status, 200);
    assert_eq!(sent_limits(&provider), (Value::Null, Value::Null), "without a budget nothing is added");
    // Less than the 8,192 tokens that an answer without a limit may have.
    set_budget(&harness, 0.05).await;
    for fields in
        [json!({}), json!({"max_completion_tokens": 1, "max_tokens": 30_000}), json!({"max_tokens": "1"})]
    {
        let refused = harness.chat("one/m", fields.clone()).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["code"]),
            (402, &json!("budget_exhausted")),
            "{fields}"
        );
    }
    assert_eq!(provider.chat_count(), 1);
    set_budget(&harness, 1.0).await;
    assert_eq!(harness.chat("one/m", json!({})).await.status, 200);
    assert_eq!(sent_limits(&provider), (Value::Null, json!(8_192)));
    assert_eq!(harness.chat("one/m", json!({"max_tokens": 7})).await.status, 200);
    assert_eq!(sent_limits(&provider), (Value::Null, json!(7)));
    assert_eq!(ask_question(&harness).await.status, 200);
    assert_eq!(sent_limits(&provider), (Value::Null, json!(8_192)));
}

#[tokio::test]
async fn list_in_the_place_of_an_object_is_refused() {
    let harness = Harness::new().await;
    let positional = json!({"budgets": [["total", "day", 1.0]]});
    let told = problem(&harness.ask("PUT", "budgets", Some(&positional)).await, 422, "invalid");
    assert_eq!(told["errors"][0]["pointer"], "/budgets/0", "{told}");
    problem(&harness.ask("PUT", "budgets", Some(&json!([[]]))).await, 422, "invalid");
    assert_eq!(harness.get("budgets").await, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_chat_is_billed_to_its_own_project() {
    let (harness, provider) = start_priced().await;
    for id in ["p", "q"] {
        harness.create("projects", json!({"id": id, "name": id})).await;
    }
    harness.create("agents", json!({"id": "a", "name": "a", "kind": "external", "project_id": "p"})).await;
    let token = harness.token(json!({"name": "t", "role": "agent", "agent_id": "a"})).await;
    let wanted = json!({"budgets": [{"scope": "project:p", "period": "month", "cap_usd": 0.0}]});
    assert_eq!(harness.ask("PUT", "budgets", Some(&wanted)).await.status, 200);
    let bearer = format!("Bearer {token}");
    let chat = json!({"model": "one/m", "messages": [{"role": "user", "content": "Hello"}]});
    for (project, status) in [(None, 402), (Some("p"), 402), (Some("q"), 403)] {
        let named = project.map(|project| ("openai-project", project));
        let headers: Vec<(&str, &str)> =
            [("authorization", bearer.as_str())].into_iter().chain(named).collect();
        let answer = harness.server.send("POST", "/v1/chat/completions", &headers, Some(&chat)).await;
        assert_eq!(answer.status, status, "{project:?}: {}", answer.json());
    }
    assert_eq!(provider.chat_count(), 0);
}

#[tokio::test]
async fn bead_with_spent_budget_waits_uncounted_and_resumes_on_raise() {
    let (harness, provider) = start_priced().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let capped = async |cap_usd: f64| {
        let wanted = json!({"budgets": [{"scope": "project:p", "period": "month", "cap_usd": cap_usd}]});
        assert_eq!(harness.ask("PUT", "budgets", Some(&wanted)).await.status, 200);
    };
    capped(0.0).await;
    let agent = json!({"id": "a", "name": "a", "provider_id": "one", "project_id": "p"});
    harness.create("agents", agent).await;
    harness.bead("b", json!({})).await;
    let why = harness.get("beads/b/why").await;
    assert!(why.to_string().contains("the budget of project:p is spent until"), "{why}");
    assert_eq!(ask_question(&harness).await.status, 200, "other money is untouched");
    assert_eq!(provider.chat_count(), 1);
    capped(1.0).await;
    let closed = harness.wait_for_bead_status("b", "closed").await;
    assert_eq!(closed["attempts"], 0, "{closed}");

    // A budget that holds less than one more call may cost: no attempt either, and a time for the next look.
    capped(CALL_COST_USD + 0.001).await;
    harness.bead("c", json!({})).await;
    let waiting = harness.wait_until("beads/c", |bead| bead["last_error"].is_string()).await;
    assert_eq!((&waiting["status"], &waiting["attempts"]), (&json!("open"), &json!(0)), "{waiting}");
    assert!(waiting["last_error"].as_str().unwrap().contains("the budget of project:p"), "{waiting}");
    let why = harness.get("beads/c/why").await;
    assert!(why.to_string().contains("the next attempt is at"), "{why}");
}
