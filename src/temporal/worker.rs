//! Workers: a thread each, for a worker's future cannot move between threads.
//!
//! Workflows run on that thread, activities on the runtime it was given.

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

/// How long activities may go on once a worker is asked to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// How long a worker may take to end: a locked vault's keys leave the memory within five seconds.
const STOP_TIMEOUT: Duration = Duration::from_millis(3_500);
/// How many workflows a worker keeps in memory; the others are replayed from their history when something happens.
const MAX_CACHED_WORKFLOWS: usize = 500;

/// What a worker serves.
#[derive(Clone, Default)]
pub struct WorkerRole {
    /// The workflows and what they want of the server.
    pub control: Option<Arc<dyn ControlPlane>>,
    /// Calls to providers.
    pub providers: Option<Arc<dyn ProviderCaller>>,
    /// Counts of the activities that the worker executes.
    pub counters: ActivityCounters,
}

/// A running worker. Dropping it asks it to end.
pub struct RunningWorker {
    queue: String,
    stop: watch::Sender<bool>,
    ended: Option<oneshot::Receiver<Result<(), String>>>,
}

impl RunningWorker {
    /// Starts a worker at a queue. Its workflows sign and verify with the keys of the connection.
    ///
    /// # Errors
    /// Words, when the system gives no thread.
    pub fn start(connection: &TemporalConnection, queue: &str, role: WorkerRole) -> Result<Self, String> {
        let (stop, stopped) = watch::channel(false);
        let (end_sender, ended) = oneshot::channel();
        let (runtime, name) = (tokio::runtime::Handle::current(), queue.to_owned());
        let (client, signing_keys) = (connection.client.clone(), connection.signing_keys.clone());
        let work = move || {
            signing_keys.use_on_this_thread();
            let outcome = runtime.block_on(run(client, &name, role, stopped));
            // Nobody may listen any more.
            let _ = end_sender.send(outcome);
        };
        let thread = std::thread::Builder::new().name(format!("temporal-{queue}"));
        thread.spawn(work).map_err(|error| format!("no thread for a worker: {error}"))?;
        Ok(Self { queue: queue.to_owned(), stop, ended: Some(ended) })
    }

    /// The queue it serves.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Waits for its end, whoever wanted it.
    ///
    /// # Errors
    /// Words, when it did not end in order.
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

    /// Asks it to end, and waits for that.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if self.ended.is_some() && tokio::time::timeout(STOP_TIMEOUT, self.ended()).await.is_err() {
            tracing::warn!(target: "integration", queue = self.queue, "a worker does not end; it is left");
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
    tracing::info!(target: "integration", queue, "a worker serves the queue");
    let running = worker.run();
    tokio::pin!(running);
    let outcome = tokio::select! {
        outcome = &mut running => outcome,
        // A sender that is gone means the same.
        _ = stopped.wait_for(|stopped| *stopped) => {
            stop();
            running.await
        }
    };
    tracing::info!(target: "integration", queue, "a worker has ended");
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
