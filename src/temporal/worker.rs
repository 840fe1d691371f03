//! Workers, each on its own thread: a worker's future is not `Send`.
//!
//! Workflows run on that thread, activities on the runtime of the caller.

use crate::activities::{ActivityCounters, ControlActivities, ProviderActivities};
use crate::client::connection::TemporalConnection;
use crate::control_plane::{ControlPlane, ProviderCaller};
use crate::workflows::{
    AgentLifecycleWorkflow, BeadProcessingWorkflow, DecisionWorkflow, DispatcherWorkflow,
    EventAggregatorWorkflow, ProviderHeartbeatWorkflow, ProviderQueryWorkflow,
};
use std::sync::Arc;
use std::time::Duration;
use temporalio_client::Client;
use temporalio_sdk::error::WorkflowRegistrationError;
use temporalio_sdk::{Runtime, Worker, WorkerOptions};
use tokio::sync::{oneshot, watch};

/// The time for running activities after a worker is asked to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// The time limit for the end of a worker; a locked vault's keys must leave memory within five seconds.
const STOP_TIMEOUT: Duration = Duration::from_millis(3_500);
/// The most workflows in a worker's memory; others are replayed from their history when needed.
const MAX_CACHED_WORKFLOWS: usize = 500;

/// The role of a worker: the activities and workflows that it serves.
#[derive(Clone, Default)]
pub struct WorkerRole {
    /// Workflows and the activities of the control plane.
    pub control: Option<Arc<dyn ControlPlane>>,
    /// Calls to providers.
    pub providers: Option<Arc<dyn ProviderCaller>>,
    /// Counts of the activities that the worker executes.
    pub counters: ActivityCounters,
}

/// A running worker; dropping it asks it to stop.
pub struct RunningWorker {
    queue: String,
    stop: watch::Sender<bool>,
    ended: Option<oneshot::Receiver<Result<(), String>>>,
}

impl RunningWorker {
    /// Starts a worker at a queue. Its workflows sign and verify with the keys of the connection.
    ///
    /// # Errors
    /// A text, when the system has no thread.
    pub fn start(connection: &TemporalConnection, queue: &str, role: WorkerRole) -> Result<Self, String> {
        let (stop, stopped) = watch::channel(false);
        let (end_sender, ended) = oneshot::channel();
        let (runtime, name) = (tokio::runtime::Handle::current(), queue.to_owned());
        let (client, signing_keys) = (connection.client.clone(), connection.signing_keys.clone());
        let work = move || {
            signing_keys.use_on_this_thread();
            let outcome = runtime.block_on(run(client, &name, role, stopped));
            // The receiver may be dropped already.
            let _ = end_sender.send(outcome);
        };
        let thread = std::thread::Builder::new().name(format!("temporal-{queue}"));
        thread.spawn(work).map_err(|error| format!("no thread for a worker: {error}"))?;
        Ok(Self { queue: queue.to_owned(), stop, ended: Some(ended) })
    }

    /// Returns the queue that the worker serves.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Waits for the end of the worker, for any reason.
    ///
    /// # Errors
    /// A text, when the worker failed.
    pub async fn ended(&mut self) -> Result<(), String> {
        match &mut self.ended {
            None => std::future::pending().await,
            Some(ended) => {
                let outcome = ended.await;
                self.ended = None;
                outcome.unwrap_or_else(|_| Err("the worker panicked".to_owned()))
            }
        }
    }

    /// Asks the worker to stop, and waits for its end up to a limit.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if self.ended.is_some() && tokio::time::timeout(STOP_TIMEOUT, self.ended()).await.is_err() {
            tracing::warn!(target: "integration", queue = self.queue, "could not stop a worker in time; it is left behind");
        }
    }
}

async fn run(
    client: Client,
    queue: &str,
    role: WorkerRole,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), String> {
    let runtime = Runtime::from_current_tokio(Default::default()).map_err(|error| error.to_string())?;
    let options = options(queue, role).map_err(|error| error.to_string())?;
    let mut worker = Worker::new(&runtime, client, options).map_err(|error| error.to_string())?;
    let stop = worker.shutdown_handle();
    tracing::info!(target: "integration", queue, "worker started");
    let running = worker.run();
    tokio::pin!(running);
    let outcome = tokio::select! {
        outcome = &mut running => outcome,
        // A dropped sender means the same.
        _ = stopped.wait_for(|stopped| *stopped) => {
            stop();
            running.await
        }
    };
    tracing::info!(target: "integration", queue, "worker ended");
    outcome.map_err(|error| error.to_string())
}

fn options(queue: &str, role: WorkerRole) -> Result<WorkerOptions, WorkflowRegistrationError> {
    let mut options = WorkerOptions::new(queue)
        .graceful_shutdown_period(SHUTDOWN_GRACE)
        .max_cached_workflows(MAX_CACHED_WORKFLOWS)
        .build();
    if let Some(control_plane) = role.control {
        options.register_activities(ControlActivities::new(control_plane, role.counters.clone()));
        options.register_workflow::<AgentLifecycleWorkflow>()?;
        options.register_workflow::<BeadProcessingWorkflow>()?;
        options.register_workflow::<DecisionWorkflow>()?;
        options.register_workflow::<DispatcherWorkflow>()?;
        options.register_workflow::<EventAggregatorWorkflow>()?;
        options.register_workflow::<ProviderHeartbeatWorkflow>()?;
        options.register_workflow::<ProviderQueryWorkflow>()?;
    }
    if let Some(caller) = role.providers {
        options.register_activities(ProviderActivities::new(caller, role.counters));
    }
    Ok(options)
}
