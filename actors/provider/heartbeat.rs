//! The heartbeat of one provider: a separate actor, so that a hanging provider delays no other.
//!
//! Owns the time of the next beat. Asks its provider for the way there and tells it what was found.
//! Restart: at once, with a beat.

use crate::actor_kind::ActorKind;
use crate::error::Error;
use crate::error::Reply;
use crate::provider::ProviderContext;
use crate::provider::ProvidersHandle;
use crate::provider::call_failure::CallFailure;
use crate::provider::call_failure::error_kind;
use crate::runtime::cell::{Behavior, BehaviorContext};
use crate::runtime::random;
use arbiter_core::kernel::call::HealthSignal;
use arbiter_core::kernel::ids::ProviderId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::model::catalog::OfferedModel;
use arbiter_core::provider::{HeartbeatResult, Provider, Status};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The name of the timer of the next beat.
const NEXT: &str = "next";
/// Jitter of a heartbeat, in percent of the interval.
const JITTER_PERCENT: u32 = 10;

/// Handle of the heartbeats' actors.
#[derive(Clone)]
pub(crate) struct HeartbeatsHandle(pub(crate) Arc<ProviderContext>);

impl HeartbeatsHandle {
    /// Starts the heartbeat of a provider, with a first beat.
    pub(crate) fn ensure_started(&self, id: &ProviderId) {
        self.0.heartbeats.ensure_started(id.as_str());
    }

    /// Beats now and returns what was found.
    pub(crate) async fn heartbeat(&self, id: &ProviderId) -> Result<Provider, Error> {
        self.0.heartbeats.ask(id.as_str(), |answer| Command::Heartbeat(Some(answer))).await
    }

    /// Sends a heartbeat for an external timer; the own timer takes over after two silent intervals.
    pub(crate) async fn beat_scheduled(&self, id: &ProviderId) -> Result<Provider, Error> {
        self.0.heartbeats.ask(id.as_str(), Command::Scheduled).await
    }

    /// Beats without being waited for.
    pub(crate) fn beat_soon(&self, id: &ProviderId) {
        self.0.heartbeats.wake(id.as_str(), "heartbeat", Command::Heartbeat(None));
    }

    /// Every provider beats.
    pub(crate) fn beat_all(&self) {
        self.0.heartbeats.tell_all(|| Command::Heartbeat(None));
    }
}

/// Command of the heartbeat's actor.
pub(crate) enum Command {
    Heartbeat(Option<Reply<Provider>>),
    Scheduled(Reply<Provider>),
    Due(u64),
}

/// The heartbeat of one provider.
pub(crate) struct HeartbeatActor {
    context: BehaviorContext<Self>,
    id: ProviderId,
    planned: u64,
}

impl Behavior for HeartbeatActor {
    type Command = Command;
    type Host = ProviderContext;
    const KIND: ActorKind = ActorKind::Heartbeat;

    fn new(context: BehaviorContext<Self>) -> Self {
        let id = ProviderId::from_trusted(context.id.clone());
        Self { context, id, planned: 0 }
    }

    async fn start(&mut self) {
        self.context.pin.store(true, Ordering::Release);
        self.context.timers.set(NEXT, self.context.shared.clock.now(), Command::Due(self.planned));
    }

    async fn handle(&mut self, command: Command) {
        let (answer, intervals) = match command {
            Command::Heartbeat(answer) => (answer, 1),
            Command::Scheduled(answer) => (Some(answer), 2),
            // A request came before this timer event and has scheduled another heartbeat.
            Command::Due(planned) if planned != self.planned => return,
            Command::Due(_) => (None, 1),
        };
        let outcome = self.heartbeat().await;
        let is_gone = matches!(&outcome, Err(Error::Refused(Refusal::NotFound { .. })));
        self.context.pin.store(!is_gone, Ordering::Release);
        if is_gone {
            self.context.timers.clear();
        } else {
            self.plan(intervals);
        }
        if let Some(answer) = answer {
            answer.send(outcome);
        }
    }
}

impl HeartbeatActor {
    fn plan(&mut self, intervals: u32) {
        let interval = self.context.shared.settings.heartbeat_interval * intervals;
        let spread = (interval * JITTER_PERCENT / 100).as_nanos().max(1);
        let extra = u128::from(random::number()) % spread;
        let pause = interval + Duration::from_nanos(u64::try_from(extra).unwrap_or(0));
        self.planned += 1;
        self.context.timers.set(
            NEXT,
            self.context.shared.clock.now().plus(pause),
            Command::Due(self.planned),
        );
    }

    async fn heartbeat(&self) -> Result<Provider, Error> {
        let shared = &self.context.shared;
        let providers = ProvidersHandle(Arc::clone(shared));
        // Before the way is made, which may use a key.
        let row = providers.row(&self.id).await?;
        if row.status == Status::Disabled {
            let detail = format!("provider {} is disabled", self.id);
            return Err(Refusal::conflict(ProblemCode::ProviderDisabled, detail).into());
        }
        match shared.open_vault.check_keys_of(&row) {
            Ok(()) => {}
            // Skipped, not failed: the vault's state says nothing about the provider.
            Err(error @ Error::Vault(_)) => return Err(error),
            Err(error) => {
                let heartbeat = failed_heartbeat(error.to_string(), 0);
                return providers.record_heartbeat(&self.id, heartbeat).await;
            }
        }
        let authorized_client =
            match providers.authorized_client(&self.id, format!("heartbeat:{}", self.id)).await {
                Ok(authorized_client) => authorized_client,
                // An endpoint that the rules no longer allow, or certificates that cannot be used, are down like
                // any other.
                Err(error @ (Error::Refused(Refusal::Invalid(_)) | Error::Provider(_))) => {
                    let heartbeat = failed_heartbeat(error.to_string(), 0);
                    return providers.record_heartbeat(&self.id, heartbeat).await;
                }
                Err(error) => return Err(error),
            };
        let median_ms = shared.store.median_latency(self.id.to_string()).await?;
        let (outcome, latency_ms) = authorized_client.models(shared, "heartbeat").await;
        let heartbeat = match outcome {
            Ok(models) => {
                let models = models.into_iter();
                let models = models
                    .map(|model| OfferedModel { id: model.id, context_window: model.context_window })
                    .collect();
                HeartbeatResult::Answered { latency_ms, median_ms, models }
            }
            Err(CallFailure::Call(error)) => {
                let health_signal = error_kind(&error).heartbeat_signal();
                HeartbeatResult::Failed { error: error.to_string(), health_signal, latency_ms }
            }
            // The key went away or was bound elsewhere in this moment.
            Err(CallFailure::Error(Error::Refused(refusal))) => {
                failed_heartbeat(refusal.to_string(), latency_ms)
            }
            Err(CallFailure::Error(error)) => return Err(error),
        };
        providers.record_heartbeat(&self.id, heartbeat).await
    }
}

/// A beat that could not be made, or not to its end.
fn failed_heartbeat(error: String, latency_ms: u64) -> HeartbeatResult {
    HeartbeatResult::Failed { error, health_signal: HealthSignal::Failure, latency_ms }
}
