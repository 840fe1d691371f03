//! The actor of one decision: its answer, its reminders, its deadline, and what its end does to the bead or the
//! project that it is about.
//!
//! Owns the timer of what is due next. Talks to the store; what the end moves is written in the same unit.
//! Restart: at once; the timer is armed anew from the stored times.

use crate::actor_kind::ActorKind;
use crate::bead_unit::apply_commands;
use crate::bead_unit::comment;
use crate::caller::Caller;
use crate::conflict_retry::{check_revision, retry_on_conflict};
use crate::decision::DecisionContext;
use crate::decision::{Command, DecisionRequest};
use crate::error::Error;
use crate::runtime::cell::{Behavior, BehaviorContext};
use arbiter_core::bead::{self, Bead};
use arbiter_core::decision::{self, AnswerContext, Decision, Purpose, authorize};
use arbiter_core::decision::{autonomy, subject_digest};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::project;
use arbiter_store::{Change, Unit};
use std::sync::atomic::Ordering;

/// The name of the timer of the next reminder, or of the deadline.
const NEXT: &str = "next";

/// The actor of one decision.
pub(crate) struct DecisionActor {
    context: BehaviorContext<Self>,
}

impl Behavior for DecisionActor {
    type Command = Command;
    type Host = DecisionContext;
    const KIND: ActorKind = ActorKind::Decision;

    fn new(context: BehaviorContext<Self>) -> Self {
        Self { context }
    }

    async fn start(&mut self) {
        match self.row().await {
            Ok(decision) => self.watch(&decision),
            Err(error) => self.watch_again(&error),
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::End { caller, request, answer } => {
                answer.with(self.end(&caller, &request)).await;
            }
            Command::Due => {
                if let Err(error) = self.due().await {
                    tracing::warn!(decision = %self.context.id, %error, "a decision's time could not be looked at");
                    self.watch_again(&error);
                }
            }
        }
    }
}

impl DecisionActor {
    async fn row(&self) -> Result<Decision, Error> {
        let found = self.context.shared.store.decision(self.context.id.clone()).await?;
        found.ok_or_else(|| Refusal::not_found("decision", &self.context.id).into())
    }

    fn watch(&self, decision: &Decision) {
        let next = decision.next_due();
        self.context.pin.store(next.is_some(), Ordering::Release);
        match next {
            Some(at) => self.context.timers.set(NEXT, at, Command::Due),
            None => self.context.timers.cancel(NEXT),
        }
    }

    /// Looks at the time a moment later when it could not be looked at now; lets the actor of a deleted decision go.
    fn watch_again(&self, error: &Error) {
        let is_gone = matches!(error, Error::Refused(Refusal::NotFound { .. }));
        self.context.pin.store(!is_gone, Ordering::Release);
        if is_gone {
            self.context.timers.cancel(NEXT);
        } else {
            self.context.timers.set_retry(NEXT, Command::Due);
        }
    }

    /// A part of the time, or all of it, may have passed; the clock may as well have been set back.
    async fn due(&self) -> Result<(), Error> {
        let decision = self.row().await?;
        let is_overdue = decision.is_overdue(self.context.shared.clock.now());
        let request = if is_overdue { DecisionRequest::Expire } else { DecisionRequest::Remind };
        match self.end(&Caller::system(), &request).await {
            Ok(_) => {}
            Err(Error::Refused(_)) => self.watch(&self.row().await?),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn end(&self, caller: &Caller, request: &DecisionRequest) -> Result<Decision, Error> {
        let shared = &self.context.shared;
        let after = retry_on_conflict(async || {
            let decision = self.row().await?;
            authorize::access(&caller.authority, &decision)?;
            check_revision(caller, &decision)?;
            let bead = match &decision.bead_id {
                Some(bead) => shared.store.bead_state(bead.to_string()).await?,
                None => None,
            };
            // It may have been moved to a project that the caller does not reach.
            if let Some((bead, ..)) = &bead {
                bead::authorize::access(&caller.authority, bead)?;
            }
            let now = self.subject(&decision, bead.as_ref().map(|(bead, ..)| bead)).await?;
            let command = self.command(&decision, caller, request, now).await?;
            let mut unit = caller.unit(shared.clock.now(), "decisions");
            let happenings = decision.decide(&command, unit.at)?;
            let after = unit.apply(&decision, &happenings, Change::Decision);
            if let Some((bead, claim_context, _)) = &bead {
                apply_commands(bead, &after.bead_commands(bead.status), claim_context, &mut unit)?;
                if let Some(bead_comment) = after.bead_comment() {
                    comment(&mut unit, bead, &caller.name, bead_comment);
                }
            }
            if after.is_project_close_approved() {
                self.close_project(&after, &mut unit).await?;
            }
            shared.store.commit(unit).await?;
            Ok(after)
        })
        .await?;
        self.watch(&after);
        Ok(after)
    }

    /// The digest of what the decision is about, as that is now.
    async fn subject(&self, decision: &Decision, bead: Option<&Bead>) -> Result<Option<String>, Error> {
        if decision.purpose != Purpose::Close {
            return Ok(bead.map(subject_digest::of_bead));
        }
        let project = decision.project_id.to_string();
        let open_work = self.context.shared.store.open_work(project.clone()).await?;
        Ok(Some(subject_digest::of_project(&project, &open_work)))
    }

    async fn command(
        &self,
        decision: &Decision,
        caller: &Caller,
        request: &DecisionRequest,
        now: Option<String>,
    ) -> Result<decision::Command, Error> {
        Ok(match request {
            DecisionRequest::Resolve(given) => {
                if let Some(id) = &given.agent {
                    let agent = self.context.shared.store.agent(id.to_string()).await?;
                    let gone = || Refusal::Forbidden(format!("there is no agent {id} any more"));
                    let agent = agent.ok_or_else(gone)?;
                    let personas = self.context.shared.personas.clone();
                    autonomy::check(&agent, personas.autonomy_of(&agent).await?, decision)?;
                }
                decision::Command::Resolve {
                    decision: given.decision.clone(),
                    rationale: given.rationale.clone(),
                    decider_id: caller.name.clone(),
                    context: AnswerContext { now, seen: given.subject_digest.clone() },
                }
            }
            DecisionRequest::Cancel(reason) => decision::Command::Cancel { reason: reason.clone() },
            DecisionRequest::Remind => decision::Command::Remind,
            DecisionRequest::Expire => decision::Command::Expire { subject: now },
        })
    }

    /// Closes the project that the answer says is to be closed; one that is closed by now stays so.
    async fn close_project(&self, decision: &Decision, unit: &mut Unit) -> Result<(), Error> {
        let found = self.context.shared.store.project(decision.project_id.to_string()).await?;
        if let Some(project) = found.filter(|project| project.status != project::Status::Closed) {
            let reason = format!("decision {}", decision.id);
            let happenings = project.decide(&project::Command::ForceClose { reason }, unit.at)?;
            unit.apply(&project, &happenings, Change::Project);
        }
        Ok(())
    }
}
