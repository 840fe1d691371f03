//! Rebuild of a lost data directory from the workflows and the key file.

use crate::harness::program;
use crate::harness::{Harness, KEY};
use crate::temporal::start_bridged;
use arbiter_testkit::{Reply, Script, ScriptedProvider, TemporalServer};
use serde_json::{Value, json};
use std::fs;

/// Fields of a list that a rebuild does not restore, or that change by themselves.
const PASSING: &[&str] = &[
    "revision",
    "updated_at",
    "last_active",
    "last_heartbeat_at",
    "latency_ms",
    "latency_ewma_ms",
    "heartbeat_count",
    "models",
    "consecutive_failures",
    "last_heartbeat_error",
    "last_heartbeat_latency_ms",
    "stats",
    "ready_since",
];

async fn entities(harness: &Harness, path: &str) -> Vec<Value> {
    let mut list = harness.get(path).await.as_array().unwrap().clone();
    for one in &mut list {
        PASSING.iter().for_each(|name| drop(one.as_object_mut().unwrap().remove(*name)));
    }
    list.sort_by_key(|one| one["id"].as_str().unwrap().to_owned());
    list
}

async fn everything(harness: &Harness) -> Value {
    let mut all = json!({});
    for path in ["projects", "providers", "agents", "beads", "decisions"] {
        all[path] = json!(entities(harness, &format!("{path}?limit=100")).await);
    }
    all
}

#[tokio::test]
async fn empty_data_directory_with_key_file_rebuilds_from_workflows() {
    let temporal = TemporalServer::start().await;
    let provider = ScriptedProvider::start(Script::always(Reply::text("Done.")).requiring_key(KEY));
    let mut harness = start_bridged(&temporal, &[]).await;
    harness.create("projects", json!({"id": "p", "name": "Project"})).await;
    harness.create("projects", json!({"id": "q", "name": "Another"})).await;
    harness.register("scripted", &provider.url(), KEY).await;
    let agent = json!({"id": "ada", "name": "Ada", "provider_id": "scripted", "project_id": "p"});
    harness.create("agents", agent).await;
    harness
        .create("agents", json!({"id": "bob", "name": "Bob", "kind": "external", "project_id": "q"}))
        .await;
    harness.bead("first", json!({"title": "First", "priority": 1, "tags": ["x"]})).await;
    harness.wait_for_bead_status("first", "closed").await;
    harness.act("beads/first/reopen", Value::Null).await;
    harness.wait_for_bead_status("first", "closed").await;
    harness.create("beads", json!({"id": "later", "title": "Later", "project_id": "q"})).await;
    harness
        .create("beads", json!({"id": "last", "title": "Last", "project_id": "q", "blocked_by": ["later"]}))
        .await;
    harness.act("beads/later/block", json!({"reason": "no ladder"})).await;
    harness
        .create(
            "decisions",
            json!({"id": "dec-1", "project_id": "p", "question": "Go?", "options": ["yes", "no"]}),
        )
        .await;
    harness.create("decisions", json!({"id": "dec-2", "project_id": "p", "question": "Stop?"})).await;
    harness.act("decisions/dec-1/decide", json!({"decision": "yes"})).await;
    let before = everything(&harness).await;
    harness.wait_until_mirrored().await;
    harness.server.terminate().await;

    let data = harness.server.data_dir();
    let rebuild = async || {
        let mut command = program::command(&data);
        command.args(["rebuild", "--from-temporal", "--temporal", &temporal.address()]);
        command.arg("--data-dir").arg(&data);
        command.env("ARBITER_PASSWORD", arbiter_testkit::TEST_PASSWORD);
        program::run(command, "").await
    };
    let ended = rebuild().await;
    assert!(ended.code == Some(77) && ended.stderr.contains("has a database already"), "{ended:?}");
    for entry in fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != "keys.json" {
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }
    let ended = rebuild().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in [
        "bead: 3 restored",
        "agent: 2 restored",
        "decision: 2 restored",
        "provider: 1 restored",
        "project: 2 restored",
        "dependency: 1 restored",
        "not mirrored, and so not restored:",
    ] {
        assert!(ended.stdout.contains(line), "{line}: {ended:?}");
    }
    assert!(!ended.stdout.contains("not restored: "), "{ended:?}");

    harness.server.restart().await;
    assert_eq!(everything(&harness).await, before);
    // What happens from now on arrives at the workflows that were there before.
    harness.act("beads/later/unblock", Value::Null).await;
    harness.act("beads/later/close", json!({"reason": "done"})).await;
    harness.act("decisions/dec-2/cancel", json!({"reason": "no longer asked"})).await;
    harness.act("beads/first/reopen", Value::Null).await;
    harness.wait_for_bead_status("first", "closed").await;
    harness.wait_until_mirrored().await;
    assert_eq!(harness.workflow(&temporal, "bead-later", "getStatus").await, "closed");
    assert_eq!(harness.workflow(&temporal, "decision-dec-2", "getStatus").await, "cancelled");
    assert_eq!(harness.workflow(&temporal, "bead-first", "getStatus").await, "closed");
    let events = harness.workflow(&temporal, "events-q", "getEvents").await;
    let is_of_a_run = |event: &&Value| event["type"].as_str().unwrap().starts_with("workflow.");
    let newest = events.as_array().unwrap().iter().rev().find(|event| !is_of_a_run(event)).unwrap();
    assert!(newest["type"].as_str().unwrap().starts_with("bead."), "{newest}");
}
