//! The actor of one decision: its answer, its reminders, its deadline, and what its end does to the bead or the
//! project that it is about.
//!
//! Owns the timer of what is due next. Talks to the store; what the end moves is written in the same unit.
//! Restart: at once; the timer is armed anew from the stored times.

use crate::bead::comment;
use crate::bead_run::play;
use crate::caller::Caller;
use crate::commit::{check_revision, until_fresh};
use crate::entropy;
use crate::fault::Fault;
use crate::persona::PersonasHandle;
use crate::shared::Shared;
use crate::shell::{Role, Scope};
use arbiter_core::bead::Bead;
use arbiter_core::decision::{self, Decision, Purpose, Sight};
use arbiter_core::decision_change::NewDecision;
use arbiter_core::ids::{AgentId, DecisionId};
use arbiter_core::refusal::Refusal;
use arbiter_core::{autonomy, project, subject};
use arbiter_store::{Change, Unit};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// The name of the timer of the next reminder, or of the deadline.
const NEXT: &str = "next";
/// The pause before a store that failed is asked again.
const AGAIN: Duration = Duration::from_secs(1);

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
        let requester_id = new.requester_id.or(Some(caller.name.clone()));
        let mut new = NewDecision { requester_id, ..new };
        if let Some(id) = &new.bead_id {
            let bead = self.0.store.bead(id.clone()).await?;
            let unknown = || Refusal::field("bead_id", format!("no bead has the id {id}"));
            let bead = bead.ok_or_else(unknown)?;
            if bead.project_id.as_str() != new.project_id {
                let detail = format!("bead {id} belongs to project {}", bead.project_id);
                return Err(Refusal::field("bead_id", detail).into());
            }
            new.subject_digest = Some(subject::of_bead(&bead));
        }
        let decision = new.build(id, now, self.0.settings.decision_timeout)?;
        let mut unit = caller.unit(now, "decisions");
        unit.create(&decision, Change::Decision);
        self.0.store.commit(unit).await?;
        self.wake(&decision.id);
        Ok(decision)
    }

    /// Answers a decision as a person; the bead it is about moves in the same moment.
    ///
    /// # Errors
    /// As [`DecisionsHandle::answer`].
    pub async fn decide(
        &self,
        caller: &Caller,
        id: &DecisionId,
        decision: String,
        rationale: Option<String>,
    ) -> Result<Decision, Fault> {
        let given = GivenAnswer { decision, rationale, ..GivenAnswer::default() };
        self.answer(caller, id, given).await
    }

    /// Answers a decision; the bead it is about moves in the same moment.
    ///
    /// # Errors
    /// [`Fault::Refused`] for an answer that is not offered, a decision that has ended, something that was changed
    /// since it was asked, or an agent that may not decide this.
    pub async fn answer(
        &self,
        caller: &Caller,
        id: &DecisionId,
        given: GivenAnswer,
    ) -> Result<Decision, Fault> {
        self.end(caller, id, Wish::Resolve(given)).await
    }

    /// Withdraws a decision.
    ///
    /// # Errors
    /// [`Fault::Refused`] for a decision that has ended.
    pub async fn cancel(&self, caller: &Caller, id: &DecisionId, reason: String) -> Result<Decision, Fault> {
        self.end(caller, id, Wish::Cancel(reason)).await
    }

    async fn end(&self, caller: &Caller, id: &DecisionId, wish: Wish) -> Result<Decision, Fault> {
        let caller = caller.clone();
        self.0.decisions.ask(&self.0, id.as_str(), |answer| Command::End { caller, wish, answer }).await
    }

    /// Starts the actor of a new decision, so that its deadline is watched.
    pub(crate) fn wake(&self, id: &DecisionId) {
        self.0.decisions.wake(&self.0, id.as_str());
    }

    /// Lets the actor of a decision look at its row: it was changed by somebody else.
    pub(crate) fn look_again(&self, id: &DecisionId) {
        self.0.decisions.tell(&self.0, id.as_str(), Command::Due);
    }
}

/// An answer, and by whom it is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenAnswer {
    /// The answer.
    pub decision: String,
    /// Why.
    pub rationale: Option<String>,
    /// The digest of what it is about, as whoever answers has seen it; none: as it was when it was asked.
    pub subject_digest: Option<String>,
    /// The agent that answers; none: a person does.
    pub agent: Option<AgentId>,
}

/// What is wanted of a decision.
pub(crate) enum Wish {
    Resolve(GivenAnswer),
    Cancel(String),
    Remind,
    Expire,
}

/// What a decision can be told.
pub(crate) enum Command {
    End { caller: Caller, wish: Wish, answer: Answer },
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
            Command::End { caller, wish, answer } => {
                // An answer that nobody waits for any more was still given to the store.
                let _ = answer.send(self.end(&caller, &wish).await);
            }
            Command::Due => {
                if let Err(fault) = self.due().await {
                    tracing::warn!(decision = %self.scope.id, %fault, "a decision's time could not be looked at");
                    let again = self.scope.shared.clock.now().plus(AGAIN);
                    self.scope.timers.set(NEXT, again, Command::Due);
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
        let next = decision.next_due();
        self.scope.pin.store(next.is_some(), Ordering::Release);
        match next {
            Some(at) => self.scope.timers.set(NEXT, at, Command::Due),
            None => self.scope.timers.cancel(NEXT),
        }
    }

    /// A part of the time, or all of it, may have passed; the clock may as well have been set back.
    async fn due(&self) -> Result<(), Fault> {
        let decision = self.row().await?;
        let is_late = decision.is_late(self.scope.shared.clock.now());
        let wish = if is_late { Wish::Expire } else { Wish::Remind };
        match self.end(&Caller::system(), &wish).await {
            Ok(_) => {}
            Err(Fault::Refused(_)) => self.watch(&self.row().await?),
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    async fn end(&self, caller: &Caller, wish: &Wish) -> Result<Decision, Fault> {
        let shared = &self.scope.shared;
        let after = until_fresh(async || {
            let decision = self.row().await?;
            check_revision(caller, &decision)?;
            let bead = match &decision.bead_id {
                Some(bead) => shared.store.bead_state(bead.to_string()).await?,
                None => None,
            };
            let now = self.subject(&decision, bead.as_ref().map(|(bead, ..)| bead)).await?;
            let command = self.command(&decision, caller, wish, now).await?;
            let mut unit = caller.unit(shared.clock.now(), "decisions");
            let happenings = decision.decide(&command, unit.at)?;
            let after = unit.happen(&decision, &happenings, Change::Decision);
            if let Some((bead, facts, _)) = &bead {
                play(bead, &after.effect(bead.status), facts, &mut unit)?;
                if let Some(remark) = after.remark() {
                    comment(&mut unit, bead, &caller.name, remark);
                }
            }
            if after.closes_its_project() {
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
    async fn subject(&self, decision: &Decision, bead: Option<&Bead>) -> Result<Option<String>, Fault> {
        if decision.purpose != Purpose::Close {
            return Ok(bead.map(subject::of_bead));
        }
        let project = decision.project_id.to_string();
        let holdings = self.scope.shared.store.holdings(project.clone()).await?;
        Ok(Some(subject::of_project(&project, &holdings)))
    }

    async fn command(
        &self,
        decision: &Decision,
        caller: &Caller,
        wish: &Wish,
        now: Option<String>,
    ) -> Result<decision::Command, Fault> {
        Ok(match wish {
            Wish::Resolve(given) => {
                if let Some(id) = &given.agent {
                    let agent = self.scope.shared.store.agent(id.to_string()).await?;
                    let gone = || Refusal::Forbidden(format!("there is no agent {id} any more"));
                    let agent = agent.ok_or_else(gone)?;
                    let personas = PersonasHandle(Arc::clone(&self.scope.shared));
                    autonomy::check(&agent, personas.autonomy_of(&agent).await?, decision)?;
                }
                decision::Command::Resolve {
                    decision: given.decision.clone(),
                    rationale: given.rationale.clone(),
                    decider_id: caller.name.clone(),
                    sight: Sight { now, seen: given.subject_digest.clone() },
                }
            }
            Wish::Cancel(reason) => decision::Command::Cancel { reason: reason.clone() },
            Wish::Remind => decision::Command::Remind,
            Wish::Expire => decision::Command::Expire { subject: now },
        })
    }

    /// Closes the project that the answer says is to be closed; one that is closed by now stays so.
    async fn close_project(&self, decision: &Decision, unit: &mut Unit) -> Result<(), Fault> {
        let found = self.scope.shared.store.project(decision.project_id.to_string()).await?;
        if let Some(project) = found.filter(|project| project.status != project::Status::Closed) {
            let reason = format!("decision {}", decision.id);
            let happenings = project.decide(&project::Command::CloseAnyway { reason }, unit.at)?;
            unit.happen(&project, &happenings, Change::Project);
        }
        Ok(())
    }
}
