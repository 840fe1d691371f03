//! Prompts to an agent without a bead, and runs that are ended from outside.

use crate::admission::refusals::problem;
use crate::harness::{SOON, Stage};
use arbiter_testkit::{Fault, Reply, Script};
use serde_json::{Value, json};

fn prompt() -> Value {
    json!({"agent_id": "a", "project_id": "p", "prompt": "Name a colour.", "context": {"taste": "cold"}})
}

/// The one run of a kind, as soon as it is there.
async fn run_of(stage: &Stage, kind: &str) -> Value {
    let mut events = stage.stream("?type=run.*", Some(0)).await;
    loop {
        let runs = stage.get(&format!("runs?kind={kind}")).await;
        if let [run] = runs.as_array().unwrap().as_slice() {
            return run.clone();
        }
        events.next(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn an_agent_answers_a_prompt_and_the_run_says_what_was_said_and_what_it_cost() {
    let stage = Stage::new().await;
    let provider = stage.furnish(Script::always(Reply::text("Blue.").using(1_000, 500)), &["a"]).await;
    let prices = json!({"price_input_per_mtok": 2.0, "price_output_per_mtok": 4.0});
    assert_eq!(stage.ask("PATCH", "providers/scripted", Some(&prices)).await.status, 200);
    let run = stage.act("work", prompt()).await;
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
    let kept = stage.get(&format!("runs/{}", run["id"].as_str().unwrap())).await;
    assert_eq!(kept["calls"][0]["outcome"], "answered", "{kept}");
    assert_eq!(kept["messages"].as_array().unwrap().len(), 3);
    let told: Vec<Value> = stage.events(0).await;
    let told: Vec<&str> =
        told.iter().filter(|e| e["subject"] == run["id"]).map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(told, ["run.started", "run.finished"]);
    let usage = stage.get("usage?group_by=agent&kind=work").await;
    assert_eq!((&usage[0]["key"], &usage[0]["calls"]), (&json!("a"), &json!(1)));
    let shown = stage.cli(&["agent", "ask", "a", "--project", "p", "Name", "a", "colour."]).await;
    assert_eq!((shown.code, shown.stdout.trim()), (Some(0), "Blue."), "{shown:?}");
}

#[tokio::test]
async fn prompts_that_cannot_be_answered_are_refused_with_the_reason_and_failures_are_kept() {
    let stage = Stage::with(&[("ARBITER_PROVIDERS__RETRY_BUDGET_MS", "0")]).await;
    let _provider = stage.furnish(Script::always(Reply::error(400, "no such thing")), &["a"]).await;
    stage.create("projects", json!({"id": "q", "name": "Q"})).await;
    for (field, value) in
        [("agent_id", "nobody"), ("project_id", "none"), ("project_id", "q"), ("prompt", "")]
    {
        let mut wrong = prompt();
        wrong[field] = json!(value);
        let answer = stage.ask("POST", "work", Some(&wrong)).await;
        problem(&answer, 422, "invalid");
    }
    problem(&stage.ask("POST", "work", Some(&prompt())).await, 400, "provider-refused");
    let run = run_of(&stage, "work").await;
    assert_eq!(run["status"], "failed");
    assert!(run["error"].as_str().unwrap().contains("no such thing"), "{run}");
    stage.act("agents/a/shutdown", Value::Null).await;
    problem(&stage.ask("POST", "work", Some(&prompt())).await, 409, "agent-not-started");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_goes_on_is_ended_by_whoever_may_or_when_its_asker_leaves() {
    let stage = Stage::new().await;
    let provider = stage.furnish(Script::always(Reply::failing(Fault::Hang)), &["a"]).await;
    let body = prompt();
    let ask = async {
        let answer = stage.ask("POST", "work", Some(&body)).await;
        problem(&answer, 409, "run-cancelled")
    };
    let end = async {
        provider.chats_asked(1).await;
        let id = run_of(&stage, "work").await["id"].as_str().unwrap().to_owned();
        let ended = stage.act(&format!("runs/{id}/cancel"), json!({"reason": "enough"})).await;
        assert_eq!(ended["status"], "cancelled", "{ended}");
        problem(&stage.ask("POST", &format!("runs/{id}/cancel"), None).await, 409, "run-ended");
        id
    };
    let (told, first) = tokio::join!(ask, end);
    assert!(told["detail"].as_str().unwrap().contains("enough"), "{told}");
    provider.cancellations(1).await;
    problem(&stage.ask("POST", "runs/run-none/cancel", None).await, 404, "not-found");

    let mut events = stage.stream("?type=run.finished", None).await;
    {
        let gone = stage.ask("POST", "work", Some(&body));
        tokio::pin!(gone);
        tokio::select! {
            answer = &mut gone => panic!("{answer:?}"),
            () = provider.chats_asked(2) => {}
        }
    }
    let event: Value = serde_json::from_str(&events.next(SOON).await.unwrap().data).unwrap();
    assert_ne!(event["subject"], json!(first));
    assert_eq!(
        (&event["data"]["status"], &event["data"]["error"]),
        (&json!("cancelled"), &json!("whoever asked went away"))
    );
    provider.cancellations(2).await;
    let row = stage.get("providers/scripted").await;
    assert_eq!(row["status"], "active", "a call that was ended says nothing of its provider");
}

#[tokio::test]
async fn a_cancelled_run_leaves_its_bead_blocked_until_somebody_wants_it_again() {
    let stage = Stage::new().await;
    let provider = stage.furnish(Script::always(Reply::failing(Fault::Hang)), &["a"]).await;
    stage.bead("b", json!({})).await;
    provider.chats_asked(1).await;
    let run = run_of(&stage, "run").await;
    let ended = stage.act(&format!("runs/{}/cancel", run["id"].as_str().unwrap()), Value::Null).await;
    assert_eq!(ended["status"], "cancelled", "{ended}");
    let bead = stage.get("beads/b").await;
    assert_eq!((&bead["status"], &bead["attempts"]), (&json!("blocked"), &json!(0)), "{bead}");
    assert!(bead["block_reason"].as_str().unwrap().contains("cancelled by"), "{bead}");
    provider.set_script(Script::always(Reply::text("Done.")).requiring_key(crate::harness::KEY));
    stage.act("beads/b/unblock", Value::Null).await;
    stage.until_bead("b", "closed").await;
}

#[tokio::test]
async fn runs_that_the_end_of_the_server_cut_off_say_so_after_the_next_start() {
    let mut stage = Stage::new().await;
    let provider = stage.furnish(Script::always(Reply::failing(Fault::Hang)), &["a"]).await;
    let body = prompt();
    tokio::select! {
        _ = stage.ask("POST", "work", Some(&body)) => panic!("it was answered"),
        () = provider.chats_asked(1) => {}
    }
    stage.server.kill9();
    stage.server.restart().await;
    let run = run_of(&stage, "work").await;
    assert_eq!(run["status"], "cancelled", "{run}");
}
