//! Decisions: the handle by which they are asked, answered and withdrawn.
//!
//! `decision/actor.rs` is the actor of one decision: it keeps the timer of its reminder and deadline, and writes the
//! answer together with its effect on the bead or project. `cancel` ends decisions whose subject goes away.

pub(crate) mod actor;
pub(crate) mod cancel;

use crate::caller::Caller;
use crate::decision::actor::DecisionActor;
use crate::error::Error;
use crate::error::Reply;
use crate::persona::PersonasHandle;
use crate::runtime::random;
use crate::runtime::registry::{Affinity, IdlePolicy, Registry};
use crate::services::{Services, deref_to_services};
use arbiter_core::bead::{self, Bead};
use arbiter_core::decision::edit::NewDecision;
use arbiter_core::decision::subject_digest;
use arbiter_core::decision::{self, Decision};
use arbiter_core::kernel::ids::{AgentId, DecisionId};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::Change;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Remaining time reported for a decision without a deadline.
const NO_DEADLINE_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The parts that decisions use.
pub(crate) struct DecisionContext {
    pub(crate) services: Arc<Services>,
    pub(crate) personas: PersonasHandle,
    pub(crate) decisions: Registry<DecisionActor>,
}

deref_to_services!(DecisionContext);

impl DecisionContext {
    pub(crate) fn new(services: Arc<Services>, personas: PersonasHandle) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            services,
            personas,
            decisions: Registry::new(Weak::clone(own), Affinity::Entities, IdlePolicy::Retire),
        })
    }
}

/// Handle of the decisions' actors.
#[derive(Clone)]
pub struct DecisionsHandle(pub(crate) Arc<DecisionContext>);

impl DecisionsHandle {
    /// Asks for a decision.
    ///
    /// # Errors
    /// [`Error::Refused`] for wrong fields, or an unknown project or bead.
    pub async fn create(&self, caller: &Caller, new: NewDecision) -> Result<Decision, Error> {
        let now = self.0.clock.now();
        let id = match &new.id {
            Some(text) => DecisionId::parse(text).map_err(|e| Refusal::field("id", e.to_string()))?,
            None => DecisionId::from_random(random::bytes16()),
        };
        let requester_id = new.requester_id.or(Some(caller.name.clone()));
        let mut new = NewDecision { requester_id, ..new };
        if let Some(id) = &new.bead_id {
            let bead = self.0.store.bead(id.clone()).await?;
            let unknown = || Refusal::field("bead_id", format!("no bead has the id {id}"));
            // A bead that the caller does not reach is as good as not there.
            let is_known = |bead: &Bead| bead::authorize::access(&caller.authority, bead).is_ok();
            let bead = bead.filter(is_known).ok_or_else(unknown)?;
            if bead.project_id.as_str() != new.project_id {
                let detail = format!("bead {id} belongs to project {}", bead.project_id);
                return Err(Refusal::field("bead_id", detail).into());
            }
            new.subject_digest = Some(subject_digest::of_bead(&bead));
        }
        let decision = new.build(id, now, self.0.settings.decision_timeout)?;
        let mut unit = caller.unit(now, "decisions");
        unit.create(&decision, Change::Decision);
        let this = self.clone();
        let work = async move {
            this.0.store.commit(unit).await?;
            this.ensure_started(&decision.id);
            Ok(decision)
        };
        self.0.run_to_completion("the creation of a decision", work).await
    }

    /// Answers a decision as a person; its bead changes in the same transaction.
    ///
    /// # Errors
    /// As [`DecisionsHandle::answer`].
    pub async fn decide(
        &self,
        caller: &Caller,
        id: &DecisionId,
        decision: String,
        rationale: Option<String>,
    ) -> Result<Decision, Error> {
        let given = DecisionAnswer { decision, rationale, ..DecisionAnswer::default() };
        self.answer(caller, id, given).await
    }

    /// Answers a decision; its bead changes in the same transaction.
    ///
    /// # Errors
    /// [`Error::Refused`] for an answer that is not offered, a decision that has ended, something that was changed
    /// since it was asked, or an agent that may not decide this.
    pub async fn answer(
        &self,
        caller: &Caller,
        id: &DecisionId,
        given: DecisionAnswer,
    ) -> Result<Decision, Error> {
        self.end(caller, id, DecisionRequest::Resolve(given)).await
    }

    /// Ends an expired decision, for an external timer; otherwise returns the remaining time.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown decision.
    pub async fn expire(&self, id: &DecisionId) -> Result<(Decision, Option<Duration>), Error> {
        let decision = self.0.store.decision(id.to_string()).await?;
        let decision = decision.ok_or_else(|| Refusal::not_found("decision", id.as_str()))?;
        let now = self.0.clock.now();
        if decision.status != decision::Status::Pending {
            return Ok((decision, None));
        }
        if !decision.is_overdue(now) {
            // One that never ends is asked about now and then.
            let left = decision.deadline.map_or(NO_DEADLINE_WAIT, |at| at.since(now));
            return Ok((decision, Some(left)));
        }
        match self.end(&Caller::system(), id, DecisionRequest::Expire).await {
            Ok(after) => Ok((after, None)),
            // Another caller was faster, or the deadline was moved.
            Err(Error::Refused(refusal)) => match self.0.store.decision(id.to_string()).await? {
                Some(after) if after.status != decision::Status::Pending => Ok((after, None)),
                _ => Err(refusal.into()),
            },
            Err(error) => Err(error),
        }
    }

    /// Withdraws a decision.
    ///
    /// # Errors
    /// [`Error::Refused`] for a decision that has ended.
    pub async fn cancel(&self, caller: &Caller, id: &DecisionId, reason: String) -> Result<Decision, Error> {
        self.end(caller, id, DecisionRequest::Cancel(reason)).await
    }

    async fn end(
        &self,
        caller: &Caller,
        id: &DecisionId,
        request: DecisionRequest,
    ) -> Result<Decision, Error> {
        let caller = caller.clone();
        self.0.decisions.ask(id.as_str(), |answer| Command::End { caller, request, answer }).await
    }

    /// Starts the actor of a new decision, so that its deadline is watched.
    pub(crate) fn ensure_started(&self, id: &DecisionId) {
        self.0.decisions.ensure_started(id.as_str());
    }

    /// Makes the actor of a decision read its row again after an outside change.
    pub(crate) fn recheck(&self, id: &DecisionId) {
        self.0.decisions.wake(id.as_str(), "due", Command::Due);
    }
}

/// Answer to a decision, with its decider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecisionAnswer {
    pub decision: String,
    pub rationale: Option<String>,
    /// Digest of the subject as the decider has seen it; `None`: as at the time of the request.
    pub subject_digest: Option<String>,
    /// The agent that answers; none: a person does.
    pub agent: Option<AgentId>,
}

/// Operation on a decision.
pub(crate) enum DecisionRequest {
    Resolve(DecisionAnswer),
    Cancel(String),
    Remind,
    Expire,
}

/// Command of the decision's actor.
#[allow(
    clippy::large_enum_variant,
    reason = "the mailbox holds few commands, nearly all of them the large one"
)]
pub(crate) enum Command {
    End { caller: Caller, request: DecisionRequest, answer: Reply<Decision> },
    Due,
}
