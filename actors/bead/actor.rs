//! The actor of one bead: claims, leases, endings and changes, one at a time.
//!
//! Owns nothing but the timer of the bead's lease: the row, the lease and the agent are read from the
//! store and written in one unit, with the revisions they were decided on. Talks to the store, and tells
//! agents that they have work. Restart: at once; the timer is armed anew from the stored lease.

use crate::actor_kind::ActorKind;
use crate::bead::BeadContext;
use crate::bead::release::{self, ReleaseReason};
use crate::bead::{BeadAction, ClaimedBead, Command, LeaseGrant, detail, edge_event};
use crate::bead_unit::comment;
use crate::caller::Caller;
use crate::conflict_retry::{check_revision, retry_on_conflict};
use crate::decision::cancel as decision_cancel;
use crate::error::Error;
use crate::runtime::cell::{Behavior, BehaviorContext};
use crate::runtime::random;
use arbiter_core::agent::{self, Agent, Kind};
use arbiter_core::bead::edit::Edge;
use arbiter_core::bead::{self, Bead, ClaimContext, Claimant, Status, authorize};
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::AgentId;
use arbiter_core::kernel::lease::{self, Lease};
use arbiter_core::kernel::limits;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{BeadDetail, Change, Comment, Unit, Write};
use serde_json::json;
use std::sync::atomic::Ordering;

/// The name of the lease's timer.
const LEASE_TIMER: &str = "lease";

/// The actor of one bead.
pub(crate) struct BeadActor {
    pub(crate) context: BehaviorContext<Self>,
}

impl Behavior for BeadActor {
    type Command = Command;
    type Host = BeadContext;
    const KIND: ActorKind = ActorKind::Bead;

    fn new(context: BehaviorContext<Self>) -> Self {
        Self { context }
    }

    async fn start(&mut self) {
        match self.state().await {
            Ok((_, _, lease)) => self.watch(lease.as_ref()),
            Err(error) => self.watch_again(&error),
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Claim { caller, claimant, ttl_sec, answer } => {
                answer.with(self.claim(&caller, &claimant, ttl_sec)).await;
            }
            Command::Heartbeat { lease_token, answer } => {
                answer.with(self.heartbeat(&lease_token)).await;
            }
            Command::Act { caller, action, lease_token, answer } => {
                answer.with(self.act(&caller, &action, lease_token.as_deref())).await;
            }
            Command::Edit { caller, edit, answer } => {
                answer.with(self.edit(&caller, &edit)).await;
            }
            Command::Edges { caller, add, remove, lease_token, answer } => {
                answer.with(self.edges(&caller, &add, &remove, lease_token.as_deref())).await;
            }
            Command::Comment { caller, text, answer } => {
                answer.with(self.comment(&caller, &text)).await;
            }
            Command::Delete { caller, answer } => {
                answer.with(self.delete(&caller)).await;
            }
            Command::EndRun { end, answer } => {
                answer.with(self.end_run(&end)).await;
            }
            Command::LeaseDue => {
                if let Err(error) = self.expire().await {
                    tracing::warn!(bead = %self.context.id, %error, "an expired lease could not be ended");
                    self.watch_again(&error);
                }
            }
        }
    }
}

impl BeadActor {
    pub(crate) async fn state(&self) -> Result<(Bead, ClaimContext, Option<Lease>), Error> {
        let found = self.context.shared.store.bead_state(self.context.id.clone()).await?;
        found.ok_or_else(|| Refusal::not_found("bead", &self.context.id).into())
    }

    pub(crate) fn unit(&self, caller: &Caller) -> Unit {
        caller.unit(self.context.shared.clock.now(), "beads")
    }

    pub(crate) async fn commit(&self, unit: Unit) -> Result<(), Error> {
        if !unit.is_empty() {
            self.context.shared.store.commit(unit).await?;
        }
        Ok(())
    }

    pub(crate) async fn detail(&self) -> Result<BeadDetail, Error> {
        detail(&self.context.shared.store, &self.context.id).await
    }

    /// Arms the timer of a live lease, or lets the actor go when there is none.
    pub(crate) fn watch(&self, lease: Option<&Lease>) {
        self.context.pin.store(lease.is_some(), Ordering::Release);
        match lease {
            Some(lease) => self.context.timers.set(LEASE_TIMER, lease.expires_at, Command::LeaseDue),
            None => self.context.timers.cancel(LEASE_TIMER),
        }
    }

    /// Looks at the lease a moment later when it could not be looked at now; lets the actor of a deleted bead go.
    fn watch_again(&self, error: &Error) {
        if matches!(error, Error::Refused(Refusal::NotFound { .. })) {
            return self.watch(None);
        }
        self.context.pin.store(true, Ordering::Release);
        self.context.timers.set_retry(LEASE_TIMER, Command::LeaseDue);
    }

    async fn claim(&self, caller: &Caller, claimant: &Claimant, ttl_sec: u64) -> Result<ClaimedBead, Error> {
        let token = random::secret_text();
        let (lease, kind) = retry_on_conflict(async || {
            let (bead, claim_context, _) = self.state().await?;
            authorize::access(&caller.authority, &bead)?;
            check_revision(caller, &bead)?;
            let mut unit = self.unit(caller);
            let happenings = bead.decide(&bead::Command::Claim(claimant.clone()), &claim_context, unit.at)?;
            unit.apply(&bead, &happenings, Change::Bead);
            let held = self.take(caller, &mut unit, &bead, claimant, ttl_sec, &token).await?;
            self.commit(unit).await?;
            Ok(held)
        })
        .await?;
        self.begin_hold(lease.as_ref(), kind, &token);
        let lease = lease.map(|lease| LeaseGrant { token, expires_at: lease.expires_at });
        Ok(ClaimedBead { bead: self.detail().await?, lease })
    }

    /// Adds a claim's lease and its agent's assignment to a unit; a person has neither.
    pub(crate) async fn take(
        &self,
        caller: &Caller,
        unit: &mut Unit,
        bead: &Bead,
        claimant: &Claimant,
        ttl_sec: u64,
        token: &str,
    ) -> Result<(Option<Lease>, Option<Kind>), Error> {
        let Claimant::Agent(id) = claimant else { return Ok((None, None)) };
        let agent = self.claiming_agent(caller, id, bead).await?;
        let assigned = agent.decide(&agent::Command::Assign(bead.id.clone()))?;
        unit.apply(&agent, &assigned, Change::Agent);
        let expires_at = unit.at.plus(std::time::Duration::from_secs(ttl_sec));
        let token_digest = lease::digest(token);
        let lease =
            Lease { bead_id: bead.id.clone(), agent_id: id.clone(), token_digest, ttl_sec, expires_at };
        unit.change(Change::PutLease(lease.clone()));
        Ok((Some(lease), Some(agent.kind)))
    }

    /// Arms the lease's timer after a committed claim, and lets an agent of kind `llm` begin.
    pub(crate) fn begin_hold(&self, lease: Option<&Lease>, kind: Option<Kind>, token: &str) {
        self.watch(lease);
        if let (Some(lease), Some(Kind::Llm)) = (lease, kind) {
            self.context.shared.begin_run(&lease.agent_id, &lease.bead_id, token.to_owned());
        }
    }

    /// Returns an agent as far as the caller may know of it: a foreign one is as good as not there.
    pub(crate) async fn known_agent(&self, caller: &Caller, id: &str) -> Result<Option<Agent>, Error> {
        let found = self.context.shared.store.agent(id.to_owned()).await?;
        Ok(found.filter(|agent| agent::authorize::read(&caller.authority, agent).is_ok()))
    }

    async fn claiming_agent(&self, caller: &Caller, id: &AgentId, bead: &Bead) -> Result<Agent, Error> {
        let found = self.known_agent(caller, id.as_str()).await?;
        let agent = found.ok_or_else(|| Refusal::field("agent_id", format!("no agent has the id {id}")))?;
        if agent.project_id.as_ref().is_some_and(|project| *project != bead.project_id) {
            let detail = format!("agent {id} works for another project than bead {}", bead.id);
            return Err(Refusal::conflict(ProblemCode::OtherProject, detail).into());
        }
        Ok(agent)
    }

    async fn heartbeat(&self, token: &str) -> Result<LeaseGrant, Error> {
        let (bead, _, lease) = self.state().await?;
        lease::check_token(lease.as_ref(), Some(token), &bead.id)?;
        let now = self.context.shared.clock.now();
        let Some(lease) = lease.map(|lease| lease.renewed(now)) else {
            return Err(
                Refusal::conflict(ProblemCode::StaleLease, format!("bead {} has no lease", bead.id)).into()
            );
        };
        let mut unit = Unit::new(now, lease.agent_id.to_string(), "beads");
        unit.change(Change::RenewLease(lease.clone()));
        self.commit(unit).await?;
        self.watch(Some(&lease));
        Ok(LeaseGrant { token: token.to_owned(), expires_at: lease.expires_at })
    }

    async fn act(
        &self,
        caller: &Caller,
        action: &BeadAction,
        token: Option<&str>,
    ) -> Result<BeadDetail, Error> {
        if let BeadAction::Escalate { reason } = action {
            self.escalate(caller, reason, token).await?;
            return self.detail().await;
        }
        retry_on_conflict(async || {
            let (bead, claim_context, lease) = self.state().await?;
            authorize::act(&caller.authority, &bead, token)?;
            check_revision(caller, &bead)?;
            lease::check_token(lease.as_ref(), token, &bead.id)?;
            let (command, release_reason) = plan(action);
            let mut unit = self.unit(caller);
            let happenings = bead.decide(&command, &claim_context, unit.at)?;
            let after = unit.apply(&bead, &happenings, Change::Bead);
            if bead.status == Status::InProgress && after.status != Status::InProgress {
                release::end(
                    &self.context.shared.store,
                    &mut unit,
                    &bead,
                    lease.as_ref(),
                    &release_reason,
                    None,
                )
                .await?;
            }
            self.commit(unit).await?;
            if bead.status == Status::InProgress {
                self.release_hold(lease.as_ref());
            }
            Ok(())
        })
        .await?;
        self.detail().await
    }

    /// Cleans up after an external release: clears the timer and cancels the run.
    pub(crate) fn release_hold(&self, lease: Option<&Lease>) {
        self.watch(None);
        if let Some(lease) = lease {
            self.context.shared.runs.abort(&lease.agent_id, &lease.bead_id);
        }
    }

    async fn edges(
        &self,
        caller: &Caller,
        add: &[Edge],
        remove: &[Edge],
        token: Option<&str>,
    ) -> Result<BeadDetail, Error> {
        let (bead, _, lease) = self.state().await?;
        authorize::write(&caller.authority, &bead, token)?;
        check_revision(caller, &bead)?;
        lease::check_token(lease.as_ref(), token, &bead.id)?;
        let mut unit = self.unit(caller);
        add_edges(&mut unit, &bead, add, remove);
        self.commit(unit).await?;
        self.detail().await
    }

    async fn comment(&self, caller: &Caller, text: &str) -> Result<Comment, Error> {
        if text.trim().is_empty() || text.len() > limits::MAX_COMMENT {
            return Err(Refusal::field("comment", limits::must_have_bytes(&(1..=limits::MAX_COMMENT))).into());
        }
        let (bead, _, _) = self.state().await?;
        authorize::access(&caller.authority, &bead)?;
        let mut unit = self.unit(caller);
        let comment = comment(&mut unit, &bead, &caller.name, text.to_owned());
        self.commit(unit).await?;
        Ok(comment)
    }

    async fn delete(&self, caller: &Caller) -> Result<(), Error> {
        let shared = &self.context.shared;
        let withdrawn = retry_on_conflict(async || {
            let (bead, _, lease) = self.state().await?;
            authorize::access(&caller.authority, &bead)?;
            check_revision(caller, &bead)?;
            if lease.is_some() || bead.status == Status::InProgress {
                let detail = format!("bead {} is held: release it first", bead.id);
                return Err(Refusal::conflict(ProblemCode::BeadHeld, detail).into());
            }
            let mut unit = self.unit(caller);
            let about = shared.store.decisions_of(bead.id.to_string()).await?;
            let why = |_: &_| format!("bead {} was deleted", bead.id);
            let withdrawn = decision_cancel::cancel_pending(&mut unit, &about, why)?;
            unit.emit(NewEvent {
                kind: EventType::BeadDeleted,
                project_id: Some(bead.project_id.to_string()),
                subject: bead.id.to_string(),
                data: json!({"title": bead.title}),
            });
            unit.change(Change::Bead(Write::Delete { row: bead }));
            self.commit(unit).await?;
            Ok(withdrawn)
        })
        .await?;
        decision_cancel::notify_actors(&shared.decisions, &withdrawn);
        shared.beads.remove(&self.context.id);
        Ok(())
    }
}

/// Effect of an action on the bead, and the way it ends a hold.
pub(crate) fn plan(action: &BeadAction) -> (bead::Command, ReleaseReason) {
    match action {
        BeadAction::Release { reason } => {
            let attempt = bead::Attempt::NotCounted;
            (
                bead::Command::Release { reason: reason.clone(), attempt },
                ReleaseReason::Released(reason.clone()),
            )
        }
        BeadAction::Complete { summary } => {
            (bead::Command::Complete { summary: summary.clone() }, ReleaseReason::Finished("closed"))
        }
        BeadAction::Close { reason } => {
            (bead::Command::Close { reason: reason.clone() }, ReleaseReason::Finished("closed"))
        }
        // An escalation is a block with a question, which is filed where it is asked.
        BeadAction::Block { reason } | BeadAction::Escalate { reason } => {
            (bead::Command::Block { reason: reason.clone() }, ReleaseReason::Finished("blocked"))
        }
        BeadAction::Unblock => {
            let reason = "unblocked".to_owned();
            (bead::Command::Unblock { reason: reason.clone() }, ReleaseReason::Released(reason))
        }
        BeadAction::Reopen => (bead::Command::Reopen, ReleaseReason::Released("reopened".to_owned())),
        BeadAction::Redispatch { reason } => {
            let release_reason = ReleaseReason::Released("redispatched".to_owned());
            (bead::Command::Redispatch { reason: reason.clone() }, release_reason)
        }
    }
}

pub(crate) fn add_edges(unit: &mut Unit, bead: &Bead, add: &[Edge], remove: &[Edge]) {
    for edge in remove {
        unit.emit(edge_event(EventType::BeadDependencyRemoved, bead, edge));
        unit.change(Change::RemoveEdge(edge.clone()));
    }
    for edge in add {
        unit.emit(edge_event(EventType::BeadDependencyAdded, bead, edge));
        unit.change(Change::AddEdge(edge.clone()));
    }
}
