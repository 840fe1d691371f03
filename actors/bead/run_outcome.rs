//! End of a hold by a run or an expired lease, and escalation after repeated failures.

use crate::bead::actor::BeadActor;
use crate::bead::failure_report::{self, FailureCause};
use crate::bead::release::{self, ReleaseReason};
use crate::bead::{RunEnd, RunResult};
use crate::bead_unit::comment;
use crate::caller::Caller;
use crate::conflict_retry::retry_on_conflict;
use crate::error::Error;
use crate::runtime::random;
use arbiter_core::bead::{self, Attempt, Bead, ClaimContext};
use arbiter_core::decision::edit::NewDecision;
use arbiter_core::decision::subject_digest;
use arbiter_core::decision::{ATTEMPTS_OPTIONS, Decision, Purpose};
use arbiter_core::dispatch::handoff;
use arbiter_core::kernel::backoff::Backoff;
use arbiter_core::kernel::ids::{BeadId, DecisionId};
use arbiter_core::kernel::lease;
use arbiter_core::kernel::run::{self, Run};
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{Change, Unit};

impl BeadActor {
    /// Ends a run and its hold in one unit. A run whose claim is over ends nothing but itself.
    pub(crate) async fn end_run(&self, end: &RunEnd) -> Result<(), Error> {
        let asked = retry_on_conflict(async || {
            let (bead, claim_context, lease) = self.state().await?;
            lease::check_token(lease.as_ref(), Some(&end.lease_token), &bead.id)?;
            let caller = Caller::named(end.agent_id.as_str());
            let mut unit = self.unit(&caller);
            let run = end.run.clone().map(|run| Run { finished_at: Some(unit.at), ..run });
            let release_reason = self.conclude(&mut unit, &bead, &claim_context, end).await?;
            let shared = &self.context.shared;
            release::end(&shared.store, &mut unit, &bead, lease.as_ref(), &release_reason.0, run.as_ref())
                .await?;
            self.commit(unit).await?;
            Ok(release_reason.1)
        })
        .await?;
        self.watch(None);
        if let Some(decision) = asked {
            self.context.shared.decisions.ensure_started(&decision);
        }
        Ok(())
    }

    /// Ends a hold whose lease has run out. A lease that was renewed meanwhile is watched again.
    pub(crate) async fn expire(&self) -> Result<(), Error> {
        let asked = retry_on_conflict(async || {
            let (bead, claim_context, lease) = self.state().await?;
            let Some(lease) = lease else { return Ok(None) };
            let mut unit = self.unit(&Caller::system());
            if lease.expires_at > unit.at {
                self.watch(Some(&lease));
                return Ok(None);
            }
            let why = format!("the lease of {} expired", lease.agent_id);
            let retry_at = self.retry_at(&bead, unit.at);
            let happenings =
                bead.decide(&bead::Command::ExpireLease { retry_at }, &claim_context, unit.at)?;
            let after = unit.apply(&bead, &happenings, Change::Bead);
            let agent = lease.agent_id.as_str();
            let asked = self
                .ask_if_exhausted(&mut unit, &after, &claim_context, FailureCause::Attempts(&why), agent)
                .await?;
            let release_reason = ReleaseReason::Released(why);
            release::end(&self.context.shared.store, &mut unit, &bead, Some(&lease), &release_reason, None)
                .await?;
            self.commit(unit).await?;
            self.watch(None);
            self.context.shared.runs.abort(&lease.agent_id, &lease.bead_id);
            Ok(asked)
        })
        .await?;
        if let Some(decision) = asked {
            self.context.shared.decisions.ensure_started(&decision);
        }
        Ok(())
    }

    /// Adds the effect of a run's result on the bead; returns the reason for the release, and the new decision,
    /// if any.
    async fn conclude(
        &self,
        unit: &mut Unit,
        bead: &Bead,
        claim_context: &ClaimContext,
        end: &RunEnd,
    ) -> Result<(ReleaseReason, Option<DecisionId>), Error> {
        let (result, agent) = (&end.result, end.agent_id.as_str());
        let now = unit.at;
        let apply = |unit: &mut Unit, command: bead::Command| -> Result<Bead, Error> {
            let happenings = bead.decide(&command, claim_context, now)?;
            Ok(unit.apply(bead, &happenings, Change::Bead))
        };
        match result {
            RunResult::Complete(summary) => {
                apply(unit, bead::Command::Complete { summary: summary.clone() })?;
                Ok((ReleaseReason::Finished("closed"), None))
            }
            RunResult::Block(reason) => {
                apply(unit, bead::Command::Block { reason: reason.clone() })?;
                Ok((ReleaseReason::Finished("blocked"), None))
            }
            RunResult::Ask(question, options, priority) => {
                let new = decision_request(bead, question, options, *priority);
                let decision = self.file_decision(unit, bead, new, agent)?;
                let reason = format!("waits for decision {}", decision.id);
                apply(unit, bead::Command::Block { reason })?;
                Ok((ReleaseReason::Finished("asked"), Some(decision.id)))
            }
            RunResult::NotCounted(reason) => {
                let reason = reason.clone();
                apply(unit, bead::Command::Release { reason: reason.clone(), attempt: Attempt::NotCounted })?;
                Ok((ReleaseReason::Released(reason), None))
            }
            RunResult::Deferred(reason, pause) => {
                let attempt = Attempt::Deferred { retry_at: now.plus(*pause) };
                apply(unit, bead::Command::Release { reason: reason.clone(), attempt })?;
                Ok((ReleaseReason::Released(reason.clone()), None))
            }
            RunResult::Wait(others) => {
                let ids: Vec<&str> = others.iter().map(BeadId::as_str).collect();
                let reason = format!("waits for {}", ids.join(", "));
                apply(unit, bead::Command::Release { reason: reason.clone(), attempt: Attempt::NotCounted })?;
                Ok((ReleaseReason::Released(reason), None))
            }
            RunResult::HandOff(target, reason) => {
                comment(unit, bead, agent, format!("handed on to {target}: {reason}"));
                if let Some(handoff_cycle) = handoff::handoff_cycle(bead, &end.agent_id, target) {
                    let why = FailureCause::HandoffLoop(&handoff_cycle);
                    let asked = self.ask(unit, bead, claim_context, why, agent).await?;
                    return Ok((ReleaseReason::Finished("blocked"), Some(asked)));
                }
                let by = end.agent_id.clone();
                let reason = format!("handed on to {target}: {reason}");
                apply(unit, bead::Command::HandOff { by, target: target.clone(), reason: reason.clone() })?;
                Ok((ReleaseReason::Released(reason), None))
            }
            RunResult::Failed(error) => {
                let answer = end.answer_digest.clone();
                let is_repeated = answer.is_some() && answer == bead.last_answer;
                let attempt = Attempt::Failed { retry_at: self.retry_at(bead, now), answer };
                let released = apply(unit, bead::Command::Release { reason: error.clone(), attempt })?;
                let why =
                    if is_repeated { FailureCause::Repeated(error) } else { FailureCause::Attempts(error) };
                let asked = self.ask_if_exhausted(unit, &released, claim_context, why, agent).await?;
                Ok((ReleaseReason::Released(error.clone()), asked))
            }
        }
    }

    /// Returns the time of the next attempt after one more failure.
    fn retry_at(&self, bead: &Bead, now: Timestamp) -> Timestamp {
        let settings = &self.context.shared.settings;
        let attempt = bead.attempts + 1;
        let backoff = Backoff::new(settings.backoff_base, settings.backoff_max);
        now.plus(backoff.jittered(attempt, random::number()))
    }

    /// Blocks a bead at which work has become fruitless and asks a person.
    async fn ask_if_exhausted(
        &self,
        unit: &mut Unit,
        bead: &Bead,
        claim_context: &ClaimContext,
        why: FailureCause<'_>,
        agent: &str,
    ) -> Result<Option<DecisionId>, Error> {
        let is_spent = bead.attempts >= self.context.shared.settings.attempts_max;
        if is_spent || matches!(why, FailureCause::Repeated(_)) {
            return self.ask(unit, bead, claim_context, why, agent).await.map(Some);
        }
        Ok(None)
    }

    /// Blocks a bead and asks a person what should become of it, with the evidence.
    async fn ask(
        &self,
        unit: &mut Unit,
        bead: &Bead,
        claim_context: &ClaimContext,
        why: FailureCause<'_>,
        agent: &str,
    ) -> Result<DecisionId, Error> {
        let evidence = failure_report::newest_runs(&self.context.shared.store, bead).await?;
        let question = failure_report::question(bead, &why, agent, &evidence);
        let mut new = NewDecision::question(bead.project_id.as_str(), question);
        new.purpose = Purpose::Attempts;
        new.options = ATTEMPTS_OPTIONS.map(str::to_owned).to_vec();
        new.priority = Some(bead.priority);
        let decision = self.file_decision(unit, bead, new, "system")?;
        let reason = format!("{} (decision {})", why.short_text(bead.attempts), decision.id);
        let happenings = bead.decide(&bead::Command::Block { reason }, claim_context, unit.at)?;
        unit.apply(bead, &happenings, Change::Bead);
        Ok(decision.id)
    }

    /// Adds a question about the bead to the unit.
    pub(crate) fn file_decision(
        &self,
        unit: &mut Unit,
        bead: &Bead,
        new: NewDecision,
        requester: &str,
    ) -> Result<Decision, Error> {
        let new = NewDecision {
            bead_id: Some(bead.id.to_string()),
            requester_id: Some(requester.to_owned()),
            subject_digest: Some(subject_digest::of_bead(bead)),
            ..new
        };
        let id = DecisionId::from_random(random::bytes16());
        let decision = new.build(id, unit.at, self.context.shared.settings.decision_timeout)?;
        unit.create(&decision, Change::Decision);
        Ok(decision)
    }
}

/// Builds the decision that an agent asks for about a bead.
pub(crate) fn decision_request(
    bead: &Bead,
    question: &str,
    options: &[String],
    priority: Option<u8>,
) -> NewDecision {
    let mut new = NewDecision::question(bead.project_id.as_str(), question);
    new.options = options.to_vec();
    new.priority = priority;
    new
}

/// The outcome word of a run's result, as the run's row shows it.
pub(crate) fn outcome(result: &RunResult) -> (run::Status, Option<&'static str>) {
    match result {
        RunResult::Complete(_) => (run::Status::Succeeded, Some("finish")),
        RunResult::Block(_) => (run::Status::Succeeded, Some("block")),
        RunResult::Ask(..) => (run::Status::Succeeded, Some("ask_decision")),
        RunResult::HandOff(..) => (run::Status::Succeeded, Some("delegate")),
        RunResult::Wait(_) => (run::Status::Succeeded, Some("wait")),
        RunResult::Failed(_) => (run::Status::Failed, None),
        RunResult::NotCounted(_) | RunResult::Deferred(..) => (run::Status::Cancelled, None),
    }
}
