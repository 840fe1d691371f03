//! Brings the bridge up whenever it can be up, and down when it must not be: connects, starts workers and mirror, ends them
//! with the vault's lock and the process's end, and begins again after whatever went wrong.

use super::calls::ProviderCalls;
use super::status::Place;
use super::{Inner, keys};
use crate::bridge::control_plane::ControlPort;
use crate::bridge::remote_executor::TemporalCarrier;
use crate::bridge::{log_reader, state_sender};
use arbiter_actors::RemoteCalls;
use arbiter_temporal::client::Delivery;
use arbiter_temporal::client::connection::ConnectError;
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::worker::{RunningWorker, Serves};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// The pause after a first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often is looked how much waits in the queues.
const WATCH: Duration = Duration::from_secs(15);
/// How often is looked whether the vault is open.
const LOOK: Duration = Duration::from_millis(500);

/// Why the bridge came down.
enum Down {
    /// The process ends.
    End,
    /// The vault was locked.
    Locked,
    /// Something went wrong; it begins again.
    Failed(String),
}

/// Keeps the bridge up until `ended`.
pub async fn run(inner: Arc<Inner>, mut ended: watch::Receiver<bool>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let down = once(&inner, ended.clone(), &mut pause).await;
        inner.handles.carry_by(None);
        inner.deliver_by(None);
        match down {
            Down::End => {
                keys::forget(&inner);
                return;
            }
            Down::Locked => pause = FIRST_PAUSE,
            Down::Failed(why) => {
                tracing::warn!(target: "integration", why, ?pause, "there is no bridge to Temporal; the mirror catches up later");
                inner.is_at(Place::Connecting(Some(why)));
                tokio::select! {
                    _ = ended.wait_for(|ended| *ended) => {}
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Brings it up and waits for its coming down.
async fn once(inner: &Arc<Inner>, mut ended: watch::Receiver<bool>, pause: &mut Duration) -> Down {
    let vault = &inner.handles.vault;
    while !vault.is_open() {
        inner.is_at(Place::WaitingForVault);
        keys::forget(inner);
        tokio::select! {
            // A sender that is gone means the same.
            _ = ended.wait_for(|ended| *ended) => return Down::End,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    let locked = vault.next_lock();
    if !matches!(inner.place(), Place::Connecting(_)) {
        inner.is_at(Place::Connecting(None));
    }
    let keys = match keys::put_in_place(inner).await {
        Ok(keys) => Arc::new(keys),
        Err(fault) => return Down::Failed(fault.to_string()),
    };
    let identity = format!("arbiter {}", std::process::id());
    let connecting = inner.address.connect(inner.codec.clone(), &identity);
    let connected = tokio::select! {
        _ = ended.wait_for(|ended| *ended) => return Down::End,
        connected = connecting => connected,
    };
    let connected = match connected {
        Ok(connected) => connected,
        Err(error @ (ConnectError::Settings(_) | ConnectError::Server { .. })) => {
            return Down::Failed(error.to_string());
        }
    };
    let queues: BTreeMap<Kind, String> = inner
        .settings
        .queues
        .iter()
        .filter_map(|(name, queue)| Some((Kind::of_workflow_type(name)?, queue.clone())))
        .collect();
    let delivery = Delivery::new(connected.clone(), queues.clone());
    let port = Arc::new(ControlPort::new(Arc::clone(inner), keys));
    let calls = Arc::new(RemoteCalls::new(Arc::new(vault.clone()), inner.providers.clone()));
    let mut workers = Vec::new();
    let control: BTreeSet<&String> = queues.values().collect();
    let serves = Serves { control: Some(port), providers: None };
    let providers = Serves { control: None, providers: Some(Arc::new(ProviderCalls(Arc::clone(&calls)))) };
    let wanted = control.into_iter().map(|queue| (queue.as_str(), serves.clone()));
    let providers = Some((inner.settings.providers_queue.as_str(), providers));
    for (queue, serves) in wanted.chain(providers.filter(|_| inner.settings.serve_providers)) {
        match RunningWorker::start(connected.client.clone(), queue, serves) {
            Ok(worker) => workers.push(worker),
            Err(why) => return stop(workers, Down::Failed(why)).await,
        }
    }
    inner.counters.worker_starts.fetch_add(1, Ordering::Relaxed);
    inner.deliver_by(Some(delivery.clone()));
    inner.handles.carry_by(Some(Arc::new(TemporalCarrier::new(Arc::clone(inner), delivery.clone()))));
    inner.is_at(Place::Connected);
    tracing::info!(target: "integration", address = inner.settings.address, "connected to Temporal");
    *pause = FIRST_PAUSE;
    let down = up(inner, &delivery, &mut workers, ended, locked).await;
    // Nobody new is sent there while the workers end.
    inner.handles.carry_by(None);
    let down = stop(workers, down).await;
    calls.disconnect();
    if matches!(down, Down::Locked) {
        keys::forget(inner);
        inner.is_at(Place::WaitingForVault);
    }
    down
}

/// Ends with whatever brings the bridge down.
async fn up(
    inner: &Arc<Inner>,
    delivery: &Delivery,
    workers: &mut [RunningWorker],
    mut ended: watch::Receiver<bool>,
    locked: impl Future<Output = ()>,
) -> Down {
    let (reading, sending) = (Arc::clone(inner), Arc::clone(inner));
    let (to_aggregators, to_entities) = (delivery.clone(), delivery.clone());
    // Tasks of their own: a panic in one of them is an end like any other.
    let mut reader = Task(tokio::spawn(async move { log_reader::run(&reading, &to_aggregators).await }));
    let mut sender = Task(tokio::spawn(async move { state_sender::run(&sending, &to_entities).await }));
    let queues: BTreeSet<String> = workers.iter().map(|worker| worker.queue().to_owned()).collect();
    let _watcher = Task(tokio::spawn(watch_queues(delivery.clone(), queues)));
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
        _ = ended.wait_for(|ended| *ended) => Down::End,
        () = locked => Down::Locked,
        why = worker_ends => Down::Failed(why),
        outcome = &mut reader.0 => Down::Failed(format!("the mirror's reader: {}", said(outcome))),
        outcome = &mut sender.0 => Down::Failed(format!("the mirror's sender: {}", said(outcome))),
    }
}

/// Looks how much waits in the queues, now and then.
async fn watch_queues(delivery: Delivery, queues: BTreeSet<String>) -> Result<(), arbiter_actors::Fault> {
    loop {
        for queue in &queues {
            // Without an answer the last one stands: the next look is soon.
            if let Ok(waiting) = delivery.queue_depth(queue).await {
                let waiting = f64::from(u32::try_from(waiting).unwrap_or(u32::MAX));
                metrics::gauge!("arbiter_task_queue_depth", "queue" => queue.clone()).set(waiting);
            }
        }
        tokio::time::sleep(WATCH).await;
    }
}

/// A task that goes when nobody waits for it any more.
struct Task(tokio::task::JoinHandle<Result<(), arbiter_actors::Fault>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn said(outcome: Result<Result<(), arbiter_actors::Fault>, tokio::task::JoinError>) -> String {
    match outcome {
        Ok(Ok(())) => "it ended".to_owned(),
        Ok(Err(fault)) => fault.to_string(),
        Err(_) => "it panicked".to_owned(),
    }
}

async fn stop(workers: Vec<RunningWorker>, down: Down) -> Down {
    futures_util::future::join_all(workers.into_iter().map(RunningWorker::stop)).await;
    down
}
