//! The actor of one decision: its answer, its deadline, and what both do to the bead it is about.
//!
//! Owns the deadline's timer. Talks to the store; the bead it frees or blocks is written in the same unit.
//! Restart: at once; the timer is armed anew from the stored deadline.

use crate::bead_run::play;
use crate::caller::Caller;
use crate::commit::{check_revision, until_fresh};
use crate::entropy;
use crate::fault::Fault;
use crate::shared::Shared;
use crate::shell::{Role, Scope};
use arbiter_core::decision::{self, Decision, Status};
use arbiter_core::decision_change::NewDecision;
use arbiter_core::ids::DecisionId;
use arbiter_core::refusal::Refusal;
use arbiter_store::Change;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// The name of the deadline's timer.
const DEADLINE: &str = "deadline";

/// How others reach decisions.
#[derive(Clone)]
pub struct DecisionsHandle(pub(crate) Arc<Shared>);

type Answer = oneshot::Sender<Result<Decision, Fault>>;

impl DecisionsHandle {
    /// Asks for a decision.
    ///
    /// # Errors
    /// [`Fault::Refused`] for wrong fields, or an unknown project or bead.
    pub async fn create(&self, caller: &Caller, new: NewDecision) -> Result<Decision, Fault> {
        let now = self.0.clock.now();
        let id = match &new.id {
            Some(text) => DecisionId::chosen(text).map_err(|e| Refusal::field("id", e.to_string()))?,
            None => DecisionId::from_random(entropy::bytes16()),
        };
        let new = NewDecision { requester_id: new.requester_id.or(Some(caller.name.clone())), ..new };
        let decision = new.build(id, now, self.0.settings.decision_timeout)?;
        if let Some(bead) = &decision.bead_id
            && self.0.store.bead(bead.to_string()).await?.is_none()
        {
            return Err(Refusal::field("bead_id", format!("no bead has the id {bead}")).into());
        }
        let mut unit = caller.unit(now, "decisions");
        unit.create(&decision, Change::Decision);
        self.0.store.commit(unit).await?;
        self.wake(&decision.id);
        Ok(decision)
    }

    /// Answers a decision; the bead it is about moves in the same moment.
    ///
    /// # Errors
    /// [`Fault::Refused`] for an answer that is not offered, or a decision that has ended.
    pub async fn decide(
        &self,
        caller: &Caller,
        id: &DecisionId,
        decision: String,
        rationale: Option<String>,
    ) -> Result<Decision, Fault> {
        let command = decision::Command::Resolve { decision, rationale, decider_id: caller.name.clone() };
        self.end(caller, id, command).await
    }

    /// Withdraws a decision.
    ///
    /// # Errors
    /// [`Fault::Refused`] for a decision that has ended.
    pub async fn cancel(&self, caller: &Caller, id: &DecisionId, reason: String) -> Result<Decision, Fault> {
        self.end(caller, id, decision::Command::Cancel { reason }).await
    }

    async fn end(
        &self,
        caller: &Caller,
        id: &DecisionId,
        command: decision::Command,
    ) -> Result<Decision, Fault> {
        let caller = caller.clone();
        let ask = |answer| Command::End { caller, command, answer };
        self.0.decisions.ask(&self.0, id.as_str(), ask).await
    }

    /// Starts the actor of a new decision, so that its deadline is watched.
    pub(crate) fn wake(&self, id: &DecisionId) {
        self.0.decisions.wake(&self.0, id.as_str());
    }
}

/// What a decision can be told.
pub(crate) enum Command {
    End { caller: Caller, command: decision::Command, answer: Answer },
    Due,
}

/// The actor of one decision.
pub(crate) struct DecisionActor {
    scope: Scope<Self>,
}

impl Role for DecisionActor {
    type Command = Command;
    const KIND: &'static str = "decision";

    fn new(scope: Scope<Self>) -> Self {
        Self { scope }
    }

    async fn start(&mut self) {
        match self.row().await {
            Ok(decision) => self.watch(&decision),
            // Whoever asks next is told why.
            Err(_) => self.scope.pin.store(false, Ordering::Release),
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::End { caller, command, answer } => {
                // An answer that nobody waits for any more was still given to the store.
                let _ = answer.send(self.end(&caller, &command).await);
            }
            Command::Due => {
                let outcome = self.end(&Caller::system(), &decision::Command::Expire).await;
                if let (Err(_), Ok(decision)) = (&outcome, self.row().await) {
                    self.watch(&decision);
                }
            }
        }
    }
}

impl DecisionActor {
    async fn row(&self) -> Result<Decision, Fault> {
        let found = self.scope.shared.store.decision(self.scope.id.clone()).await?;
        found.ok_or_else(|| Refusal::not_found("decision", &self.scope.id).into())
    }

    fn watch(&self, decision: &Decision) {
        let deadline = decision.deadline.filter(|_| decision.status == Status::Pending);
        self.scope.pin.store(deadline.is_some(), Ordering::Release);
        match deadline {
            Some(at) => self.scope.timers.set(DEADLINE, at, Command::Due),
            None => self.scope.timers.cancel(DEADLINE),
        }
    }

    async fn end(&self, caller: &Caller, command: &decision::Command) -> Result<Decision, Fault> {
        let shared = &self.scope.shared;
        let ended = until_fresh(async || {
            let decision = self.row().await?;
            check_revision(caller, &decision)?;
            let mut unit = caller.unit(shared.clock.now(), "decisions");
            let happenings = decision.decide(command, unit.at)?;
            let ended = unit.happen(&decision, &happenings, Change::Decision);
            if let Some(bead) = &ended.bead_id
                && let Some((bead, facts, _)) = shared.store.bead_state(bead.to_string()).await?
            {
                play(&bead, &ended.effect(bead.status), &facts, &mut unit)?;
            }
            shared.store.commit(unit).await?;
            Ok(ended)
        })
        .await?;
        self.watch(&ended);
        Ok(ended)
    }
}
