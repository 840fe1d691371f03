//! Temporal's Python client: queries and requests of every workflow, compared with the same requests over the
//! API.

use crate::harness::KEY;
use crate::harness::temporal::{TemporalHarness, error_message};
use arbiter_testkit::{Reply, Script, ScriptedProvider};
use serde_json::{Value, json};

/// A query until it has this answer.
fn until_step(id: &str, name: &str, wanted: Value) -> Value {
    json!({"do": "until", "id": id, "name": name, "wanted": wanted})
}

/// Returns the results of these steps; none may fail.
fn all_succeeded(seen: Vec<Value>) -> Vec<Value> {
    let failed: Vec<&Value> = seen.iter().filter(|one| one["error"].is_object()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    seen
}

#[tokio::test]
async fn foreign_client_lists_and_queries_every_workflow() {
    let both = TemporalHarness::with_agents(&["ada"]).await;
    let provider = ScriptedProvider::start(Script::always(Reply::text("Yes.")).requiring_key(KEY));
    both.harness.register("scripted", &provider.url(), KEY).await;
    both.harness.bead("b", json!({})).await;
    let decision = both.create_decision(json!({"options": ["red", "blue"]})).await;
    both.wait_until_settled().await;
    let rows = [
        ("agent-ada", "AgentLifecycleWorkflow", json!("idle"), "getCurrentBead", Value::Null),
        ("bead-b", "BeadProcessingWorkflow", json!("open"), "getAssignedAgent", Value::Null),
        ("dispatcher-p", "DispatcherWorkflow", json!("idle"), "getStatus", json!("idle")),
        (
            "provider-heartbeat-scripted",
            "ProviderHeartbeatWorkflow",
            json!("active"),
            "getStatus",
            json!("active"),
        ),
    ];
    let of_decision = format!("decision-{decision}");
    let mut steps = vec![json!({"do": "listed", "query": "ExecutionStatus = 'Running'"})];
    for (id, _, status, query, answer) in &rows {
        steps.push(json!({"do": "describe", "id": id}));
        steps.push(until_step(id, "getStatus", status.clone()));
        steps.push(until_step(id, query, answer.clone()));
        steps.push(json!({"do": "query", "id": id, "name": "getMirror"}));
    }
    steps.push(until_step(&of_decision, "getStatus", json!("pending")));
    steps.push(json!({"do": "query", "id": of_decision, "name": "getDecision"}));
    let seen = all_succeeded(both.python(json!(steps)).await);
    let mut all: Vec<&str> = rows.iter().map(|(id, ..)| *id).collect();
    all.extend([of_decision.as_str(), "events-p", "events-_system"]);
    all.sort_unstable();
    assert_eq!(seen[0], json!(all));
    for (at, (id, kind, ..)) in rows.iter().enumerate() {
        let (described, mirrored) = (&seen[1 + 4 * at], &seen[4 + 4 * at]);
        assert_eq!((&described["type"], &described["status"]), (&json!(kind), &json!("RUNNING")), "{id}");
        assert_eq!(
            (&described["queue"], &described["memo"]),
            (&json!("arbiter-control"), &json!({"run_no": 1}))
        );
        let own = id.rsplit_once('-').unwrap().1;
        assert_eq!(mirrored["record"]["id"], own, "{mirrored}");
    }
    let record = seen.last().unwrap();
    assert_eq!((&record["options"], &record["question"]), (&json!(["red", "blue"]), &json!("Which colour?")));

    // Without the codec a client cannot read answers, but it can send requests.
    let plain = json!([
        {"do": "query", "id": "bead-b", "name": "getStatus"},
        {"do": "signal", "id": "agent-ada", "name": "assignBead", "args": ["b"]},
    ]);
    let seen = both.plain_python(plain).await;
    assert!(error_message(&seen[0]).contains("binary/encrypted") && seen[1].is_null(), "{seen:?}");
    both.harness.wait_for_bead_status("b", "in_progress").await;
    assert_eq!(both.agreed_status("agent", "ada").await, ("working".to_owned(), json!("b")));
}

/// The events after this one that are about these, with who they are about named by their place.
async fn events_about(
    both: &TemporalHarness,
    after: u64,
    subjects: [&str; 2],
) -> Vec<(String, usize, Value)> {
    both.wait_until_quiet().await;
    let is_of_an_entity = |event: &Value| !event["type"].as_str().unwrap().starts_with("workflow.");
    let events: Vec<_> = both.harness.events(after).await.into_iter().filter(is_of_an_entity).collect();
    let place = |event: &Value| subjects.iter().position(|subject| event["subject"] == *subject);
    let told = |event: &Value| {
        let data = json!([event["data"]["old"], event["data"]["new"], event["data"]["outcome"]]);
        Some((event["type"].as_str().unwrap().to_owned(), place(event)?, data))
    };
    let told: Vec<_> = events.iter().filter_map(told).collect();
    assert_eq!(told.len(), events.len(), "something else happened: {events:?}");
    told
}

#[tokio::test]
async fn foreign_client_command_has_the_same_effect_as_the_api() {
    let both = TemporalHarness::with_agents(&["ada", "eve"]).await;
    let (bead, agent) = ("bead-b", "agent-ada");
    for id in ["b", "c"] {
        both.harness.bead(id, json!({})).await;
    }
    both.wait_until_quiet().await;
    let before = both.seq().await;
    let update =
        |name: &str, input: Value| json!({"do": "update", "id": bead, "name": name, "args": [input]});
    let signal =
        |id: &str, name: &str, input: Value| json!({"do": "signal", "id": id, "name": name, "args": [input]});
    let is = |id: &str, status: &str| until_step(id, "getStatus", json!(status));
    let steps = json!([
        update("assignToAgent", json!("ada")),
        update("updateStatus", json!({"status": "blocked", "reason": "r"})),
        signal(bead, "statusChange", json!("open")),
        is(bead, "open"),
        is(agent, "idle"),
        signal(agent, "assignBead", json!({"bead_id": "b"})),
        is(agent, "working"),
        is(bead, "in_progress"),
        update("updateStatus", json!("open")),
        is(agent, "idle"),
        signal(agent, "updateStatus", json!({"status": "blocked", "reason": "r"})),
        is(agent, "blocked"),
        signal(agent, "updateStatus", json!("active")),
        is(agent, "idle"),
        update("complete", json!("done")),
        {"do": "result", "id": bead},
        {"do": "signal", "id": agent, "name": "shutdown"},
        {"do": "result", "id": agent},
    ]);
    let seen = all_succeeded(both.python(steps).await);
    assert_eq!((&seen[15], &seen[17]), (&json!("closed"), &json!("shutdown")));
    let through_temporal = events_about(&both, before, ["b", "ada"]).await;
    assert_eq!(both.agreed_status("bead", "b").await, ("closed".to_owned(), Value::Null));
    assert_eq!(both.agreed_status("agent", "ada").await, ("shutdown".to_owned(), Value::Null));

    let before = both.seq().await;
    let (harness, ready) =
        (&both.harness, |status: &'static str| move |agent: &Value| agent["status"] == status);
    let patch = async |path: &str, body: Value| {
        let answer = harness.ask("PATCH", path, Some(&body)).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.json());
    };
    harness.act("beads/c/claim", json!({"agent_id": "eve"})).await;
    patch("beads/c", json!({"status": "blocked", "reason": "r"})).await;
    patch("beads/c", json!({"status": "open"})).await;
    harness.act("agents/eve/assign", json!({"bead_id": "c"})).await;
    patch("beads/c", json!({"status": "open"})).await;
    harness.act("agents/eve/status", json!({"status": "blocked", "reason": "r"})).await;
    harness.act("agents/eve/status", json!({"status": "active"})).await;
    harness.wait_until("agents/eve", ready("idle")).await;
    harness.act("beads/c/close", json!({"reason": "done"})).await;
    harness.act("agents/eve/status", json!({"status": "shutdown"})).await;
    assert_eq!(events_about(&both, before, ["c", "eve"]).await, through_temporal);
}

#[tokio::test]
async fn repeated_update_is_applied_once() {
    let both = TemporalHarness::with_agents(&["ada"]).await;
    both.harness.bead("b", json!({})).await;
    let decision = both.create_decision(json!({"options": ["red", "blue"]})).await;
    both.wait_until_quiet().await;
    let before = both.seq().await;
    let assign =
        json!({"do": "update", "id": "bead-b", "name": "assignToAgent", "args": ["ada"], "update_id": "u"});
    let resolve = json!({"do": "update", "id": format!("decision-{decision}"), "name": "resolve",
        "args": [{"decision": "red", "rationale": "warm"}], "update_id": "u"});
    let steps = json!([
        {"do": "both", "steps": [assign, assign, assign]},
        assign,
        {"do": "both", "steps": [resolve, resolve]},
        resolve,
    ]);
    let seen = all_succeeded(both.python(steps).await);
    for (at, answers) in [(0, 3), (2, 2)] {
        let all = seen[at].as_array().unwrap();
        assert!(all.len() == answers && all.iter().all(|answer| *answer == seen[at + 1]), "{seen:?}");
    }
    assert_eq!((&seen[1]["status"], &seen[3]["decision"]), (&json!("in_progress"), &json!("red")));
    let events_since = both.events_since(before).await;
    let resolved = format!("decision.resolved {decision}");
    let once = ["bead.status_change b", "bead.assigned b", "agent.status_change ada", resolved.as_str()];
    assert_eq!(events_since, once);
    assert_eq!(both.agreed_status("bead", "b").await, ("in_progress".to_owned(), json!("ada")));
}

#[tokio::test]
async fn parallel_updates_and_api_call_have_one_winner() {
    let both = TemporalHarness::with_agents(&["ada", "eve", "ida"]).await;
    both.harness.bead("b", json!({})).await;
    both.wait_until_quiet().await;
    let before = both.seq().await;
    let assign = |to: &str| json!({"do": "update", "id": "bead-b", "name": "assignToAgent", "args": [to]});
    let steps = json!([{"do": "both", "steps": [assign("ada"), assign("eve")]}]);
    let claim = json!({"agent_id": "ida"});
    let (seen, claimed) =
        tokio::join!(both.python(steps), both.harness.ask("POST", "beads/b/claim", Some(&claim)));
    let answers = seen[0].as_array().unwrap();
    let yes = answers.iter().filter(|answer| answer["status"] == "in_progress").count();
    assert_eq!(yes + usize::from(claimed.status == 200), 1, "{seen:?} {}", claimed.json());
    for answer in answers.iter().filter(|answer| answer["error"].is_object()) {
        assert!(error_message(answer).contains("bead b is in_progress"), "{answer}");
    }
    assert_eq!(both.events_since(before).await.len(), 3);
    let (status, owner) = both.agreed_status("bead", "b").await;
    assert_eq!(status, "in_progress");
    let owner = owner.as_str().unwrap();
    assert_eq!(both.agreed_status("agent", owner).await, ("working".to_owned(), json!("b")));
}
