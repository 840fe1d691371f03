//! Histories that were recorded replay with the workflows as they are now.
//!
//! A workflow that is open on a user's server goes on with the code of the next version, and must then want the same
//! things in the same order. What is in `tests/histories` was recorded with an earlier version. A change that breaks
//! the replay needs `ctx.patched(…)`, or no such workflow may be open anywhere. New ones are recorded with
//! `ARBITER_RECORD_HISTORIES=1 cargo test -p arbiter-temporal --test it recorded`; old ones stay as long as there may be
//! workflows of that time: copy them under another name first.

use crate::harness::{codec, signing_keys};
use crate::recordings::histories;
use arbiter_temporal::client::connection::converter;
use arbiter_temporal::workflows::{
    AgentLifecycleWorkflow, BeadProcessingWorkflow, DecisionWorkflow, DispatcherWorkflow,
    EventAggregatorWorkflow, ProviderHeartbeatWorkflow, ProviderQueryWorkflow,
};
use std::collections::BTreeSet;
use std::path::PathBuf;
use temporalio_client::WorkflowHistory;
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

fn replayer() -> WorkflowReplayer {
    let options = WorkflowReplayerOptions::new()
        .data_converter(converter(codec()))
        .register_workflow::<AgentLifecycleWorkflow>()
        .unwrap()
        .register_workflow::<BeadProcessingWorkflow>()
        .unwrap()
        .register_workflow::<DecisionWorkflow>()
        .unwrap()
        .register_workflow::<DispatcherWorkflow>()
        .unwrap()
        .register_workflow::<EventAggregatorWorkflow>()
        .unwrap()
        .register_workflow::<ProviderHeartbeatWorkflow>()
        .unwrap()
        .register_workflow::<ProviderQueryWorkflow>()
        .unwrap()
        .build();
    WorkflowReplayer::new(options).unwrap()
}

#[tokio::test]
async fn recorded_histories_replay() {
    signing_keys().use_on_this_thread();
    let mut types = BTreeSet::new();
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let json = std::fs::read(&path).unwrap();
        let first: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let started = &first["events"][0]["attributes"]["WorkflowExecutionStartedEventAttributes"];
        types.insert(started["workflow_type"]["name"].as_str().unwrap().to_owned());
        let outcome = replayer().replay_workflow(WorkflowHistory::from_json(&json).unwrap()).await;
        assert!(outcome.is_ok(), "{}: {}", path.display(), outcome.unwrap_err());
    }
    assert_eq!(types.len(), 7, "one of each type: {types:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_histories_replay() {
    signing_keys().use_on_this_thread();
    for (name, history) in histories().await {
        let json = serde_json::to_vec(&history).unwrap();
        let history = WorkflowHistory::from_json(&json).unwrap();
        // The replayer's future stays where it is.
        let outcome = replayer().replay_workflow(history).await;
        assert!(outcome.is_ok(), "{name}: {}", outcome.unwrap_err());
        if std::env::var_os("ARBITER_RECORD_HISTORIES").is_some() {
            std::fs::write(directory().join(format!("{name}.json")), json).unwrap();
        }
    }
}
