//! Failed requests are retried and applied once.

use crate::harness::{Harness, TIMEOUT, wait_until};
use arbiter_temporal::codec::names::Kind;
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_command_is_retried_with_the_same_id() {
    let harness = Harness::start().await;
    harness.mirror(Kind::Bead, "b", json!({"id": "b", "status": "open"})).await;
    wait_until("it is known", TIMEOUT, async || harness.query(Kind::Bead, "b", "getStatus").await == "open")
        .await;
    harness.control_plane.state().failures = 2;
    let after = harness.update(Kind::Bead, "b", "assignToAgent", &json!("ada")).await.unwrap();
    assert_eq!(after["assigned_to"], "ada");
    let ids = |wish: &str| -> Vec<String> {
        let state = harness.control_plane.state();
        state.asked.iter().filter(|one| one.wish == wish).map(|one| one.command_id.clone()).collect()
    };
    let asked = ids("assignToAgent");
    assert_eq!((asked.len(), asked.iter().collect::<BTreeSet<_>>().len()), (3, 1), "{asked:?}");

    // The same for a signal, which is not awaited.
    harness.control_plane.state().failures = 2;
    harness.signal(Kind::Bead, "b", "statusChange", &json!("in_progress")).await;
    wait_until("it is done", TIMEOUT, async || {
        harness.query(Kind::Bead, "b", "getStatus").await == "in_progress"
    })
    .await;
    let again = ids("statusChange");
    assert_eq!((again.len(), again.iter().collect::<BTreeSet<_>>().len()), (3, 1), "{again:?}");
    assert_ne!(asked[0], again[0]);
    harness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_is_not_retried_and_keeps_its_message() {
    let harness = Harness::start().await;
    harness.mirror(Kind::Bead, "b", json!({"id": "b", "status": "open"})).await;
    let refused = harness.update(Kind::Bead, "b", "updateStatus", &json!("blocked")).await.unwrap_err();
    assert!(refused.contains("a reason is missing"), "{refused}");
    assert_eq!(harness.control_plane.state().asked.len(), 1);
    let unknown = harness.update(Kind::Bead, "b", "updateStatus", &json!("done-ish")).await.unwrap_err();
    assert!(unknown.contains("no status of a bead is called"), "{unknown}");
    assert_eq!(harness.control_plane.state().asked.len(), 1);
    harness.shutdown().await;
}
