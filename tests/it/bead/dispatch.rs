//! Dispatch through the running program: agents that create work, hand it on or loop, and projects that are
//! parked or full.

use crate::admission::refusals::problem;
use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{ChatInput, Reply, Script};
use serde_json::{Value, json};

/// Attempts follow each other at once.
const NO_BACKOFF: &[(&str, &str)] =
    &[("ARBITER_DISPATCH__BACKOFF_BASE_MS", "10"), ("ARBITER_DISPATCH__BACKOFF_MAX_MS", "20")];

fn prompt(chat: &ChatInput) -> String {
    let messages = chat.body["messages"].as_array().cloned().unwrap_or_default();
    let users = messages.iter().filter(|message| message["role"] == "user");
    users.filter_map(|message| message["content"].as_str()).collect()
}

/// The agent that is spoken to, by its own name in the system prompt.
fn agent_name(chat: &ChatInput) -> String {
    let system = chat.last_text_of("system").to_owned();
    system.split("You are ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or("?").to_owned()
}

async fn decision_about(harness: &Harness, bead: &str) -> Value {
    let id = harness.wait_for_decision_about(bead).await;
    harness.get(&format!("decisions/{id}")).await
}

#[tokio::test]
async fn handoff_loop_of_two_agents_ends_in_a_decision() {
    let harness = Harness::with(NO_BACKOFF).await;
    let script = Script::answering(|chat| {
        let other = if agent_name(chat) == "ann" { "bob" } else { "ann" };
        Reply::tool("delegate", json!({"agent_id": other, "reason": "rather yours"}))
    });
    let provider = harness.setup(script, &["ann", "bob"]).await;
    harness.bead("ball", json!({"assigned_to": "ann"})).await;
    let decision = decision_about(&harness, "ball").await;
    let question = decision["question"].as_str().unwrap();
    assert!(question.contains("handed on in a circle: ann → bob → agent ann"), "{question}");
    assert!(question.contains("by ann: delegate") && question.contains("run-"), "{question}");
    assert_eq!(decision["options"], json!(["retry", "close", "leave"]));
    let bead = harness.get("beads/ball").await;
    assert_eq!(bead["status"], "blocked");
    assert_eq!(provider.chat_count(), 2, "that was enough to see it");
    let comments = harness.get("beads/ball/comments").await;
    let texts: Vec<&str> =
        comments.as_array().unwrap().iter().map(|one| one["comment"].as_str().unwrap()).collect();
    assert_eq!(texts, ["handed on to agent bob: rather yours", "handed on to agent ann: rather yours"]);
    let id = decision["id"].as_str().unwrap();
    harness.act(&format!("decisions/{id}/decide"), json!({"decision": "close", "rationale": "enough"})).await;
    assert_eq!(harness.get("beads/ball").await["status"], "closed");
}

#[tokio::test]
async fn agent_repeating_its_answer_is_stopped_early() {
    let harness = Harness::with(NO_BACKOFF).await;
    let script = Script::answering(|_| Reply::text("```arbiter\n{\"action\": \"fly\"}\n```"));
    let provider = harness.setup(script, &["ann"]).await;
    harness.bead("wings", json!({})).await;
    let decision = decision_about(&harness, "wings").await;
    let question = decision["question"].as_str().unwrap();
    assert!(question.contains("the same answer as the attempt before"), "{question}");
    assert!(question.contains("it gave the same answer twice in a row"), "{question}");
    let bead = harness.get("beads/wings").await;
    assert_eq!((&bead["status"], &bead["attempts"]), (&json!("blocked"), &json!(2)));
    assert_eq!(provider.chat_count(), 4, "two answers in each of two attempts");
}

#[tokio::test]
async fn bead_on_failing_provider_stops_after_three_attempts() {
    let harness = Harness::with(NO_BACKOFF).await;
    let refusal = json!({"error": {"message": "I will not", "type": "invalid_request_error"}}).to_string();
    let script = Script::answering(move |_| Reply::error(400, refusal.clone()));
    let provider = harness.setup(script, &["ann"]).await;
    harness.bead("hopeless", json!({})).await;
    let decision = decision_about(&harness, "hopeless").await;
    let question = decision["question"].as_str().unwrap();
    assert!(question.contains("failed 3 times without progress"), "{question}");
    assert!(question.matches("\n- run run-").count() >= 2 && question.contains("I will not"), "{question}");
    assert_eq!(harness.get("beads/hopeless").await["attempts"], 3);
    assert_eq!(provider.chat_count(), 3);
    let why = harness.get("beads/hopeless/why").await;
    assert!(why.to_string().contains("3 attempts failed"), "{why}");
}

#[tokio::test]
async fn agent_delegates_beads_and_resumes_with_their_results() {
    let harness = Harness::with(NO_BACKOFF).await;
    let script = Script::answering(|chat| {
        let prompt = prompt(chat);
        if prompt.contains(": How deep?") || prompt.contains(": How wide?") {
            return Reply::tool("finish", json!({"summary": "[simulated] seven metres"}));
        }
        if prompt.contains("seven metres") {
            return Reply::tool("finish", json!({"summary": "[simulated] dug"}));
        }
        let ask = |title: &str, role: Option<&str>| json!({"title": title, "role": role, "wait": true});
        Reply::tool("create_bead", ask("How deep?", Some("plumber")))
            .with_tool("create_bead", ask("How deep?", Some("surveyor")))
            .with_tool("create_bead", ask("How wide?", None))
    });
    let _provider = harness.setup(script, &["digger"]).await;
    let surveyor = json!({"id": "sue", "name": "sue", "provider_id": "scripted", "role": "surveyor"});
    harness.create("agents", surveyor).await;
    harness.bead("hole", json!({"priority": 1, "tags": ["role:digger"]})).await;
    let patched = harness.ask("PATCH", "agents/digger", Some(&json!({"role": "digger"}))).await;
    assert_eq!(patched.status, 200);
    let hole = harness.wait_for_bead_status("hole", "closed").await;
    assert_eq!((&hole["close_reason"], &hole["attempts"]), (&json!("[simulated] dug"), &json!(0)));
    let blockers = hole["blocked_by"].as_array().unwrap();
    assert_eq!(blockers.len(), 2, "no agent has the role plumber: {hole}");
    for id in blockers {
        let made = harness.get(&format!("beads/{}", id.as_str().unwrap())).await;
        assert_eq!((&made["status"], &made["priority"]), (&json!("closed"), &json!(1)));
        let graph = harness.get("work-graph?project_id=p").await;
        let edge = json!({"from": "hole", "to": id, "relationship": "discovered-from"});
        assert!(graph["edges"].as_array().unwrap().contains(&edge), "{graph}");
    }
    let runs = harness.get("beads/hole/runs").await;
    let run = async |outcome: &str| {
        let run = runs.as_array().unwrap().iter().find(|run| run["outcome"] == outcome).unwrap();
        harness.get(&format!("runs/{}", run["id"].as_str().unwrap())).await
    };
    let (first, last) = (run("wait").await, run("finish").await);
    let told = last["prompt"].as_str().unwrap();
    assert!(told.contains("How deep?: [simulated] seven metres"), "{told}");
    let said = first["messages"].to_string();
    assert!(said.contains("no agent has the role plumber; there are: digger, surveyor"), "{said}");
}

#[tokio::test]
async fn agents_creating_beads_recursively_are_limited() {
    let harness = Harness::with(NO_BACKOFF).await;
    // Each has another one do its work; who may not any longer does it.
    let script = Script::answering(|chat| {
        let refused = chat.body["messages"].to_string().contains("no further work item is created");
        if refused {
            return Reply::tool("finish", json!({"summary": "[simulated] did it myself"}));
        }
        if prompt(chat).contains("did it myself") {
            return Reply::tool("finish", json!({"summary": "[simulated] it did it myself, it says"}));
        }
        Reply::tool("create_bead", json!({"title": "You do it", "wait": true}))
    });
    let _provider = harness.setup(script, &["ann"]).await;
    harness.bead("root", json!({})).await;
    harness.wait_for_bead_status("root", "closed").await;
    let all = harness.get("beads?project_id=p").await;
    assert_eq!(all.as_array().unwrap().len(), 6, "one and five for it");
}

#[tokio::test]
async fn parked_or_full_project_dispatches_nothing_and_explains() {
    let harness = Harness::with(NO_BACKOFF).await;
    let script = Script::answering(|_| {
        Reply::tool("finish", json!({"summary": "[simulated] done"}))
            .after(std::time::Duration::from_millis(300))
    });
    let _provider = harness.setup(script, &["ann", "bob", "cat"]).await;
    problem(&harness.ask("POST", "projects/p/park", Some(&json!({"reason": " "}))).await, 422, "invalid");
    let parked = harness.act("projects/p/park", json!({"reason": "holidays"})).await;
    assert_eq!(parked["parked"], "holidays");
    assert_eq!(harness.ask("PATCH", "projects/p", Some(&json!({"max_parallel": 2}))).await.status, 200);
    for id in ["one", "two", "three", "four"] {
        harness.bead(id, json!({})).await;
    }
    let why = harness.get("beads/one/why").await;
    assert!(why.to_string().contains("no work of the project p is handed out: holidays"), "{why}");
    let metrics = harness.server.ask("GET", "/metrics", &[], None).await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(text.contains("arbiter_ready_beads_waiting{reason=\"parked\"} 0"), "none is older than a minute");
    let mut events = harness.stream("?type=run.started,run.finished", None).await;
    let done = harness.cli(&["project", "resume", "p"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let (mut running, mut finished, mut most) = (0_i32, 0, 0);
    while finished < 4 {
        let frame = events.next(TIMEOUT).await.unwrap();
        if frame.event == "run.started" {
            running += 1;
        } else {
            running -= 1;
            finished += 1;
        }
        most = most.max(running);
        if running == 2 && finished == 0 {
            let why = harness.get("beads/three/why").await.to_string();
            assert!(
                why.contains("has 2 beads at work and may have 2") || why.contains("\"reasons\":[]"),
                "{why}"
            );
        }
    }
    assert_eq!(most, 2, "three agents were free");
}
