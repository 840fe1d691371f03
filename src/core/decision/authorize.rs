//! The rights that a decision's row gives or denies to a caller.

use crate::decision::Decision;
use crate::kernel::authority::Authority;
use crate::kernel::refusal::Refusal;

/// Allows access to decisions of the caller's projects; others are as good as not there.
///
/// # Errors
/// [`Refusal::NotFound`].
pub fn access(authority: &Authority, decision: &Decision) -> Result<(), Refusal> {
    if authority.can_access(decision.project_id.as_str()) {
        return Ok(());
    }
    Err(Refusal::not_found("decision", decision.id.as_str()))
}
