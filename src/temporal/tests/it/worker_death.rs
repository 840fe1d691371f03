//! A worker that goes and another that comes; and what nobody can read.

use crate::stage::{SOON, Stage, connect, failed_tasks, until};
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::codec::payload;
use arbiter_temporal::codec::signed::{SealKey, Sealed};
use arbiter_temporal::codec::{Codec, CodecKey, seal_with, unreadable};
use serde_json::{Value, json};
use std::sync::Arc;
use temporalio_client::{UntypedSignal, UntypedWorkflow, WorkflowSignalOptions};
use temporalio_common::data_converters::RawValue;

fn bead(status: &str) -> Value {
    json!({"id": "b", "project_id": "acme", "status": status, "assigned_to": null})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_worker_builds_the_state_anew_and_goes_on_from_there() {
    let mut stage = Stage::start().await;
    stage.mirror(Kind::Bead, "b", bead("open")).await;
    stage.update(Kind::Bead, "b", "assignToAgent", &json!("ada")).await.unwrap();
    stage.rest().await;
    stage.signal(Kind::Bead, "b", "statusChange", &json!("in_progress")).await;
    stage.work().await;
    until("the signal is done", SOON, async || {
        stage.ask(Kind::Bead, "b", "getStatus").await == "in_progress"
    })
    .await;
    assert_eq!(stage.ask(Kind::Bead, "b", "getAssignedAgent").await, "ada");
    // Everything was asked for once: what is replayed asks for nothing.
    let asked: Vec<_> = stage.port.state().asked.iter().map(|command| command.wish.clone()).collect();
    assert_eq!(asked, ["assignToAgent", "statusChange"]);
    assert!(failed_tasks(&stage.history(Kind::Bead, "b", None).await).is_empty());
    stage.over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_read_is_ignored_and_holds_nothing_up() {
    let stage = Stage::start().await;
    stage.mirror(Kind::Bead, "b", bead("open")).await;
    let word = payload::raw(&json!("closed"));
    let other = CodecKey { id: "other".to_owned(), key: Arc::new(SealKey::new([1; 32])) };
    let wrong = CodecKey { id: "test".to_owned(), ..other.clone() };
    let mut cut = Codec::new(super::stage::codec_key(), vec![]).seal(word.payloads[0].clone()).unwrap();
    cut.data.truncate(20);
    let mut broken = word.clone();
    broken.payloads[0].data = b"{".to_vec();
    let encrypted = |key: &CodecKey| RawValue::new(vec![seal_with(key, &word.payloads[0]).unwrap()]);
    let before = unreadable();
    let client = connect(&stage.server).await.client;
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
    let forged =
        Sealed { seal: "AAAA".to_owned(), ..Sealed::new("bead-b", &json!({"seq": 9, "record": null})) };
    for forged in [forged, Sealed::new("bead-c", &json!({"seq": 9, "record": null}))] {
        stage.signal(Kind::Bead, "b", "mirror", &json!(forged)).await;
    }
    stage.signal(Kind::Bead, "b", "statusChange", &json!("in_progress")).await;
    until("the one that can be read is done", SOON, async || {
        stage.ask(Kind::Bead, "b", "getStatus").await == "in_progress"
    })
    .await;
    assert!(unreadable() - before >= 3, "{}", unreadable() - before);
    assert!(failed_tasks(&stage.history(Kind::Bead, "b", None).await).is_empty());
    stage.over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_by_a_stranger_creates_nothing() {
    let stage = Stage::start().await;
    for (id, input) in
        [("ghost", json!({"bead_id": "ghost"})), ("b", json!({"bead_id": "c"})), ("x", json!(7))]
    {
        stage.begin(Kind::Bead, id, &input).await;
        let id = Kind::Bead.workflow_id(id);
        until("it has failed", SOON, async || {
            let said = stage.server.cli(&["workflow", "describe", "-w", &id, "-o", "json"]).await;
            said.stdout.contains("WORKFLOW_EXECUTION_STATUS_FAILED")
        })
        .await;
    }
    assert!(stage.port.state().records.is_empty());
    stage.over().await;
}
