//! Workflows that other clients start, end and signal with foreign payloads: no effect, and nothing stops.

use crate::harness::KEY;
use crate::harness::temporal::{TemporalHarness, error_message};
use arbiter_testkit::{Reply, Script, ScriptedProvider};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// A payload of this encoding and data.
fn payload(encoding: &str, data: &[u8]) -> Value {
    json!({"metadata": {"encoding": STANDARD.encode(encoding)}, "data": STANDARD.encode(data)})
}

/// A payload that no workflow of ours accepts.
fn junk() -> Vec<Value> {
    let mut of_another_key = payload("binary/encrypted", &[1; 60]);
    of_another_key["metadata"]["encryption-key-id"] = json!(STANDARD.encode("temporal-payloads-1"));
    let mut nobodys = of_another_key.clone();
    nobodys["metadata"]["encryption-key-id"] = json!(STANDARD.encode("nobody"));
    vec![
        json!({"args": [7]}),
        json!({"args": []}),
        json!({"args": [null]}),
        json!({"args": ["open", "closed"]}),
        json!({"args": [["open"]]}),
        json!({"args": [{"status": {"deep": []}}]}),
        json!({"args": [{"body": "{\"seq\": 999999, \"record\": null}", "seal": "AAAA"}]}),
        json!({"payloads": [of_another_key]}),
        json!({"payloads": [nobodys]}),
        json!({"payloads": [payload("binary/encrypted", b"")]}),
        json!({"payloads": [payload("binary/plain", b"open")]}),
        json!({"payloads": [payload("json/plain", b"{")]}),
        json!({"payloads": [payload("json/plain", b"\"\xff\"")]}),
        json!({"payloads": [{}]}),
    ]
}

/// A step that does this with what is given.
fn with(step: Value, given: &Value) -> Value {
    let mut step = step;
    for (name, value) in given.as_object().unwrap() {
        step[name] = value.clone();
    }
    step
}

#[tokio::test]
async fn malformed_signals_and_updates_change_and_block_nothing() {
    let both = TemporalHarness::with_agents(&["ada"]).await;
    let provider = ScriptedProvider::start(Script::always(Reply::text("Yes.")).requiring_key(KEY));
    both.harness.register("scripted", &provider.url(), KEY).await;
    both.harness.bead("b", json!({})).await;
    let decision = both.create_decision(json!({"options": ["red", "blue"]})).await;
    let of_decision = format!("decision-{decision}");
    both.wait_until_quiet().await;
    let before = both.seq().await;
    let signals: [(&str, &[&str]); 7] = [
        ("bead-b", &["statusChange", "mirror", "nobodyKnowsThis"]),
        ("agent-ada", &["updateStatus", "assignBead", "mirror"]),
        (&of_decision, &["mirror"]),
        ("events-p", &["mirror"]),
        ("events-_system", &["mirror"]),
        ("dispatcher-p", &["mirror", "trigger"]),
        ("provider-heartbeat-scripted", &["mirror"]),
    ];
    let updates: [(&str, &[&str]); 2] =
        [("bead-b", &["assignToAgent", "updateStatus", "complete"]), (&of_decision, &["resolve"])];
    let mut steps = Vec::new();
    for given in junk() {
        for (id, names) in signals {
            steps.extend(
                names.iter().map(|name| with(json!({"do": "signal", "id": id, "name": name}), &given)),
            );
        }
        for (id, names) in updates {
            steps.extend(
                names.iter().map(|name| with(json!({"do": "update", "id": id, "name": name}), &given)),
            );
        }
    }
    let count = steps.len();
    let seen = both.plain_python(json!(steps)).await;
    assert_eq!(seen.len(), count);
    for (step, seen) in steps.iter().zip(&seen) {
        let is_refused = seen["error"]["class"] == "WorkflowUpdateFailedError";
        assert_eq!(is_refused, step["do"] == "update", "{step}: {seen}");
        assert!(is_refused || seen.is_null(), "{step}: {seen}");
    }
    // Warnings aside, nothing happened, and each of them was given once.
    let events_since = both.events_since(before).await;
    assert!(events_since.iter().all(|event| event == "log.message workflow"), "{events_since:?}");
    let answers = [("bead", "b", "open"), ("agent", "ada", "idle"), ("decision", &decision, "pending")];
    for (entity, id, status) in answers {
        assert_eq!(both.agreed_status(entity, id).await, (status.to_owned(), Value::Null));
    }
    let before = both.seq().await;
    let mut both = both;
    both.harness.server.restart().await;
    both.wait_until_settled().await;
    both.wait_until_quiet().await;
    // Every history is read anew, and none of it is said anew.
    for (entity, id, status) in answers {
        assert_eq!(both.agreed_status(entity, id).await.0, status);
    }
    let seen = both
        .python(json!([
            {"do": "query", "id": "provider-heartbeat-scripted", "name": "getStatus"},
            {"do": "query", "id": "dispatcher-p", "name": "getMirror"},
            {"do": "query", "id": "events-p", "name": "getMirror"},
            {"do": "query", "id": "events-_system", "name": "getMirror"},
            {"do": "update", "id": "bead-b", "name": "assignToAgent", "args": ["ada"]},
        ]))
        .await;
    assert!(seen.iter().all(|one| one["error"].is_null()), "{seen:?}");
    let events_since = both.events_since(before).await;
    assert!(events_since.iter().all(|event| !event.starts_with("log.message workflow")), "{events_since:?}");
    assert_eq!(both.agreed_status("bead", "b").await, ("in_progress".to_owned(), json!("ada")));
}

#[tokio::test]
async fn foreign_workflow_start_fails_and_creates_nothing() {
    let both = TemporalHarness::with_agents(&["ada"]).await;
    both.harness.bead("b", json!({})).await;
    both.wait_until_quiet().await;
    let before = both.seq().await;
    let none = |noun: &str| format!("there is no {noun} zzz: it is made over the API");
    let money = "a call to a provider costs money and uses a key: ask the server for it, over its API";
    let empty = "bead_id must not be empty";
    let rows: Vec<(&str, &str, Value, String)> = vec![
        ("BeadProcessingWorkflow", "bead-zzz", json!([{"bead_id": "zzz", "title": "T"}]), none("bead")),
        ("AgentLifecycleWorkflow", "agent-zzz", json!([{"agent_id": "zzz"}]), none("agent")),
        ("DecisionWorkflow", "decision-zzz", json!([{"decision_id": "zzz"}]), none("decision")),
        ("EventAggregatorWorkflow", "events-zzz", json!([{"project_id": "zzz"}]), none("project")),
        ("DispatcherWorkflow", "dispatcher-zzz", json!(["zzz"]), none("project")),
        ("ProviderHeartbeatWorkflow", "provider-heartbeat-zzz", json!(["zzz"]), none("provider")),
        ("ProviderQueryWorkflow", "query-zzz", json!([{"query_id": "zzz"}]), money.to_owned()),
        (
            "ProviderQueryWorkflow",
            "query-yyy",
            json!([{"query_id": "yyy", "mirror": {"body": "\"yyy\"", "seal": "AAAA"}}]),
            money.to_owned(),
        ),
        (
            "BeadProcessingWorkflow",
            "another",
            json!([{"bead_id": "b"}]),
            "the workflow of bead b is called bead-b, not another".to_owned(),
        ),
        (
            "BeadProcessingWorkflow",
            "bead-xxx",
            json!([{"bead_id": "xxx", "mirror": {"body": "{\"seq\":1,\"record\":{\"status\":\"open\"}}", "seal": ""}}]),
            "there is no bead xxx".to_owned(),
        ),
        ("BeadProcessingWorkflow", "bead-none", json!([]), empty.to_owned()),
        ("BeadProcessingWorkflow", "bead-seven", json!([7]), empty.to_owned()),
        ("BeadProcessingWorkflow", "bead-two", json!([1, 2]), "takes one value".to_owned()),
    ];
    let mut steps = Vec::new();
    for (kind, id, args, _) in &rows {
        steps.push(json!({"do": "start", "type": kind, "id": id, "args": args}));
        steps.push(json!({"do": "result", "id": id}));
        steps.push(json!({"do": "describe", "id": id}));
    }
    let seen = both.python(json!(steps)).await;
    for ((_, id, _, expected), seen) in rows.iter().zip(seen.chunks(3)) {
        assert!(error_message(&seen[1]).contains(expected), "{id}: {seen:?}");
        assert_eq!(seen[2]["status"], "FAILED", "{id}: {seen:?}");
    }
    assert_eq!(both.events_since(before).await, [""; 0]);
    for path in ["beads/zzz", "agents/zzz", "decisions/zzz", "projects/zzz", "providers/zzz", "beads/xxx"] {
        assert_eq!(both.harness.ask("GET", path, None).await.status, 404, "{path}");
    }
    // What is made later under such an id has its workflow.
    both.harness.bead("zzz", json!({})).await;
    both.wait_until_quiet().await;
    assert_eq!(both.agreed_status("bead", "zzz").await, ("open".to_owned(), Value::Null));
}

#[tokio::test]
async fn foreign_start_of_existing_entity_follows_its_state() {
    let both = TemporalHarness::with_agents(&["ada"]).await;
    for id in ["b", "c"] {
        both.harness.bead(id, json!({})).await;
    }
    both.harness.act("beads/c/close", json!({"reason": "done"})).await;
    let decision = both.create_decision(json!({"options": ["red", "blue"]})).await;
    let of_decision = format!("decision-{decision}");
    both.wait_until_quiet().await;
    let before = both.seq().await;
    let bead =
        json!({"do": "start", "type": "BeadProcessingWorkflow", "id": "bead-b", "args": [{"bead_id": "b"}]});
    let instead = |step: &Value, way: &str| with(step.clone(), &json!({"conflict": way}));
    let steps = json!([
        {"do": "describe", "id": "bead-b"},
        bead,
        instead(&bead, "USE_EXISTING"),
        instead(&bead, "TERMINATE_EXISTING"),
        {"do": "until", "id": "bead-b", "name": "getStatus", "wanted": "open"},
        {"do": "start", "type": "BeadProcessingWorkflow", "id": "bead-c", "args": ["c"]},
        {"do": "result", "id": "bead-c"},
        {"do": "start", "type": "DecisionWorkflow", "id": of_decision, "args": [decision],
            "conflict": "TERMINATE_EXISTING"},
        {"do": "terminate", "id": "agent-ada", "reason": "a stranger"},
        {"do": "start", "type": "AgentLifecycleWorkflow", "id": "agent-ada", "args": [{"agent_id": "ada"}]},
        {"do": "until", "id": "agent-ada", "name": "getStatus", "wanted": "idle"},
    ]);
    let seen = both.python(steps).await;
    assert_eq!(seen[1]["error"]["class"], "WorkflowAlreadyStartedError", "{seen:?}");
    assert!(seen[2] == seen[0]["run"] && seen[3] != seen[2], "{seen:?}");
    assert_eq!(
        (&seen[4], &seen[6], &seen[10]),
        (&json!("open"), &json!("closed"), &json!("idle")),
        "{seen:?}"
    );
    assert_eq!(both.events_since(before).await, [""; 0]);

    // The runs that strangers began follow, ask and end as ours do.
    let seen = both
        .python(json!([
            {"do": "update", "id": "bead-b", "name": "assignToAgent", "args": ["ada"]},
            {"do": "until", "id": "agent-ada", "name": "getCurrentBead", "wanted": "b"},
            {"do": "update", "id": of_decision, "name": "resolve", "args": ["green"]},
            {"do": "update", "id": of_decision, "name": "resolve", "args": ["blue"]},
            {"do": "result", "id": of_decision},
        ]))
        .await;
    assert!(error_message(&seen[2]).contains("is one of red, blue"), "{seen:?}");
    assert_eq!((&seen[3]["decision"], &seen[4]), (&json!("blue"), &json!("blue")), "{seen:?}");
    assert_eq!(both.events_since(before).await.len(), 4);
    both.harness.act("beads/b/close", json!({"reason": "done"})).await;
    both.harness.act("beads/b/reopen", Value::Null).await;
    both.harness.act("beads/c/reopen", Value::Null).await;
    for id in ["b", "c"] {
        assert_eq!(both.agreed_status("bead", id).await, ("open".to_owned(), Value::Null));
        let seen = both.python(json!([{"do": "describe", "id": format!("bead-{id}")}])).await;
        assert_eq!(
            (&seen[0]["status"], &seen[0]["memo"]["run_no"]),
            (&json!("RUNNING"), &json!(2)),
            "{seen:?}"
        );
    }
}
