//! The root: receives every failure, counts restarts, escalates crash loops and retires idle actors.
//!
//! Restart: at once; it keeps nothing in memory that matters.

use crate::actor_kind::ActorKind;
use crate::bead::BeadAction;
use crate::caller::Caller;
use crate::context::SharedContext;
use crate::dispatch::dispatcher::DispatcherHandle;
use crate::error::Error;
use crate::retention;
use crate::runtime::cell::{ActorFailure, Behavior, BehaviorContext};
use crate::runtime::registry::SINGLETON_ID;
use arbiter_core::dispatch::assign::DispatchState;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{AgentId, BeadId};
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::restart::RestartVerdict;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{Change, Unit};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The name of the timer that retires idle actors.
const SWEEP: &str = "sweep";
/// The name of the timer of retention.
const RETENTION: &str = "retention";
/// The interval of retention.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// The longest wait for the answer of a thread.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of the actors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorsStatus {
    /// Living actors by kind.
    pub actors: Vec<(String, usize)>,
    /// Restarts by kind since the start.
    pub restarts: Vec<(String, u64)>,
    pub parked: Option<String>,
    pub changed_at: Option<Timestamp>,
    /// Runs in progress.
    pub working: usize,
    pub limit: usize,
}

/// The handle of the orchestrator.
#[derive(Clone)]
pub struct OrchestratorHandle(pub(crate) Arc<SharedContext>);

impl OrchestratorHandle {
    /// Returns the state of the actors.
    ///
    /// # Errors
    /// [`Error::Store`] when the store cannot be read.
    pub async fn status(&self) -> Result<ActorsStatus, Error> {
        let (dispatch_state, changed_at) = self.0.store.dispatch_state().await?;
        let parked = match dispatch_state {
            DispatchState::Parked(reason) => Some(reason),
            DispatchState::Active => None,
        };
        let mut actors = Vec::new();
        let mut restarts = Vec::new();
        for registry in self.0.registries() {
            actors.push((registry.kind().to_string(), registry.living()));
            restarts.push((registry.kind().to_string(), registry.restarts()));
        }
        Ok(ActorsStatus {
            actors,
            restarts,
            parked,
            changed_at,
            working: self.0.runs.runs.len(),
            limit: self.0.settings.max_parallel,
        })
    }

    /// Returns the actors' threads that do not answer within two seconds, by name: something blocks them.
    pub async fn silent_threads(&self) -> Vec<String> {
        self.0.thread_probes.silent(PROBE_TIMEOUT).await
    }

    /// Returns whether dispatching is parked, without reading the store.
    pub fn is_parked(&self) -> bool {
        self.0.dispatch.is_parked.load(Ordering::Relaxed)
    }

    /// Parks dispatching: no work is handed out any more; runs in progress continue.
    ///
    /// # Errors
    /// [`Error::Refused`] when that is so already.
    pub async fn park(&self, caller: &Caller, reason: String) -> Result<(), Error> {
        if let (DispatchState::Parked(why), _) = self.0.store.dispatch_state().await? {
            return Err(Refusal::conflict(
                ProblemCode::SameStatus,
                format!("no work is handed out already: {why}"),
            )
            .into());
        }
        let data = json!({"reason": reason});
        self.set_operation(caller, EventType::SystemParked, data, Some(reason)).await
    }

    /// Resumes dispatching.
    ///
    /// # Errors
    /// [`Error::Refused`] when that is so already.
    pub async fn resume(&self, caller: &Caller) -> Result<(), Error> {
        if let (DispatchState::Active, _) = self.0.store.dispatch_state().await? {
            return Err(Refusal::conflict(ProblemCode::SameStatus, "work is handed out already").into());
        }
        self.set_operation(caller, EventType::SystemResumed, json!({}), None).await?;
        DispatcherHandle(Arc::clone(&self.0.dispatch)).dispatch_now();
        Ok(())
    }

    async fn set_operation(
        &self,
        caller: &Caller,
        kind: EventType,
        data: serde_json::Value,
        parked: Option<String>,
    ) -> Result<(), Error> {
        let mut unit = caller.unit(self.0.clock.now(), "orchestrator");
        let is_parked = parked.is_some();
        unit.emit(NewEvent::of(kind, "system", data)).change(Change::DispatchState(parked));
        self.0.store.commit(unit).await?;
        self.0.dispatch.is_parked.store(is_parked, Ordering::Relaxed);
        Ok(())
    }

    /// Lets the orchestrator handle the failures of actors whenever some arrive.
    pub(crate) async fn forward_failures(self) {
        loop {
            self.0.failures.arrived().await;
            self.0.orchestrator.wake(SINGLETON_ID, "failed", Command::Failed);
        }
    }
}

/// The commands of the orchestrator.
pub(crate) enum Command {
    /// Handles the failures that wait.
    Failed,
    Sweep,
    Retention,
}

/// The orchestrator.
pub(crate) struct OrchestratorActor {
    context: BehaviorContext<Self>,
}

impl Behavior for OrchestratorActor {
    type Command = Command;
    type Host = SharedContext;
    const KIND: ActorKind = ActorKind::Orchestrator;

    fn new(context: BehaviorContext<Self>) -> Self {
        Self { context }
    }

    async fn start(&mut self) {
        self.plan(SWEEP, self.context.shared.settings.idle_retire, Command::Sweep);
        self.plan(RETENTION, Duration::ZERO, Command::Retention);
    }

    async fn handle(&mut self, command: Command) {
        let shared = Arc::clone(&self.context.shared);
        match command {
            Command::Failed => {
                while let Some(failure) = shared.failures.pop() {
                    self.failed(failure).await;
                }
            }
            Command::Sweep => {
                let idle = i64::try_from(shared.settings.idle_retire.as_millis()).unwrap_or(i64::MAX);
                let before = shared.clock.now().as_millis().saturating_sub(idle);
                for registry in shared.registries() {
                    registry.retire(before);
                }
                self.plan(SWEEP, shared.settings.idle_retire, Command::Sweep);
            }
            Command::Retention => {
                if let Err(error) = retention::enforce(&shared).await {
                    tracing::warn!(%error, "old rows could not be deleted");
                }
                self.plan(RETENTION, RETENTION_EVERY, Command::Retention);
            }
        }
    }
}

impl OrchestratorActor {
    fn plan(&self, name: &'static str, after: Duration, command: Command) {
        self.context.timers.set(name, self.context.shared.clock.now().plus(after), command);
    }

    async fn failed(&self, failure: ActorFailure<ActorKind>) {
        let shared = &self.context.shared;
        tracing::error!(
            kind = failure.kind.as_str(),
            id = failure.id,
            message = failure.message,
            "an actor failed"
        );
        count(shared, &failure);
        let mut unit = Unit::new(shared.clock.now(), "system", "orchestrator");
        let given_up = failure.verdict == RestartVerdict::GiveUp;
        let data = json!({"kind": failure.kind.as_str(), "error": failure.message, "given_up": given_up});
        unit.emit(NewEvent::of(EventType::ActorRestarted, failure.id.clone(), data));
        if let Err(error) = shared.store.commit(unit).await {
            tracing::error!(%error, "a restart could not be recorded");
        }
        if given_up && let Err(error) = escalate(shared, &failure).await {
            tracing::error!(kind = failure.kind.as_str(), id = failure.id, %error, "an escalation failed");
        }
    }
}

/// Blocks the entity of an actor in a crash loop.
async fn escalate(shared: &Arc<SharedContext>, failure: &ActorFailure<ActorKind>) -> Result<(), Error> {
    let reason = format!("crash-loop: {}", failure.message);
    match failure.kind {
        ActorKind::Agent => {
            shared.agents.give_up(&AgentId::from_trusted(failure.id.clone()), reason).await?;
        }
        ActorKind::Bead => {
            // The bead's own actor rests until its window has passed; then the block goes through.
            let beads = shared.beads.clone();
            let id = BeadId::from_trusted(failure.id.clone());
            let pause = shared.settings.restart_window + Duration::from_secs(1);
            let rest = shared.clock.sleep_until(shared.clock.now().plus(pause));
            let stopping = shared.stopping_token();
            shared.spawn_tracked(async move {
                tokio::select! {
                    () = rest => {}
                    // The next start finds the bead as it is stored.
                    () = stopping.cancelled_owned() => return,
                }
                let action = BeadAction::Block { reason };
                if let Err(error) = beads.act(&Caller::system(), &id, action, None).await {
                    tracing::warn!(%id, %error, "a bead in a crash loop could not be blocked");
                }
            });
        }
        _ => {}
    }
    Ok(())
}

fn count(shared: &SharedContext, failure: &ActorFailure<ActorKind>) {
    for registry in shared.registries() {
        if registry.kind() == failure.kind {
            registry.count_restarts(failure.restarts);
            registry.restart_if_dead(&failure.id);
        }
    }
}
