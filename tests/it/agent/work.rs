//! Prompts to an agent without a bead, and runs that are ended from outside.

use crate::admission::refusals::problem;
use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{Fault, Reply, Script};
use serde_json::{Value, json};

fn prompt() -> Value {
    json!({"agent_id": "a", "project_id": "p", "prompt": "Name a colour.", "context": {"taste": "cold"}})
}

/// The one run of a kind, as soon as it is there.
async fn run_of(harness: &Harness, kind: &str) -> Value {
    let mut events = harness.stream("?type=run.*", Some(0)).await;
    loop {
        let runs = harness.get(&format!("runs?kind={kind}")).await;
        if let [run] = runs.as_array().unwrap().as_slice() {
            return run.clone();
        }
        events.next(TIMEOUT).await.unwrap();
    }
}

#[tokio::test]
async fn prompt_run_records_answer_and_cost() {
    let harness = Harness::new().await;
    let provider = harness.setup(Script::always(Reply::text("Blue.").with_usage(1_000, 500)), &["a"]).await;
    let prices = json!({"price_input_per_mtok": 2.0, "price_output_per_mtok": 4.0});
    assert_eq!(harness.ask("PATCH", "providers/scripted", Some(&prices)).await.status, 200);
    let run = harness.act("work", prompt()).await;
    assert_eq!((&run["kind"], &run["status"]), (&json!("work"), &json!("succeeded")), "{run}");
    assert_eq!((&run["answer"], &run["cost_usd"]), (&json!("Blue."), &json!(0.004)));
    assert_eq!(
        (&run["bead_id"], &run["agent_id"], &run["project_id"]),
        (&Value::Null, &json!("a"), &json!("p"))
    );
    let asked =
        provider.requests().into_iter().find(|request| request.path.ends_with("completions")).unwrap();
    let said = asked.body["messages"].to_string();
    assert!(
        said.contains("You are a,") && said.contains("Name a colour.") && said.contains("taste: cold"),
        "{said}"
    );
    let kept = harness.get(&format!("runs/{}", run["id"].as_str().unwrap())).await;
    assert_eq!(kept["calls"][0]["outcome"], "answered", "{kept}");
    assert_eq!(kept["messages"].as_array().unwrap().len(), 3);
    let told: Vec<Value> = harness.events(0).await;
    let told: Vec<&str> =
        told.iter().filter(|e| e["subject"] == run["id"]).map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(told, ["run.started", "run.finished"]);
    let usage = harness.get("usage?group_by=agent&kind=work").await;
    assert_eq!((&usage[0]["key"], &usage[0]["calls"]), (&json!("a"), &json!(1)));
    let shown = harness.cli(&["agent", "ask", "a", "--project", "p", "Name", "a", "colour."]).await;
    assert_eq!((shown.code, shown.stdout.trim()), (Some(0), "Blue."), "{shown:?}");
}

#[tokio::test]
async fn invalid_prompt_is_refused_and_failed_run_is_recorded() {
    let harness = Harness::with(&[("ARBITER_PROVIDERS__RETRY_BUDGET_MS", "0")]).await;
    let _provider = harness.setup(Script::always(Reply::error(400, "no such thing")), &["a"]).await;
    harness.create("projects", json!({"id": "q", "name": "Q"})).await;
    for (field, value) in
        [("agent_id", "nobody"), ("project_id", "none"), ("project_id", "q"), ("prompt", "")]
    {
        let mut wrong = prompt();
        wrong[field] = json!(value);
        let answer = harness.ask("POST", "work", Some(&wrong)).await;
        problem(&answer, 422, "invalid");
    }
    problem(&harness.ask("POST", "work", Some(&prompt())).await, 400, "provider-refused");
    let run = run_of(&harness, "work").await;
    assert_eq!(run["status"], "failed");
    assert!(run["error"].as_str().unwrap().contains("no such thing"), "{run}");
    harness.act("agents/a/shutdown", Value::Null).await;
    problem(&harness.ask("POST", "work", Some(&prompt())).await, 409, "agent-not-started");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prompt_run_ends_on_cancel_or_client_disconnect() {
    let harness = Harness::new().await;
    let provider = harness.setup(Script::always(Reply::failing(Fault::Hang)), &["a"]).await;
    let body = prompt();
    let ask = async {
        let answer = harness.ask("POST", "work", Some(&body)).await;
        problem(&answer, 409, "run-cancelled")
    };
    let end = async {
        provider.wait_for_chats(1).await;
        let id = run_of(&harness, "work").await["id"].as_str().unwrap().to_owned();
        let ended = harness.act(&format!("runs/{id}/cancel"), json!({"reason": "enough"})).await;
        assert_eq!(ended["status"], "cancelled", "{ended}");
        problem(&harness.ask("POST", &format!("runs/{id}/cancel"), None).await, 409, "run-ended");
        id
    };
    let (told, first) = tokio::join!(ask, end);
    assert!(told["detail"].as_str().unwrap().contains("enough"), "{told}");
    provider.wait_for_cancellations(1).await;
    problem(&harness.ask("POST", "runs/run-none/cancel", None).await, 404, "not-found");

    let mut events = harness.stream("?type=run.finished", None).await;
    {
        let gone = harness.ask("POST", "work", Some(&body));
        tokio::pin!(gone);
        tokio::select! {
            answer = &mut gone => panic!("{answer:?}"),
            () = provider.wait_for_chats(2) => {}
        }
    }
    let event: Value = serde_json::from_str(&events.next(TIMEOUT).await.unwrap().data).unwrap();
    assert_ne!(event["subject"], json!(first));
    assert_eq!(
        (&event["data"]["status"], &event["data"]["error"]),
        (&json!("cancelled"), &json!("the client that asked went away"))
    );
    provider.wait_for_cancellations(2).await;
    let row = harness.get("providers/scripted").await;
    assert_eq!(row["status"], "active", "a call that was ended says nothing of its provider");
}

#[tokio::test]
async fn cancelled_run_leaves_its_bead_blocked_until_unblocked() {
    let harness = Harness::new().await;
    let provider = harness.setup(Script::always(Reply::failing(Fault::Hang)), &["a"]).await;
    harness.bead("b", json!({})).await;
    provider.wait_for_chats(1).await;
    let run = run_of(&harness, "run").await;
    let ended = harness.act(&format!("runs/{}/cancel", run["id"].as_str().unwrap()), Value::Null).await;
    assert_eq!(ended["status"], "cancelled", "{ended}");
    let bead = harness.get("beads/b").await;
    assert_eq!((&bead["status"], &bead["attempts"]), (&json!("blocked"), &json!(0)), "{bead}");
    assert!(bead["block_reason"].as_str().unwrap().contains("cancelled by"), "{bead}");
    provider.set_script(Script::always(Reply::text("Done.")).requiring_key(crate::harness::KEY));
    harness.act("beads/b/unblock", Value::Null).await;
    harness.wait_for_bead_status("b", "closed").await;
}

#[tokio::test]
async fn run_cut_off_by_a_kill_is_cancelled_after_restart() {
    let mut harness = Harness::new().await;
    let provider = harness.setup(Script::always(Reply::failing(Fault::Hang)), &["a"]).await;
    let body = prompt();
    tokio::select! {
        _ = harness.ask("POST", "work", Some(&body)) => panic!("it was answered"),
        () = provider.wait_for_chats(1) => {}
    }
    harness.server.kill9();
    harness.server.restart().await;
    let run = run_of(&harness, "work").await;
    assert_eq!(run["status"], "cancelled", "{run}");
}
