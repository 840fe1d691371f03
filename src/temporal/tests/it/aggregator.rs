//! The aggregator of a project: it loses no event, counts none twice, and stays small.

use crate::harness::{Harness, TIMEOUT, event_type, failed_tasks, wait_until};
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::workflows::EventBatch;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

const EVENTS: u64 = 10_000;
const KINDS: [&str; 4] = ["bead.created", "bead.status_change", "agent.spawned", "log.message"];

fn event(seq: u64, text: &str) -> Value {
    let kind = KINDS[usize::try_from(seq).unwrap() % KINDS.len()];
    json!({"seq": seq, "type": kind, "id": format!("evt-{seq}"), "subject": "x", "data": {"text": text}})
}

fn batch(from: u64, to: u64, text: &str) -> EventBatch {
    EventBatch { events: (from..=to).map(|seq| event(seq, text)).collect() }
}

/// A harness with a project: events of one that is not there have no aggregator.
async fn harness() -> Harness {
    let harness = Harness::start().await;
    harness.control_plane.put(Kind::Events, "acme", json!({"id": "acme", "status": "open"}));
    harness
}

/// Sends as the mirror does: again, when the server is just about to begin another run.
async fn send(harness: &Harness, events: &EventBatch) {
    wait_until("events arrive", TIMEOUT, async || harness.client.events("acme", events).await.is_ok()).await;
}

/// The bytes that a run was started with.
fn started_with(history: &[Value]) -> usize {
    assert_eq!(event_type(&history[0]), "WORKFLOW_EXECUTION_STARTED");
    let payloads = &history[0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"];
    let data = payloads[0]["data"].as_str().expect("an input that is encrypted");
    STANDARD.decode(data).unwrap().len()
}

async fn counted(harness: &Harness, id: &str) -> u64 {
    let metrics = harness.query(Kind::Events, id, "getMetrics").await;
    metrics.as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_events_are_counted_exactly_across_runs() {
    let harness = harness().await;
    let text = "x".repeat(300);
    let (mut from, mut turn) = (1, 0);
    while from <= EVENTS {
        turn += 1;
        let size = [500, 500, 123, 1, 500][turn % 5];
        let one = batch(from, (from + size - 1).min(EVENTS), &text);
        send(&harness, &one).await;
        // The answer was lost: the same comes once more, and so does a part of it.
        if turn % 3 == 0 {
            send(&harness, &one).await;
            send(&harness, &batch(from, from, &text)).await;
        }
        from += size;
    }
    wait_until("all are counted", TIMEOUT, async || counted(&harness, "acme").await == EVENTS).await;
    let metrics = harness.query(Kind::Events, "acme", "getMetrics").await;
    for kind in KINDS {
        assert_eq!(metrics[kind], EVENTS / 4, "{metrics}");
    }
    let events = harness.query(Kind::Events, "acme", "getEvents").await;
    let events = events.as_array().unwrap();
    assert_eq!(events.len(), 1_000);
    assert_eq!((&events[0]["seq"], &events[999]["seq"]), (&json!(9_001), &json!(10_000)));

    wait_until("the server lists all runs", TIMEOUT, async || {
        harness.runs(Kind::Events, "acme").await.len() > 1
    })
    .await;
    let runs = harness.runs(Kind::Events, "acme").await;
    assert!(runs.len() >= 2, "{runs:?}");
    for (run, _) in &runs {
        let history = harness.history(Kind::Events, "acme", Some(run)).await;
        assert!(started_with(&history) < 1_000_000, "{}", started_with(&history));
        assert_eq!(failed_tasks(&history), [&Value::Null; 0]);
    }
    harness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_run_input_stays_below_one_megabyte() {
    let harness = harness().await;
    // What is carried is JSON within JSON, where quotes take twice as much as before.
    let text = "\"\\".repeat(1_000);
    for from in (1..=300).step_by(50) {
        send(&harness, &batch(from, from + 49, &text)).await;
    }
    // Nothing of this is new, but there is much of it.
    for _ in 0..10 {
        send(&harness, &EventBatch { events: vec![json!({"seq": 1}); 500] }).await;
    }
    wait_until("the run has continued as another", TIMEOUT, async || {
        let history = harness.history(Kind::Events, "acme", None).await;
        history[0].to_string().contains("continuedExecutionRunId")
    })
    .await;
    wait_until("all are counted", TIMEOUT, async || counted(&harness, "acme").await == 300).await;
    let history = harness.history(Kind::Events, "acme", None).await;
    assert!(started_with(&history) < 1_000_000, "{}", started_with(&history));
    harness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn external_events_are_published_before_continue_as_new() {
    let mut harness = harness().await;
    send(&harness, &batch(1, 1, "")).await;
    wait_until("the first is there", TIMEOUT, async || counted(&harness, "acme").await == 1).await;
    // All of it waits for the same workflow task.
    harness.stop_workers().await;
    for number in 0..3 {
        harness.signal(Kind::Events, "acme", "event", &json!({"data": {"number": number}})).await;
    }
    for from in (2..=5_001).step_by(500) {
        send(&harness, &batch(from, from + 499, "")).await;
    }
    harness.start_workers().await;
    wait_until("all are counted", TIMEOUT, async || counted(&harness, "acme").await == 5_001).await;
    wait_until("all are published", TIMEOUT, async || harness.control_plane.state().published.len() == 3)
        .await;
    let published = harness.control_plane.state().published.clone();
    for (number, (project, _, events)) in published.iter().enumerate() {
        assert_eq!((project.as_deref(), &events[0]["data"]["number"]), (Some("acme"), &json!(number)));
    }
    wait_until("the run has continued as another", TIMEOUT, async || {
        harness.history(Kind::Events, "acme", None).await[0].to_string().contains("continuedExecutionRunId")
    })
    .await;
    harness.shutdown().await;
}
