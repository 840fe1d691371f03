//! The deadline of a decision: a durable timer that asks, while the row decides.

use crate::harness::{Harness, TIMEOUT, count, event_type, wait_until};
use arbiter_core::kernel::time::Timestamp;
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::control_plane::DeadlineCheck;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const TWO_DAYS: i64 = 48 * 3600;

/// The moment so many seconds from now.
fn after(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap() + seconds * 1_000).to_string()
}

fn pending(deadline: Option<String>) -> Value {
    json!({"id": "d", "project_id": "acme", "question": "Ship it?", "status": "pending", "deadline": deadline})
}

/// The seconds of every timer in a history.
fn timers(history: &[Value]) -> Vec<f64> {
    let started = history.iter().filter(|event| event_type(event) == "TIMER_STARTED");
    let span = |event: &Value| {
        let text = event["timerStartedEventAttributes"]["startToFireTimeout"].as_str().unwrap().to_owned();
        text.trim_end_matches('s').parse().unwrap()
    };
    started.map(span).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passed_deadline_is_checked_until_row_times_out() {
    let harness = Harness::start().await;
    harness
        .control_plane
        .state()
        .deadline_checks
        .extend([DeadlineCheck::NotYet { remaining_ms: 300 }, DeadlineCheck::NotYet { remaining_ms: 1 }]);
    harness.mirror(Kind::Decision, "d", pending(Some(after(-3600)))).await;
    assert_eq!(harness.wait_for_result(Kind::Decision, "d").await, "timeout");
    assert_eq!(harness.control_plane.state().deadline_check_count, 3);
    let history = harness.history(Kind::Decision, "d", None).await;
    assert_eq!(count(&history, "TIMER_FIRED"), 3);
    assert!(timers(&history).iter().all(|seconds| (0.1..=0.3).contains(seconds)), "{:?}", timers(&history));
    assert_eq!(harness.query(Kind::Decision, "d", "getStatus").await, "timeout");
    harness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_day_deadline_is_one_timer_and_answer_ends_it() {
    let harness = Harness::start().await;
    harness.mirror(Kind::Decision, "d", pending(Some(after(TWO_DAYS)))).await;
    wait_until("the timer is there", TIMEOUT, async || {
        !timers(&harness.history(Kind::Decision, "d", None).await).is_empty()
    })
    .await;
    // The same news again does not begin another one.
    let record = harness.control_plane.state().snapshot(Kind::Decision, "d").record;
    harness.mirror(Kind::Decision, "d", record).await;
    let empty = harness.update(Kind::Decision, "d", "resolve", &json!({"rationale": "none"})).await;
    assert!(empty.is_err(), "{empty:?}");
    let answer = json!({"decision": "yes", "rationale": "it is done", "decider_id": "ada"});
    let after = harness.update(Kind::Decision, "d", "resolve", &answer).await.unwrap();
    assert_eq!((&after["status"], &after["decision"]), (&json!("resolved"), &json!("yes")));
    assert_eq!(harness.wait_for_result(Kind::Decision, "d").await, "yes");
    let history = harness.history(Kind::Decision, "d", None).await;
    let timers = timers(&history);
    assert!(timers.len() == 1 && (172_700.0..=172_801.0).contains(&timers[0]), "{timers:?}");
    assert_eq!(harness.control_plane.state().deadline_check_count, 0);
    harness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_deadline_sets_no_timer_and_moved_one_replaces_it() {
    let harness = Harness::start().await;
    harness.mirror(Kind::Decision, "d", pending(None)).await;
    wait_until("it is known", TIMEOUT, async || {
        harness.query(Kind::Decision, "d", "getStatus").await == "pending"
    })
    .await;
    assert_eq!(timers(&harness.history(Kind::Decision, "d", None).await), [0.0; 0]);
    harness.mirror(Kind::Decision, "d", pending(Some(after(TWO_DAYS)))).await;
    wait_until("it has a timer", TIMEOUT, async || {
        timers(&harness.history(Kind::Decision, "d", None).await).len() == 1
    })
    .await;
    harness.mirror(Kind::Decision, "d", pending(Some(after(1)))).await;
    assert_eq!(harness.wait_for_result(Kind::Decision, "d").await, "timeout");
    let history = harness.history(Kind::Decision, "d", None).await;
    assert_eq!((timers(&history).len(), count(&history, "TIMER_CANCELED")), (2, 1));
    harness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirrored_end_of_decision_ends_workflow() {
    let harness = Harness::start().await;
    harness.mirror(Kind::Decision, "d", pending(None)).await;
    let mut record = pending(None);
    record["status"] = json!("cancelled");
    harness.mirror(Kind::Decision, "d", record).await;
    assert_eq!(harness.wait_for_result(Kind::Decision, "d").await, "cancelled");
    harness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notice_is_retried_until_delivered_and_blocks_nothing() {
    let harness = Harness::start().await;
    harness.control_plane.state().failing_notifications = 2;
    harness.mirror(Kind::Decision, "d", pending(Some(after(TWO_DAYS)))).await;
    let has_happened = async |what: &str| count(&harness.history(Kind::Decision, "d", None).await, what) > 0;
    wait_until("the third notice arrives", TIMEOUT, async || has_happened("ACTIVITY_TASK_COMPLETED").await)
        .await;
    assert_eq!(harness.control_plane.state().notification_count, 3);
    harness.control_plane.state().failing_notifications = u64::MAX;
    harness.mirror(Kind::Decision, "e", json!({"id": "e", "project_id": "acme", "status": "pending"})).await;
    wait_until("it is tried again", TIMEOUT, async || harness.control_plane.state().notification_count > 4)
        .await;
    for id in ["d", "e"] {
        harness.update(Kind::Decision, id, "resolve", &json!("yes")).await.unwrap();
        assert_eq!(harness.wait_for_result(Kind::Decision, id).await, "yes");
    }
    let history = harness.history(Kind::Decision, "d", None).await;
    assert_eq!(timers(&history).len(), 1, "a notice begins no other timer");
    harness.shutdown().await;
}
