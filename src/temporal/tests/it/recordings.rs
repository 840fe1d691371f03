//! The lives of workflows, one or two of each type, whose histories are recorded.

use crate::stage::{Harness, TIMEOUT, wait_until};
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
    let stage = Harness::start().await;
    let mut histories = Vec::new();
    agent(&stage).await;
    histories.push(("agent", history(&stage, Kind::Agent, "ada").await));
    bead(&stage).await;
    histories.push(("bead", history(&stage, Kind::Bead, "b").await));
    decisions(&stage).await;
    histories.push(("decision-resolved", history(&stage, Kind::Decision, "resolved").await));
    histories.push(("decision-timeout", history(&stage, Kind::Decision, "late").await));
    let first = events(&stage).await;
    histories.push(("events-first-run", first));
    histories.push(("events", history(&stage, Kind::Events, "acme").await));
    provider(&stage).await;
    histories.push(("provider", history(&stage, Kind::Provider, "p").await));
    stage.delivery.start_query("q", TIMEOUT).await.unwrap();
    stage.delivery.query_outcome("q").await.unwrap();
    histories.push(("query", history(&stage, Kind::Query, "q").await));
    dispatcher(&stage).await;
    histories.push(("dispatcher", history(&stage, Kind::Dispatcher, "acme").await));
    stage.shutdown().await;
    histories
}

async fn agent(stage: &Harness) {
    stage.mirror(Kind::Agent, "ada", json!({"id": "ada", "project_id": "acme", "status": "idle"})).await;
    stage.signal(Kind::Agent, "ada", "updateStatus", &json!("paused")).await;
    stage.signal(Kind::Agent, "ada", "updateStatus", &json!("blocked")).await;
    stage.signal(Kind::Agent, "ada", "assignBead", &json!({"bead_id": "b"})).await;
    wait_until("it has the bead", TIMEOUT, async || {
        stage.query(Kind::Agent, "ada", "getCurrentBead").await == "b"
    })
    .await;
    // The status that can be searched for follows.
    stage.mirror(Kind::Agent, "ada", json!({"id": "ada", "project_id": "acme", "status": "working"})).await;
    stage.signal(Kind::Agent, "ada", "shutdown", &json!("enough")).await;
    assert_eq!(stage.wait_for_result(Kind::Agent, "ada").await, "shutdown");
}

async fn bead(stage: &Harness) {
    stage.port.put(Kind::Bead, "b", json!({"id": "b", "project_id": "acme", "status": "open"}));
    stage.start_workflow(Kind::Bead, "b", &json!({"bead_id": "b", "title": "Work"})).await;
    stage.update(Kind::Bead, "b", "assignToAgent", &json!({"agent_id": "ada"})).await.unwrap();
    stage.signal(Kind::Bead, "b", "statusChange", &json!("in_progress")).await;
    stage.update(Kind::Bead, "b", "updateStatus", &json!("blocked")).await.unwrap_err();
    stage.signal(Kind::Bead, "b", "statusChange", &json!({"status": 7})).await;
    stage.mirror(Kind::Bead, "b", json!({"id": "b", "project_id": "acme", "status": "in_progress"})).await;
    stage.update(Kind::Bead, "b", "complete", &json!("done")).await.unwrap();
    assert_eq!(stage.wait_for_result(Kind::Bead, "b").await, "closed");
}

async fn decisions(stage: &Harness) {
    let pending = |id: &str, deadline: Option<i64>| {
        let deadline = deadline.map(|at| Timestamp::from_millis(at).to_string());
        json!({"id": id, "project_id": "acme", "question": "Ship it?", "status": "pending", "deadline": deadline})
    };
    stage.mirror(Kind::Decision, "resolved", pending("resolved", None)).await;
    wait_until("it is known", TIMEOUT, async || {
        stage.query(Kind::Decision, "resolved", "getStatus").await == "pending"
    })
    .await;
    stage.mirror(Kind::Decision, "resolved", pending("resolved", Some(FAR))).await;
    stage.update(Kind::Decision, "resolved", "resolve", &json!("")).await.unwrap_err();
    stage.update(Kind::Decision, "resolved", "resolve", &json!({"decision": "yes"})).await.unwrap();
    assert_eq!(stage.wait_for_result(Kind::Decision, "resolved").await, "yes");
    stage.port.state().deadline_checks.push_back(DeadlineCheck::NotYet { remaining_ms: 200 });
    stage.mirror(Kind::Decision, "late", pending("late", Some(0))).await;
    assert_eq!(stage.wait_for_result(Kind::Decision, "late").await, "timeout");
}

/// Two runs of an aggregator; returns the history of the first.
async fn events(stage: &Harness) -> Value {
    let events = |from: u64, to: u64| EventBatch {
        events: (from..=to).map(|seq| json!({"seq": seq, "type": "a"})).collect(),
    };
    let carried = json!({"last_seq": 7, "counts": {"a": 7}, "events": [{"seq": 7, "type": "a"}]});
    let carried = Signed::new("events-acme", &carried);
    stage.port.put(Kind::Events, "acme", json!({"id": "acme", "status": "open"}));
    stage.start_workflow(Kind::Events, "acme", &json!({"project_id": "acme", "carried": carried})).await;
    stage.signal(Kind::Events, "acme", "event", &json!([{"data": {"text": "hello"}}])).await;
    let counted = async |wanted: u64| stage.query(Kind::Events, "acme", "getMetrics").await["a"] == wanted;
    stage.delivery.events("acme", &events(6, 9)).await.unwrap();
    wait_until("two more are counted", TIMEOUT, async || counted(9).await).await;
    wait_until("it is published", TIMEOUT, async || stage.port.state().published.len() == 1).await;
    let (run, _) = stage.runs(Kind::Events, "acme").await.remove(0);
    // One signal, so that what is recorded stays small.
    stage.delivery.events("acme", &events(10, 5_009)).await.unwrap();
    wait_until("another run has all", TIMEOUT, async || {
        counted(5_009).await && stage.runs(Kind::Events, "acme").await.len() == 2
    })
    .await;
    stage.mirror(Kind::Events, "acme", json!({"id": "acme", "status": "closed"})).await;
    stage.mirror(Kind::Events, "acme", Value::Null).await;
    assert_eq!(stage.wait_for_result(Kind::Events, "acme").await, "deleted");
    history_of(stage, Kind::Events, "acme", Some(&run)).await
}

async fn provider(stage: &Harness) {
    stage.port.put(Kind::Provider, "p", json!({"id": "p", "status": "healthy"}));
    stage.start_workflow(Kind::Provider, "p", &json!({"provider_id": "p"})).await;
    wait_until("some beats", TIMEOUT, async || stage.port.state().heartbeats >= 5).await;
    stage.mirror(Kind::Provider, "p", json!({"id": "p", "status": "failed"})).await;
    stage.signal(Kind::Provider, "p", "stop", &Value::Null).await;
    assert_eq!(stage.wait_for_result(Kind::Provider, "p").await, "stopped");
}

async fn dispatcher(stage: &Harness) {
    stage.mirror(Kind::Dispatcher, "acme", json!({"id": "acme", "status": "open"})).await;
    for dispatches in 1..=2 {
        stage.signal(Kind::Dispatcher, "acme", "trigger", &Value::Null).await;
        wait_until("it has looked", TIMEOUT, async || stage.port.state().dispatches == dispatches).await;
    }
    stage.mirror(Kind::Dispatcher, "acme", Value::Null).await;
    assert_eq!(stage.wait_for_result(Kind::Dispatcher, "acme").await, "deleted");
}

async fn history(stage: &Harness, kind: Kind, id: &str) -> Value {
    history_of(stage, kind, id, None).await
}

async fn history_of(stage: &Harness, kind: Kind, id: &str, run: Option<&str>) -> Value {
    let workflow = WorkflowExecutionInfo::builder()
        .namespace("default")
        .workflow_id(kind.workflow_id(id))
        .maybe_run_id(run)
        .build();
    let handle = workflow.bind_untyped(stage.connected.client.clone());
    let json = handle.fetch_history(WorkflowFetchHistoryOptions::default()).to_json().await.unwrap();
    serde_json::from_slice(&json).unwrap()
}
