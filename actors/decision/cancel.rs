//! Cancels the decisions about a subject in the unit that deletes it.
//!
//! Owns nothing. Knows no actor of a decision but by its handle, which hears of the end after the commit.

use crate::decision::DecisionsHandle;
use crate::error::Error;
use arbiter_core::decision::{Command, Decision, Status};
use arbiter_core::kernel::ids::DecisionId;
use arbiter_store::{Change, Unit};

/// Adds the cancellation of the pending decisions. Their bead is not updated, because it is deleted.
pub(crate) fn cancel_pending(
    unit: &mut Unit,
    decisions: &[Decision],
    why: impl Fn(&Decision) -> String,
) -> Result<Vec<DecisionId>, Error> {
    let mut withdrawn = Vec::new();
    for decision in decisions.iter().filter(|decision| decision.status == Status::Pending) {
        let happenings = decision.decide(&Command::Cancel { reason: why(decision) }, unit.at)?;
        unit.apply(decision, &happenings, Change::Decision);
        withdrawn.push(decision.id.clone());
    }
    Ok(withdrawn)
}

/// After the commit: their actors have nothing to wait for any more.
pub(crate) fn notify_actors(decisions: &DecisionsHandle, withdrawn: &[DecisionId]) {
    for id in withdrawn {
        decisions.recheck(id);
    }
}
