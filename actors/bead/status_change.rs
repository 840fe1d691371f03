//! Picks the action that brings a bead to a requested status, with its rules.

use crate::bead::BeadAction;
use arbiter_core::bead::{Bead, Status, Trigger, trigger_for};
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::state_machine::StateMachine;

/// Change that brings a bead to a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusChange {
    Claim,
    Act(BeadAction),
}

impl StatusChange {
    /// The way of `bead` to `wanted`, for this reason.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] `same-status` when it has that status already, and what the machine says when nothing
    /// leads there.
    pub fn to(bead: &Bead, wanted: Status, reason: String) -> Result<Self, Refusal> {
        let same =
            || Refusal::conflict(ProblemCode::SameStatus, format!("bead {} is {wanted} already", bead.id));
        let trigger = trigger_for(bead.status, wanted).ok_or_else(same)?;
        bead.status.step(bead.id.as_str(), trigger)?;
        Ok(Self::Act(match trigger {
            Trigger::Claim => return Ok(Self::Claim),
            Trigger::Block => BeadAction::Block { reason },
            Trigger::Unblock => BeadAction::Unblock,
            Trigger::Release => BeadAction::Release { reason },
            Trigger::Close => BeadAction::Close { reason },
            _ => BeadAction::Reopen,
        }))
    }
}
