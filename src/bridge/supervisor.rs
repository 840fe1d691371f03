//! Connects, starts workers and mirror, and stops them when the vault is locked or the process ends.
//!
//! After a failure it tries again with a growing delay.

use super::calls::ProviderCalls;
use super::status::ConnectionState;
use super::{BridgeInner, keys};
use crate::bridge::control_plane::ActorControlPlane;
use crate::bridge::remote_executor::TemporalExecutor;
use crate::bridge::{log_reader, state_sender};
use arbiter_actors::ProviderWorker;
use arbiter_core::kernel::backoff::Backoff;
use arbiter_temporal::client::WorkflowClient;
use arbiter_temporal::client::connection::ConnectError;
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::worker::{RunningWorker, WorkerRole};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// The pauses between attempts to come up.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// The interval between two reads of the queue depths.
const QUEUE_POLL_INTERVAL: Duration = Duration::from_secs(15);

/// A reason why the bridge stopped.
enum StopReason {
    /// The process ends.
    ProcessExit,
    /// The vault was locked.
    VaultLocked,
    /// A failure, after which the bridge starts again.
    Failed(String),
}

/// Keeps the bridge running until `ended`.
pub async fn run(inner: Arc<BridgeInner>, mut ended: watch::Receiver<bool>) {
    let mut failures = 0_u32;
    loop {
        let reason = run_once(&inner, ended.clone(), &mut failures).await;
        inner.handles.set_remote_executor(None);
        inner.set_client(None);
        match reason {
            StopReason::ProcessExit => {
                keys::clear_keys(&inner);
                return;
            }
            StopReason::VaultLocked => failures = 0,
            StopReason::Failed(why) => {
                failures = failures.saturating_add(1);
                let pause = BACKOFF.delay(failures);
                tracing::warn!(target: "integration", why, ?pause, "could not keep the bridge to Temporal; the mirror catches up later");
                inner.set_connection_state(ConnectionState::Connecting(Some(why)));
                tokio::select! {
                    _ = ended.wait_for(|ended| *ended) => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

/// Starts the bridge once and waits until it stops.
async fn run_once(
    inner: &Arc<BridgeInner>,
    mut ended: watch::Receiver<bool>,
    failures: &mut u32,
) -> StopReason {
    let vault = &inner.handles.vault;
    if !vault.is_open() {
        inner.set_connection_state(ConnectionState::WaitingForVault);
        keys::clear_keys(inner);
        tokio::select! {
            // A dropped sender means the same.
            _ = ended.wait_for(|ended| *ended) => return StopReason::ProcessExit,
            () = vault.wait_open() => {}
        }
    }
    let locked = vault.next_lock();
    if !matches!(inner.connection_state(), ConnectionState::Connecting(_)) {
        inner.set_connection_state(ConnectionState::Connecting(None));
    }
    let keys = match keys::install_keys(inner).await {
        Ok(keys) => Arc::new(keys),
        Err(fault) => return StopReason::Failed(fault.to_string()),
    };
    let identity = format!("arbiter {}", std::process::id());
    let connecting = inner.address.connect(inner.codec.clone(), inner.signing_keys.clone(), &identity);
    let connected = tokio::select! {
        _ = ended.wait_for(|ended| *ended) => return StopReason::ProcessExit,
        connected = connecting => connected,
    };
    let connected = match connected {
        Ok(connected) => connected,
        Err(error @ (ConnectError::Settings(_) | ConnectError::Server { .. })) => {
            return StopReason::Failed(error.to_string());
        }
    };
    let queues: BTreeMap<Kind, String> = inner
        .settings
        .queues
        .iter()
        .filter_map(|(name, queue)| Some((Kind::from_workflow_type(name)?, queue.clone())))
        .collect();
    let client = WorkflowClient::new(connected.clone(), queues.clone());
    let control_plane = Arc::new(ActorControlPlane::new(Arc::clone(inner), keys));
    let calls = Arc::new(ProviderWorker::new(Arc::new(vault.clone()), inner.providers.clone()));
    let mut workers = Vec::new();
    let control: BTreeSet<&String> = queues.values().collect();
    let counters = inner.activity_counters.clone();
    let role = WorkerRole { control: Some(control_plane), providers: None, counters: counters.clone() };
    let caller = Arc::new(ProviderCalls(Arc::clone(&calls)));
    let providers = WorkerRole { control: None, providers: Some(caller), counters };
    let wanted = control.into_iter().map(|queue| (queue.as_str(), role.clone()));
    let providers = Some((inner.settings.providers_queue.as_str(), providers));
    for (queue, role) in wanted.chain(providers.filter(|_| inner.settings.serve_providers)) {
        match RunningWorker::start(&connected, queue, role) {
            Ok(worker) => workers.push(worker),
            Err(why) => return stop(workers, StopReason::Failed(why)).await,
        }
    }
    inner.counters.worker_starts.fetch_add(1, Ordering::Relaxed);
    inner.set_client(Some(client.clone()));
    inner
        .handles
        .set_remote_executor(Some(Arc::new(TemporalExecutor::new(Arc::clone(inner), client.clone()))));
    inner.set_connection_state(ConnectionState::Connected);
    tracing::info!(target: "integration", address = inner.settings.address, "connected to Temporal");
    *failures = 0;
    let reason = run_until_stopped(inner, &client, &mut workers, ended, locked).await;
    // No new call is sent there while the workers stop.
    inner.handles.set_remote_executor(None);
    let reason = stop(workers, reason).await;
    calls.disconnect();
    if matches!(reason, StopReason::VaultLocked) {
        keys::clear_keys(inner);
        inner.set_connection_state(ConnectionState::WaitingForVault);
    }
    reason
}

/// Mirrors and serves until there is a reason to stop, and returns it.
async fn run_until_stopped(
    inner: &Arc<BridgeInner>,
    client: &WorkflowClient,
    workers: &mut [RunningWorker],
    mut ended: watch::Receiver<bool>,
    locked: impl Future<Output = ()>,
) -> StopReason {
    let (reading, sending) = (Arc::clone(inner), Arc::clone(inner));
    let (to_aggregators, to_entities) = (client.clone(), client.clone());
    // Separate tasks: a panic in one of them is handled like any other end.
    let mut reader =
        AbortOnDrop(tokio::spawn(async move { log_reader::run(&reading, &to_aggregators).await }));
    let mut sender =
        AbortOnDrop(tokio::spawn(async move { state_sender::run(&sending, &to_entities).await }));
    let queues: BTreeSet<String> = workers.iter().map(|worker| worker.queue().to_owned()).collect();
    let _watcher = AbortOnDrop(tokio::spawn(watch_queues(client.clone(), queues)));
    let worker_ends = async {
        let ends = workers.iter_mut().map(|worker| {
            Box::pin(async move {
                let outcome = worker.ended().await;
                let why = outcome.err().unwrap_or_else(|| "it stopped".to_owned());
                format!("the worker at {}: {why}", worker.queue())
            })
        });
        futures_util::future::select_all(ends).await.0
    };
    tokio::select! {
        _ = ended.wait_for(|ended| *ended) => StopReason::ProcessExit,
        () = locked => StopReason::VaultLocked,
        why = worker_ends => StopReason::Failed(why),
        outcome = &mut reader.0 => StopReason::Failed(format!("the mirror's reader: {}", describe_outcome(outcome))),
        outcome = &mut sender.0 => StopReason::Failed(format!("the mirror's sender: {}", describe_outcome(outcome))),
    }
}

/// Publishes the depth of each queue as a metric, at an interval.
async fn watch_queues(client: WorkflowClient, queues: BTreeSet<String>) -> Result<(), arbiter_actors::Error> {
    loop {
        for queue in &queues {
            // Without an answer the last value stays until the next read.
            if let Ok(waiting) = client.queue_depth(queue).await {
                let waiting = f64::from(u32::try_from(waiting).unwrap_or(u32::MAX));
                metrics::gauge!("arbiter_task_queue_depth", "queue" => queue.clone()).set(waiting);
            }
        }
        tokio::time::sleep(QUEUE_POLL_INTERVAL).await;
    }
}

/// A task that is aborted when this is dropped.
struct AbortOnDrop(tokio::task::JoinHandle<Result<(), arbiter_actors::Error>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn describe_outcome(outcome: Result<Result<(), arbiter_actors::Error>, tokio::task::JoinError>) -> String {
    match outcome {
        Ok(Ok(())) => "it ended".to_owned(),
        Ok(Err(fault)) => fault.to_string(),
        Err(_) => "it panicked".to_owned(),
    }
}

async fn stop(workers: Vec<RunningWorker>, reason: StopReason) -> StopReason {
    futures_util::future::join_all(workers.into_iter().map(RunningWorker::stop)).await;
    reason
}
