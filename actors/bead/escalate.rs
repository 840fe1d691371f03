//! Escalation of a bead: it is released and waits for a person's decision.

use crate::bead::actor::BeadActor;
use crate::bead::release::{self, ReleaseReason};
use crate::caller::Caller;
use crate::conflict_retry::{check_revision, retry_on_conflict};
use crate::error::Error;
use arbiter_core::bead::{self, CRITICAL, Status, authorize};
use arbiter_core::decision::edit::NewDecision;
use arbiter_core::decision::{self, ESCALATION_OPTIONS, Purpose};
use arbiter_core::kernel::lease;
use arbiter_core::kernel::limits;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::Change;

/// The longest reason, in characters.
const MAX_REASON: usize = 4_000;

impl BeadActor {
    /// Blocks the bead and files the question, in one unit.
    pub(crate) async fn escalate(
        &self,
        caller: &Caller,
        reason: &str,
        token: Option<&str>,
    ) -> Result<(), Error> {
        if !(1..=MAX_REASON).contains(&reason.trim().chars().count()) {
            return Err(Refusal::field("reason", limits::must_have_chars(&(1..=MAX_REASON))).into());
        }
        let shared = &self.context.shared;
        let asked = retry_on_conflict(async || {
            let (bead, claim_context, lease) = self.state().await?;
            authorize::act(&caller.authority, &bead, token)?;
            check_revision(caller, &bead)?;
            lease::check_token(lease.as_ref(), token, &bead.id)?;
            let about = shared.store.decisions_of(bead.id.to_string()).await?;
            let is_pending = |one: &&decision::Decision| {
                one.purpose == Purpose::Escalation && one.status == decision::Status::Pending
            };
            if let Some(pending) = about.iter().find(is_pending) {
                let detail = format!("bead {} waits for decision {} already", bead.id, pending.id);
                return Err(Refusal::conflict(ProblemCode::AlreadyAsked, detail).into());
            }
            let mut unit = self.unit(caller);
            let question = format!("{} escalates bead {} ({}): {reason}", caller.name, bead.id, bead.title);
            let mut new = NewDecision::question(bead.project_id.as_str(), question);
            new.purpose = Purpose::Escalation;
            new.options = ESCALATION_OPTIONS.map(str::to_owned).to_vec();
            new.priority = Some(CRITICAL);
            let asked = self.file_decision(&mut unit, &bead, new, &caller.name)?;
            // What is blocked already stays so, and waits for the answer besides.
            if bead.status != Status::Blocked {
                let why = format!("escalated: {reason} (decision {})", asked.id);
                let happenings =
                    bead.decide(&bead::Command::Block { reason: why }, &claim_context, unit.at)?;
                unit.apply(&bead, &happenings, Change::Bead);
            }
            let was_held = bead.status == Status::InProgress;
            if was_held {
                release::end(
                    &shared.store,
                    &mut unit,
                    &bead,
                    lease.as_ref(),
                    &ReleaseReason::Finished("asked"),
                    None,
                )
                .await?;
            }
            self.commit(unit).await?;
            if was_held {
                self.release_hold(lease.as_ref());
            }
            Ok(asked.id)
        })
        .await?;
        shared.decisions.ensure_started(&asked);
        Ok(())
    }
}
