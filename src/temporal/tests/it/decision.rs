//! The deadline of a decision: a durable timer that asks, while the row decides.

use crate::stage::{SOON, Stage, count, kind_of, until};
use arbiter_core::kernel::time::Timestamp;
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::control_plane::Due;
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
    let started = history.iter().filter(|event| kind_of(event) == "TIMER_STARTED");
    let span = |event: &Value| {
        let text = event["timerStartedEventAttributes"]["startToFireTimeout"].as_str().unwrap().to_owned();
        text.trim_end_matches('s').parse().unwrap()
    };
    started.map(span).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_has_come_is_asked_about_until_the_row_says_so() {
    let stage = Stage::start().await;
    stage.port.state().due.extend([Due::NotYet { remaining_ms: 300 }, Due::NotYet { remaining_ms: 1 }]);
    stage.mirror(Kind::Decision, "d", pending(Some(after(-3600)))).await;
    assert_eq!(stage.end(Kind::Decision, "d").await, "timeout");
    assert_eq!(stage.port.state().dues, 3);
    let history = stage.history(Kind::Decision, "d", None).await;
    assert_eq!(count(&history, "TIMER_FIRED"), 3);
    assert!(timers(&history).iter().all(|seconds| (0.1..=0.3).contains(seconds)), "{:?}", timers(&history));
    assert_eq!(stage.ask(Kind::Decision, "d", "getStatus").await, "timeout");
    stage.over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_days_are_one_timer_at_the_server_and_an_answer_ends_it() {
    let stage = Stage::start().await;
    stage.mirror(Kind::Decision, "d", pending(Some(after(TWO_DAYS)))).await;
    until("the timer is there", SOON, async || {
        !timers(&stage.history(Kind::Decision, "d", None).await).is_empty()
    })
    .await;
    // The same news again does not begin another one.
    let record = stage.port.state().snapshot(Kind::Decision, "d").record;
    stage.mirror(Kind::Decision, "d", record).await;
    let empty = stage.update(Kind::Decision, "d", "resolve", &json!({"rationale": "none"})).await;
    assert!(empty.is_err(), "{empty:?}");
    let answer = json!({"decision": "yes", "rationale": "it is done", "decider_id": "ada"});
    let after = stage.update(Kind::Decision, "d", "resolve", &answer).await.unwrap();
    assert_eq!((&after["status"], &after["decision"]), (&json!("resolved"), &json!("yes")));
    assert_eq!(stage.end(Kind::Decision, "d").await, "yes");
    let history = stage.history(Kind::Decision, "d", None).await;
    let timers = timers(&history);
    assert!(timers.len() == 1 && (172_700.0..=172_801.0).contains(&timers[0]), "{timers:?}");
    assert_eq!(stage.port.state().dues, 0);
    stage.over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_has_no_timer_and_a_deadline_that_is_moved_has_another() {
    let stage = Stage::start().await;
    stage.mirror(Kind::Decision, "d", pending(None)).await;
    until("it is known", SOON, async || stage.ask(Kind::Decision, "d", "getStatus").await == "pending").await;
    assert_eq!(timers(&stage.history(Kind::Decision, "d", None).await), [0.0; 0]);
    stage.mirror(Kind::Decision, "d", pending(Some(after(TWO_DAYS)))).await;
    until("it has a timer", SOON, async || {
        timers(&stage.history(Kind::Decision, "d", None).await).len() == 1
    })
    .await;
    stage.mirror(Kind::Decision, "d", pending(Some(after(1)))).await;
    assert_eq!(stage.end(Kind::Decision, "d").await, "timeout");
    let history = stage.history(Kind::Decision, "d", None).await;
    assert_eq!((timers(&history).len(), count(&history, "TIMER_CANCELED")), (2, 1));
    stage.over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_others_gave_ends_it_as_well() {
    let stage = Stage::start().await;
    stage.mirror(Kind::Decision, "d", pending(None)).await;
    let mut record = pending(None);
    record["status"] = json!("cancelled");
    stage.mirror(Kind::Decision, "d", record).await;
    assert_eq!(stage.end(Kind::Decision, "d").await, "cancelled");
    stage.over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_to_be_told_of_it_is_told_until_that_arrives_and_nothing_waits_for_it() {
    let stage = Stage::start().await;
    stage.port.state().missed_notices = 2;
    stage.mirror(Kind::Decision, "d", pending(Some(after(TWO_DAYS)))).await;
    let has_happened = async |what: &str| count(&stage.history(Kind::Decision, "d", None).await, what) > 0;
    until("the third notice arrives", SOON, async || has_happened("ACTIVITY_TASK_COMPLETED").await).await;
    assert_eq!(stage.port.state().notices, 3);
    stage.port.state().missed_notices = u64::MAX;
    stage.mirror(Kind::Decision, "e", json!({"id": "e", "project_id": "acme", "status": "pending"})).await;
    until("it is tried again", SOON, async || stage.port.state().notices > 4).await;
    for id in ["d", "e"] {
        stage.update(Kind::Decision, id, "resolve", &json!("yes")).await.unwrap();
        assert_eq!(stage.end(Kind::Decision, id).await, "yes");
    }
    let history = stage.history(Kind::Decision, "d", None).await;
    assert_eq!(timers(&history).len(), 1, "a notice begins no other timer");
    stage.over().await;
}
