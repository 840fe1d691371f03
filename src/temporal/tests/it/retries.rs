//! What fails is asked for again, and applied once.

use crate::stage::{Harness, TIMEOUT, wait_until};
use arbiter_temporal::codec::names::Kind;
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_command_is_retried_with_the_same_id() {
    let stage = Harness::start().await;
    stage.mirror(Kind::Bead, "b", json!({"id": "b", "status": "open"})).await;
    wait_until("it is known", TIMEOUT, async || stage.query(Kind::Bead, "b", "getStatus").await == "open")
        .await;
    stage.port.state().failures = 2;
    let after = stage.update(Kind::Bead, "b", "assignToAgent", &json!("ada")).await.unwrap();
    assert_eq!(after["assigned_to"], "ada");
    let ids = |wish: &str| -> Vec<String> {
        let state = stage.port.state();
        state.asked.iter().filter(|one| one.wish == wish).map(|one| one.command_id.clone()).collect()
    };
    let asked = ids("assignToAgent");
    assert_eq!((asked.len(), asked.iter().collect::<BTreeSet<_>>().len()), (3, 1), "{asked:?}");

    // The same of a signal, for which nobody waits.
    stage.port.state().failures = 2;
    stage.signal(Kind::Bead, "b", "statusChange", &json!("in_progress")).await;
    wait_until("it is done", TIMEOUT, async || {
        stage.query(Kind::Bead, "b", "getStatus").await == "in_progress"
    })
    .await;
    let again = ids("statusChange");
    assert_eq!((again.len(), again.iter().collect::<BTreeSet<_>>().len()), (3, 1), "{again:?}");
    assert_ne!(asked[0], again[0]);
    stage.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_is_not_retried_and_keeps_its_message() {
    let stage = Harness::start().await;
    stage.mirror(Kind::Bead, "b", json!({"id": "b", "status": "open"})).await;
    let refused = stage.update(Kind::Bead, "b", "updateStatus", &json!("blocked")).await.unwrap_err();
    assert!(refused.contains("a reason is missing"), "{refused}");
    assert_eq!(stage.port.state().asked.len(), 1);
    let unknown = stage.update(Kind::Bead, "b", "updateStatus", &json!("done-ish")).await.unwrap_err();
    assert!(unknown.contains("no status of a bead is called"), "{unknown}");
    assert_eq!(stage.port.state().asked.len(), 1);
    stage.shutdown().await;
}
