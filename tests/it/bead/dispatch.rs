//! Who gets work and who does not, through the running program: agents that make more of it, hand it on, run in
//! circles, and projects that rest or are full.

use crate::admission::refusals::problem;
use crate::harness::{SOON, Stage};
use arbiter_testkit::{ChatInput, Reply, Script};
use serde_json::{Value, json};

/// Attempts follow each other at once.
const QUICK: &[(&str, &str)] =
    &[("ARBITER_DISPATCH__BACKOFF_BASE_MS", "10"), ("ARBITER_DISPATCH__BACKOFF_MAX_MS", "20")];

fn prompt(chat: &ChatInput) -> String {
    let messages = chat.body["messages"].as_array().cloned().unwrap_or_default();
    let users = messages.iter().filter(|message| message["role"] == "user");
    users.filter_map(|message| message["content"].as_str()).collect()
}

/// The agent that is spoken to, by its own name in the system prompt.
fn who(chat: &ChatInput) -> String {
    let system = chat.last_text_of("system").to_owned();
    system.split("You are ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or("?").to_owned()
}

async fn decision_about(stage: &Stage, bead: &str) -> Value {
    let id = stage.asked_about(bead).await;
    stage.get(&format!("decisions/{id}")).await
}

#[tokio::test]
async fn two_agents_that_hand_a_bead_to_each_other_stop_and_a_person_sees_why() {
    let stage = Stage::with(QUICK).await;
    let script = Script::answering(|chat| {
        let other = if who(chat) == "ann" { "bob" } else { "ann" };
        Reply::tool("delegate", json!({"agent_id": other, "reason": "rather yours"}))
    });
    let provider = stage.furnish(script, &["ann", "bob"]).await;
    stage.bead("ball", json!({"assigned_to": "ann"})).await;
    let decision = decision_about(&stage, "ball").await;
    let question = decision["question"].as_str().unwrap();
    assert!(question.contains("handed on in a circle: ann → bob → agent ann"), "{question}");
    assert!(question.contains("by ann: delegate") && question.contains("run-"), "{question}");
    assert_eq!(decision["options"], json!(["retry", "close", "leave"]));
    let bead = stage.get("beads/ball").await;
    assert_eq!(bead["status"], "blocked");
    assert_eq!(provider.chat_count(), 2, "that was enough to see it");
    let comments = stage.get("beads/ball/comments").await;
    let texts: Vec<&str> =
        comments.as_array().unwrap().iter().map(|one| one["comment"].as_str().unwrap()).collect();
    assert_eq!(texts, ["handed on to agent bob: rather yours", "handed on to agent ann: rather yours"]);
    let id = decision["id"].as_str().unwrap();
    stage.act(&format!("decisions/{id}/decide"), json!({"decision": "close", "rationale": "enough"})).await;
    assert_eq!(stage.get("beads/ball").await["status"], "closed");
}

#[tokio::test]
async fn an_agent_that_repeats_its_answer_is_stopped_before_it_has_cost_much() {
    let stage = Stage::with(QUICK).await;
    let script = Script::answering(|_| Reply::text("```arbiter\n{\"action\": \"fly\"}\n```"));
    let provider = stage.furnish(script, &["ann"]).await;
    stage.bead("wings", json!({})).await;
    let decision = decision_about(&stage, "wings").await;
    let question = decision["question"].as_str().unwrap();
    assert!(question.contains("the same answer as the attempt before"), "{question}");
    assert!(question.contains("it gave the same answer twice in a row"), "{question}");
    let bead = stage.get("beads/wings").await;
    assert_eq!((&bead["status"], &bead["attempts"]), (&json!("blocked"), &json!(2)));
    assert_eq!(provider.chat_count(), 4, "two answers in each of two attempts");
}

#[tokio::test]
async fn a_provider_that_fails_each_time_stops_a_bead_after_three_attempts_with_the_evidence() {
    let stage = Stage::with(QUICK).await;
    let refusal = json!({"error": {"message": "I will not", "type": "invalid_request_error"}}).to_string();
    let script = Script::answering(move |_| Reply::error(400, refusal.clone()));
    let provider = stage.furnish(script, &["ann"]).await;
    stage.bead("hopeless", json!({})).await;
    let decision = decision_about(&stage, "hopeless").await;
    let question = decision["question"].as_str().unwrap();
    assert!(question.contains("failed 3 times without progress"), "{question}");
    assert!(question.matches("\n- run run-").count() >= 2 && question.contains("I will not"), "{question}");
    assert_eq!(stage.get("beads/hopeless").await["attempts"], 3);
    assert_eq!(provider.chat_count(), 3);
    let why = stage.get("beads/hopeless/why").await;
    assert!(why.to_string().contains("3 attempts failed"), "{why}");
}

#[tokio::test]
async fn an_agent_has_others_work_for_it_and_goes_on_with_what_they_found() {
    let stage = Stage::with(QUICK).await;
    let script = Script::answering(|chat| {
        let prompt = prompt(chat);
        if prompt.contains(": How deep?") || prompt.contains(": How wide?") {
            return Reply::tool("finish", json!({"summary": "[simulated] seven metres"}));
        }
        if prompt.contains("seven metres") {
            return Reply::tool("finish", json!({"summary": "[simulated] dug"}));
        }
        let ask = |title: &str, role: Option<&str>| json!({"title": title, "role": role, "wait": true});
        Reply::tool("create_bead", ask("How deep?", Some("nobody")))
            .and_tool("create_bead", ask("How deep?", Some("surveyor")))
            .and_tool("create_bead", ask("How wide?", None))
    });
    let _provider = stage.furnish(script, &["digger"]).await;
    let surveyor = json!({"id": "sue", "name": "sue", "provider_id": "scripted", "role": "surveyor"});
    stage.create("agents", surveyor).await;
    stage.bead("hole", json!({"priority": 1, "tags": ["role:digger"]})).await;
    let patched = stage.ask("PATCH", "agents/digger", Some(&json!({"role": "digger"}))).await;
    assert_eq!(patched.status, 200);
    let hole = stage.until_bead("hole", "closed").await;
    assert_eq!((&hole["close_reason"], &hole["attempts"]), (&json!("[simulated] dug"), &json!(0)));
    let blockers = hole["blocked_by"].as_array().unwrap();
    assert_eq!(blockers.len(), 2, "nobody fills the role nobody: {hole}");
    for id in blockers {
        let made = stage.get(&format!("beads/{}", id.as_str().unwrap())).await;
        assert_eq!((&made["status"], &made["priority"]), (&json!("closed"), &json!(1)));
        let graph = stage.get("work-graph?project_id=p").await;
        let edge = json!({"from": "hole", "to": id, "relationship": "discovered-from"});
        assert!(graph["edges"].as_array().unwrap().contains(&edge), "{graph}");
    }
    let runs = stage.get("beads/hole/runs").await;
    let run = async |outcome: &str| {
        let run = runs.as_array().unwrap().iter().find(|run| run["outcome"] == outcome).unwrap();
        stage.get(&format!("runs/{}", run["id"].as_str().unwrap())).await
    };
    let (first, last) = (run("wait").await, run("finish").await);
    let told = last["prompt"].as_str().unwrap();
    assert!(told.contains("How deep?: [simulated] seven metres"), "{told}");
    let said = first["messages"].to_string();
    assert!(said.contains("nobody fills the role nobody; there are: digger, surveyor"), "{said}");
}

#[tokio::test]
async fn agents_do_not_breed_work_without_end() {
    let stage = Stage::with(QUICK).await;
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
    let _provider = stage.furnish(script, &["ann"]).await;
    stage.bead("root", json!({})).await;
    stage.until_bead("root", "closed").await;
    let all = stage.get("beads?project_id=p").await;
    assert_eq!(all.as_array().unwrap().len(), 6, "one and five for it");
}

#[tokio::test]
async fn a_project_that_rests_or_is_full_gives_out_nothing_and_says_so() {
    let stage = Stage::with(QUICK).await;
    let script = Script::answering(|_| {
        Reply::tool("finish", json!({"summary": "[simulated] done"}))
            .after(std::time::Duration::from_millis(300))
    });
    let _provider = stage.furnish(script, &["ann", "bob", "cat"]).await;
    problem(&stage.ask("POST", "projects/p/park", Some(&json!({"reason": " "}))).await, 422, "invalid");
    let parked = stage.act("projects/p/park", json!({"reason": "holidays"})).await;
    assert_eq!(parked["parked"], "holidays");
    assert_eq!(stage.ask("PATCH", "projects/p", Some(&json!({"max_parallel": 2}))).await.status, 200);
    for id in ["one", "two", "three", "four"] {
        stage.bead(id, json!({})).await;
    }
    let why = stage.get("beads/one/why").await;
    assert!(why.to_string().contains("no work of the project p is handed out: holidays"), "{why}");
    let metrics = stage.server.ask("GET", "/metrics", &[], None).await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(text.contains("arbiter_ready_beads_waiting{reason=\"parked\"} 0"), "none is older than a minute");
    let mut events = stage.stream("?type=run.started,run.finished", None).await;
    let done = stage.cli(&["project", "resume", "p"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let (mut running, mut finished, mut most) = (0_i32, 0, 0);
    while finished < 4 {
        let frame = events.next(SOON).await.unwrap();
        if frame.event == "run.started" {
            running += 1;
        } else {
            running -= 1;
            finished += 1;
        }
        most = most.max(running);
        if running == 2 && finished == 0 {
            let why = stage.get("beads/three/why").await.to_string();
            assert!(
                why.contains("has 2 beads at work and may have 2") || why.contains("\"reasons\":[]"),
                "{why}"
            );
        }
    }
    assert_eq!(most, 2, "three agents were free");
}
