//! The activities: thin wrappers over [`ControlPlane`] and [`ProviderCaller`].

#![allow(missing_docs, reason = "the macros make constants that cannot be documented")]

use crate::codec::names::Kind;
use crate::codec::payload;
use crate::control_plane::{
    CallOutcome, Command, ControlPlane, DeadlineCheck, Grant, HeartbeatOutcome, ProviderCall, ProviderCaller,
    Reply, Snapshot, TRANSIT_ALLOWANCE, Unavailable,
};
use arbiter_core::notification::{LONGEST_PAUSE, MAX_AGE};
use metrics::{counter, gauge};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use temporalio_common::data_converters::RawValue;
use temporalio_common::{ActivityCloseTimeouts, RetryPolicy};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{ActivityOptions, ApplicationFailure};

/// The concurrent activities of a worker, the SDK's default.
const ACTIVITY_SLOTS: f64 = 100.0;
/// The interval of heartbeats during a provider call.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// The time without a heartbeat after which the call is retried on another worker.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(8);
/// The time limit for an answer of the control process.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(30);
/// The time limit for a provider heartbeat.
const PROVIDER_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(120);
/// The most attempts of a provider call.
const CALL_ATTEMPTS: u32 = 3;

/// Counts the activities of the workers that share it. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct ActivityCounters(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    started: AtomicU64,
    failed: AtomicU64,
}

impl ActivityCounters {
    /// Returns how many activities were started.
    pub fn started(&self) -> u64 {
        self.0.started.load(Ordering::Relaxed)
    }

    /// Returns how many attempts of activities failed.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }
}

/// The input of `lookUp`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LookUpInput {
    /// The entity's kind.
    pub kind: Kind,
    /// Its id.
    pub id: String,
}

/// The input of `publishEvent`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublishInput {
    /// The project, if any.
    pub project_id: Option<String>,
    /// The unique id of the request.
    pub id: String,
    /// The events.
    pub events: Vec<Value>,
}

/// The activities of the process that holds the data directory.
pub struct ControlActivities(Arc<dyn ControlPlane>, ActivityCounters);

impl ControlActivities {
    /// Creates activities over a control plane.
    pub fn new(control_plane: Arc<dyn ControlPlane>, counters: ActivityCounters) -> Self {
        Self(control_plane, counters)
    }
}

#[activities]
impl ControlActivities {
    /// Sends a command to an entity's actor.
    #[activity(name = "applyCommand")]
    pub async fn apply_command(
        self: Arc<Self>,
        context: ActivityContext,
        command: Command,
    ) -> Result<Reply, ActivityError> {
        run_activity(&context, &self.1, self.0.apply(command)).await
    }

    /// Reads an entity's state.
    #[activity(name = "lookUp")]
    pub async fn look_up(
        self: Arc<Self>,
        context: ActivityContext,
        input: LookUpInput,
    ) -> Result<Reply, ActivityError> {
        run_activity(&context, &self.1, self.0.look_up(input.kind, input.id)).await
    }

    /// Ends a decision whose deadline has passed.
    #[activity(name = "decisionDue")]
    pub async fn decision_due(
        self: Arc<Self>,
        context: ActivityContext,
        id: String,
    ) -> Result<DeadlineCheck, ActivityError> {
        run_activity(&context, &self.1, self.0.check_deadline(id)).await
    }

    /// Sends a heartbeat to a provider.
    #[activity(name = "providerHeartbeat")]
    pub async fn provider_heartbeat(
        self: Arc<Self>,
        context: ActivityContext,
        id: String,
    ) -> Result<HeartbeatOutcome, ActivityError> {
        run_activity(&context, &self.1, self.0.heartbeat(id)).await
    }

    /// Publishes a client's events.
    #[activity(name = "publishEvent")]
    pub async fn publish_event(
        self: Arc<Self>,
        context: ActivityContext,
        said: PublishInput,
    ) -> Result<(), ActivityError> {
        run_activity(&context, &self.1, self.0.publish(said.project_id, said.id, said.events)).await
    }

    /// Waits until the webhook has received the notice.
    #[activity(name = "notify")]
    pub async fn notify(self: Arc<Self>, context: ActivityContext, seq: u64) -> Result<(), ActivityError> {
        run_activity(&context, &self.1, self.0.notify(seq)).await
    }

    /// Starts a dispatch of ready work.
    #[activity(name = "dispatch")]
    pub async fn dispatch(
        self: Arc<Self>,
        context: ActivityContext,
        project_id: String,
    ) -> Result<(), ActivityError> {
        run_activity(&context, &self.1, self.0.dispatch(project_id)).await
    }

    /// Grants a call to a provider.
    #[activity(name = "grantCall")]
    pub async fn grant_call(
        self: Arc<Self>,
        context: ActivityContext,
        query_id: String,
    ) -> Result<Grant, ActivityError> {
        run_activity(&context, &self.1, self.0.grant(query_id)).await
    }
}

/// The activities of processes that call providers.
pub struct ProviderActivities(Arc<dyn ProviderCaller>, ActivityCounters);

impl ProviderActivities {
    /// Creates activities over a provider caller.
    pub fn new(caller: Arc<dyn ProviderCaller>, counters: ActivityCounters) -> Self {
        Self(caller, counters)
    }
}

#[activities]
impl ProviderActivities {
    /// Makes a call to a provider, with heartbeats while it lasts.
    #[activity(name = "providerQuery")]
    pub async fn provider_query(
        self: Arc<Self>,
        context: ActivityContext,
        call: RawValue,
    ) -> Result<CallOutcome, ActivityError> {
        run_activity(&context, &self.1, async {
            let call = payload::value(&call).and_then(|value| {
                serde_json::from_value::<ProviderCall>(value)
                    .map_err(|_| "is no call to a provider".to_owned())
            });
            // A call that cannot be decrypted here may be readable for another worker.
            let calling = self.0.call(call.map_err(Unavailable)?);
            tokio::pin!(calling);
            let mut every = tokio::time::interval(HEARTBEAT_EVERY);
            loop {
                tokio::select! {
                    outcome = &mut calling => return Ok(outcome?),
                    _ = every.tick() => {
                        if context.is_cancelled() {
                            return Err(ActivityFailure::Cancelled);
                        }
                        // After a lost heartbeat the server retries the call on another worker.
                        let _ = context.record_heartbeat(0_u8).await;
                    }
                }
            }
        })
        .await
    }
}

/// A reason why an activity failed.
enum ActivityFailure {
    /// Retried later, or on another worker.
    Unavailable(Unavailable),
    /// Cancelled by its workflow.
    Cancelled,
}

impl From<Unavailable> for ActivityFailure {
    fn from(why: Unavailable) -> Self {
        Self::Unavailable(why)
    }
}

async fn run_activity<T, E: Into<ActivityFailure>>(
    context: &ActivityContext,
    counters: &ActivityCounters,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, ActivityError> {
    counters.0.started.fetch_add(1, Ordering::Relaxed);
    let info = context.info();
    let (kind, attempt) = (info.activity_type.clone(), info.attempt);
    let _utilization = UtilizationGuard::at(&info.task_queue);
    let outcome = work.await.map_err(Into::into);
    let word = match &outcome {
        Ok(_) => "done",
        Err(ActivityFailure::Unavailable(_)) => "failed",
        Err(ActivityFailure::Cancelled) => "cancelled",
    };
    counter!("arbiter_activity_total", "type" => kind.clone(), "outcome" => word).increment(1);
    outcome.map_err(|failure| match failure {
        ActivityFailure::Cancelled => ActivityError::cancelled(),
        ActivityFailure::Unavailable(why) => {
            counters.0.failed.fetch_add(1, Ordering::Relaxed);
            // Only the first attempt warns; the others would repeat it.
            match attempt {
                0 | 1 => {
                    tracing::warn!(target: "activity", %kind, %why, "could not complete an activity; it is tried again")
                }
                _ => tracing::debug!(target: "activity", %kind, attempt, %why, "could not complete an activity again"),
            }
            ActivityError::application(ApplicationFailure::new(anyhow::Error::new(why)))
        }
    })
}

/// Counts a running activity in the utilization gauge until dropped.
struct UtilizationGuard {
    queue: String,
}

impl UtilizationGuard {
    fn at(queue: &str) -> Self {
        gauge!("arbiter_worker_utilization", "queue" => queue.to_owned()).increment(1.0 / ACTIVITY_SLOTS);
        Self { queue: queue.to_owned() }
    }
}

impl Drop for UtilizationGuard {
    fn drop(&mut self) {
        gauge!("arbiter_worker_utilization", "queue" => self.queue.clone()).decrement(1.0 / ACTIVITY_SLOTS);
    }
}

/// Returns options for requests to the control process: retried until answered.
pub(crate) fn control_options() -> ActivityOptions {
    retry_forever(CONTROL_TIMEOUT)
}

/// Returns options for a provider heartbeat: retried until answered.
pub(crate) fn heartbeat_options() -> ActivityOptions {
    retry_forever(PROVIDER_HEARTBEAT_TIMEOUT)
}

fn retry_forever(timeout: Duration) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(timeout)
        .retry_policy(exponential_backoff(Duration::from_secs(30)))
        .build()
}

/// Returns options for a notice: retried until its maximum age, with the sender's longest pause.
pub(crate) fn notice_options() -> ActivityOptions {
    let limits = ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: MAX_AGE,
        start_to_close: CONTROL_TIMEOUT,
    };
    ActivityOptions::with_close_timeouts(limits).retry_policy(exponential_backoff(LONGEST_PAUSE)).build()
}

fn exponential_backoff(longest_pause: Duration) -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(Duration::from_millis(500))
        .maximum_interval(longest_pause)
        .build()
}

/// Returns options for a provider call: bounded by `timeout`, retried on another worker after missed heartbeats, and
/// given up once the caller has stopped waiting.
pub(crate) fn provider_call_options(queue: String, timeout: Duration) -> ActivityOptions {
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_millis(200))
        .maximum_interval(Duration::from_secs(5))
        .maximum_attempts(CALL_ATTEMPTS)
        .build();
    // The provider's own limit comes first, so that its error is reported.
    let start_to_close = timeout + HEARTBEAT_TIMEOUT;
    let limits = ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: timeout + TRANSIT_ALLOWANCE,
        start_to_close,
    };
    ActivityOptions::with_close_timeouts(limits)
        .heartbeat_timeout(HEARTBEAT_TIMEOUT)
        .task_queue(queue)
        .retry_policy(retry)
        .build()
}

/// Returns the snapshot of a reply, or the text of its refusal.
pub(crate) fn snapshot(reply: Reply) -> Result<Snapshot, String> {
    match reply {
        Reply::Done(snapshot) => Ok(snapshot),
        Reply::Refused(words) => Err(words),
    }
}
