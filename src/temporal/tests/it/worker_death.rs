//! A worker that is replaced by another, and payloads that cannot be read.

use crate::harness::{Harness, TIMEOUT, connect, failed_tasks, signing_keys, wait_until};
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::codec::payload;
use arbiter_temporal::codec::signed::{Signed, SigningKey, SigningKeys};
use arbiter_temporal::codec::{Codec, CodecKey, encrypt_with};
use arbiter_testkit::TemporalServer;
use serde_json::{Value, json};
use std::sync::Arc;
use temporalio_client::{UntypedSignal, UntypedWorkflow, WorkflowSignalOptions};
use temporalio_common::data_converters::RawValue;

fn bead(status: &str) -> Value {
    json!({"id": "b", "project_id": "acme", "status": status, "assigned_to": null})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_worker_replays_state_and_continues() {
    let mut harness = Harness::start().await;
    harness.mirror(Kind::Bead, "b", bead("open")).await;
    harness.update(Kind::Bead, "b", "assignToAgent", &json!("ada")).await.unwrap();
    harness.stop_workers().await;
    harness.signal(Kind::Bead, "b", "statusChange", &json!("in_progress")).await;
    harness.start_workers().await;
    wait_until("the signal is done", TIMEOUT, async || {
        harness.query(Kind::Bead, "b", "getStatus").await == "in_progress"
    })
    .await;
    assert_eq!(harness.query(Kind::Bead, "b", "getAssignedAgent").await, "ada");
    // Everything was asked for once: what is replayed asks for nothing.
    let asked: Vec<_> =
        harness.control_plane.state().asked.iter().map(|command| command.wish.clone()).collect();
    assert_eq!(asked, ["assignToAgent", "statusChange"]);
    assert!(failed_tasks(&harness.history(Kind::Bead, "b", None).await).is_empty());
    harness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_signal_is_ignored_and_blocks_nothing() {
    let harness = Harness::start().await;
    harness.mirror(Kind::Bead, "b", bead("open")).await;
    let word = payload::raw(&json!("closed"));
    let other = CodecKey { id: "other".to_owned(), key: Arc::new(SigningKey::new([1; 32])) };
    let wrong = CodecKey { id: "test".to_owned(), ..other.clone() };
    let mut cut = Codec::new(super::harness::codec_key(), vec![]).encrypt(word.payloads[0].clone()).unwrap();
    cut.data.truncate(20);
    let mut broken = word.clone();
    broken.payloads[0].data = b"{".to_vec();
    let encrypted = |key: &CodecKey| RawValue::new(vec![encrypt_with(key, &word.payloads[0]).unwrap()]);
    let before = harness.codec.unreadable_count();
    let client = connect(&harness.server, &harness.codec, &signing_keys()).await.client;
    let handle = client.get_workflow_handle::<UntypedWorkflow>("bead-b");
    let none = RawValue::new(vec![]);
    let two = RawValue::new([word.payloads.clone(), word.payloads.clone()].concat());
    let cut = RawValue::new(vec![cut]);
    for input in [encrypted(&other), encrypted(&wrong), cut, broken, none, two] {
        for signal in ["statusChange", "mirror", "nobody knows this one"] {
            let input = RawValue::new(input.payloads.clone());
            handle.signal(UntypedSignal::new(signal), input, WorkflowSignalOptions::default()).await.unwrap();
        }
    }
    // Sealed for another workflow, and with a seal that is none.
    let forged = Signed {
        seal: "AAAA".to_owned(),
        ..Signed::new(&signing_keys(), "bead-b", &json!({"seq": 9, "record": null}))
    };
    for forged in [forged, Signed::new(&signing_keys(), "bead-c", &json!({"seq": 9, "record": null}))] {
        harness.signal(Kind::Bead, "b", "mirror", &json!(forged)).await;
    }
    harness.signal(Kind::Bead, "b", "statusChange", &json!("in_progress")).await;
    wait_until("the one that can be read is done", TIMEOUT, async || {
        harness.query(Kind::Bead, "b", "getStatus").await == "in_progress"
    })
    .await;
    assert!(harness.codec.unreadable_count() - before >= 3, "{}", harness.codec.unreadable_count() - before);
    assert!(failed_tasks(&harness.history(Kind::Bead, "b", None).await).is_empty());
    harness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_workflow_start_creates_no_entity() {
    let harness = Harness::start().await;
    for (id, input) in
        [("ghost", json!({"bead_id": "ghost"})), ("b", json!({"bead_id": "c"})), ("x", json!(7))]
    {
        harness.start_workflow(Kind::Bead, id, &input).await;
        let id = Kind::Bead.workflow_id(id);
        wait_until("it has failed", TIMEOUT, async || {
            let said = harness.server.cli(&["workflow", "describe", "-w", &id, "-o", "json"]).await;
            said.stdout.contains("WORKFLOW_EXECUTION_STATUS_FAILED")
        })
        .await;
    }
    assert!(harness.control_plane.state().records.is_empty());
    harness.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_in_one_process_keep_their_keys_apart() {
    let one = Harness::start().await;
    let keys = SigningKeys::new(vec![SigningKey::new([8; 32])]);
    let mut two = Harness::with_keys(TemporalServer::start().await, keys.clone()).await;
    two.start_workers().await;
    for harness in [&one, &two] {
        harness.mirror(Kind::Bead, "b", bead("open")).await;
    }
    // A message signed for the other server is ignored.
    let state = json!({"seq": 99, "run_no": 1, "record": bead("blocked")});
    let foreign = Signed::new(&keys, "bead-b", &state);
    one.signal(Kind::Bead, "b", "mirror", &json!(foreign)).await;
    for harness in [&one, &two] {
        assert_eq!(harness.query(Kind::Bead, "b", "getStatus").await, "open");
    }
    // The lock of one server's vault leaves the other's keys in place.
    keys.clear();
    one.mirror(Kind::Bead, "b", bead("in_progress")).await;
    two.mirror(Kind::Bead, "b", bead("in_progress")).await;
    wait_until("the first server's state arrives", TIMEOUT, async || {
        one.query(Kind::Bead, "b", "getStatus").await == "in_progress"
    })
    .await;
    assert_eq!(two.query(Kind::Bead, "b", "getStatus").await, "open", "unsigned messages are ignored");
    one.shutdown().await;
    two.shutdown().await;
}
