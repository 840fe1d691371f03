//! The lives of workflows, one or two of each type, whose histories are recorded.

use crate::harness::{Harness, TIMEOUT, signing_keys, wait_until};
use arbiter_core::kernel::time::Timestamp;
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::codec::signed::Signed;
use arbiter_temporal::control_plane::DeadlineCheck;
use arbiter_temporal::workflows::EventBatch;
use serde_json::{Value, json};
use temporalio_client::{WorkflowExecutionInfo, WorkflowFetchHistoryOptions};

/// A moment that no test lives to see.
const FAR: i64 = 32_503_680_000_000;

/// Lets all of them live, and returns their histories by name.
pub async fn histories() -> Vec<(&'static str, Value)> {
    let harness = Harness::start().await;
    let mut histories = Vec::new();
    agent(&harness).await;
    histories.push(("agent", history(&harness, Kind::Agent, "ada").await));
    bead(&harness).await;
    histories.push(("bead", history(&harness, Kind::Bead, "b").await));
    decisions(&harness).await;
    histories.push(("decision-resolved", history(&harness, Kind::Decision, "resolved").await));
    histories.push(("decision-timeout", history(&harness, Kind::Decision, "late").await));
    let first = events(&harness).await;
    histories.push(("events-first-run", first));
    histories.push(("events", history(&harness, Kind::Events, "acme").await));
    provider(&harness).await;
    histories.push(("provider", history(&harness, Kind::Provider, "p").await));
    harness.client.start_query("q", TIMEOUT).await.unwrap();
    harness.client.query_outcome("q").await.unwrap();
    histories.push(("query", history(&harness, Kind::Query, "q").await));
    dispatcher(&harness).await;
    histories.push(("dispatcher", history(&harness, Kind::Dispatcher, "acme").await));
    harness.shutdown().await;
    histories
}

async fn agent(harness: &Harness) {
    harness.mirror(Kind::Agent, "ada", json!({"id": "ada", "project_id": "acme", "status": "idle"})).await;
    harness.signal(Kind::Agent, "ada", "updateStatus", &json!("paused")).await;
    harness.signal(Kind::Agent, "ada", "updateStatus", &json!("blocked")).await;
    harness.signal(Kind::Agent, "ada", "assignBead", &json!({"bead_id": "b"})).await;
    wait_until("it has the bead", TIMEOUT, async || {
        harness.query(Kind::Agent, "ada", "getCurrentBead").await == "b"
    })
    .await;
    // The status that can be searched for follows.
    harness.mirror(Kind::Agent, "ada", json!({"id": "ada", "project_id": "acme", "status": "working"})).await;
    harness.signal(Kind::Agent, "ada", "shutdown", &json!("enough")).await;
    assert_eq!(harness.wait_for_result(Kind::Agent, "ada").await, "shutdown");
}

async fn bead(harness: &Harness) {
    harness.control_plane.put(Kind::Bead, "b", json!({"id": "b", "project_id": "acme", "status": "open"}));
    harness.start_workflow(Kind::Bead, "b", &json!({"bead_id": "b", "title": "Work"})).await;
    harness.update(Kind::Bead, "b", "assignToAgent", &json!({"agent_id": "ada"})).await.unwrap();
    harness.signal(Kind::Bead, "b", "statusChange", &json!("in_progress")).await;
    harness.update(Kind::Bead, "b", "updateStatus", &json!("blocked")).await.unwrap_err();
    harness.signal(Kind::Bead, "b", "statusChange", &json!({"status": 7})).await;
    harness.mirror(Kind::Bead, "b", json!({"id": "b", "project_id": "acme", "status": "in_progress"})).await;
    harness.update(Kind::Bead, "b", "complete", &json!("done")).await.unwrap();
    assert_eq!(harness.wait_for_result(Kind::Bead, "b").await, "closed");
}

async fn decisions(harness: &Harness) {
    let pending = |id: &str, deadline: Option<i64>| {
        let deadline = deadline.map(|at| Timestamp::from_millis(at).to_string());
        json!({"id": id, "project_id": "acme", "question": "Ship it?", "status": "pending", "deadline": deadline})
    };
    harness.mirror(Kind::Decision, "resolved", pending("resolved", None)).await;
    wait_until("it is known", TIMEOUT, async || {
        harness.query(Kind::Decision, "resolved", "getStatus").await == "pending"
    })
    .await;
    harness.mirror(Kind::Decision, "resolved", pending("resolved", Some(FAR))).await;
    harness.update(Kind::Decision, "resolved", "resolve", &json!("")).await.unwrap_err();
    harness.update(Kind::Decision, "resolved", "resolve", &json!({"decision": "yes"})).await.unwrap();
    assert_eq!(harness.wait_for_result(Kind::Decision, "resolved").await, "yes");
    harness.control_plane.state().deadline_checks.push_back(DeadlineCheck::NotYet { remaining_ms: 200 });
    harness.mirror(Kind::Decision, "late", pending("late", Some(0))).await;
    assert_eq!(harness.wait_for_result(Kind::Decision, "late").await, "timeout");
}

/// Two runs of an aggregator; returns the history of the first.
async fn events(harness: &Harness) -> Value {
    let events = |from: u64, to: u64| EventBatch {
        events: (from..=to).map(|seq| json!({"seq": seq, "type": "a"})).collect(),
    };
    let carried = json!({"last_seq": 7, "counts": {"a": 7}, "events": [{"seq": 7, "type": "a"}]});
    let carried = Signed::new(&signing_keys(), "events-acme", &carried);
    harness.control_plane.put(Kind::Events, "acme", json!({"id": "acme", "status": "open"}));
    harness.start_workflow(Kind::Events, "acme", &json!({"project_id": "acme", "carried": carried})).await;
    harness.signal(Kind::Events, "acme", "event", &json!([{"data": {"text": "hello"}}])).await;
    let counted = async |wanted: u64| harness.query(Kind::Events, "acme", "getMetrics").await["a"] == wanted;
    harness.client.events("acme", &events(6, 9)).await.unwrap();
    wait_until("two more are counted", TIMEOUT, async || counted(9).await).await;
    wait_until("it is published", TIMEOUT, async || harness.control_plane.state().published.len() == 1).await;
    let (run, _) = harness.runs(Kind::Events, "acme").await.remove(0);
    // One signal, so that what is recorded stays small.
    harness.client.events("acme", &events(10, 5_009)).await.unwrap();
    wait_until("another run has all", TIMEOUT, async || {
        counted(5_009).await && harness.runs(Kind::Events, "acme").await.len() == 2
    })
    .await;
    harness.mirror(Kind::Events, "acme", json!({"id": "acme", "status": "closed"})).await;
    harness.mirror(Kind::Events, "acme", Value::Null).await;
    assert_eq!(harness.wait_for_result(Kind::Events, "acme").await, "deleted");
    history_of(harness, Kind::Events, "acme", Some(&run)).await
}

async fn provider(harness: &Harness) {
    harness.control_plane.put(Kind::Provider, "p", json!({"id": "p", "status": "healthy"}));
    harness.start_workflow(Kind::Provider, "p", &json!({"provider_id": "p"})).await;
    wait_until("some beats", TIMEOUT, async || harness.control_plane.state().heartbeats >= 5).await;
    harness.mirror(Kind::Provider, "p", json!({"id": "p", "status": "failed"})).await;
    harness.signal(Kind::Provider, "p", "stop", &Value::Null).await;
    assert_eq!(harness.wait_for_result(Kind::Provider, "p").await, "stopped");
}

async fn dispatcher(harness: &Harness) {
    harness.mirror(Kind::Dispatcher, "acme", json!({"id": "acme", "status": "open"})).await;
    for dispatches in 1..=2 {
        harness.signal(Kind::Dispatcher, "acme", "trigger", &Value::Null).await;
        wait_until("it has looked", TIMEOUT, async || harness.control_plane.state().dispatches == dispatches)
            .await;
    }
    harness.mirror(Kind::Dispatcher, "acme", Value::Null).await;
    assert_eq!(harness.wait_for_result(Kind::Dispatcher, "acme").await, "deleted");
}

async fn history(harness: &Harness, kind: Kind, id: &str) -> Value {
    history_of(harness, kind, id, None).await
}

async fn history_of(harness: &Harness, kind: Kind, id: &str, run: Option<&str>) -> Value {
    let workflow = WorkflowExecutionInfo::builder()
        .namespace("default")
        .workflow_id(kind.workflow_id(id))
        .maybe_run_id(run)
        .build();
    let handle = workflow.bind_untyped(harness.connected.client.clone());
    let json = handle.fetch_history(WorkflowFetchHistoryOptions::default()).to_json().await.unwrap();
    serde_json::from_slice(&json).unwrap()
}
