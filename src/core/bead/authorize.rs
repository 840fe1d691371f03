//! The rights that a bead's row gives or denies to a caller.

use crate::bead::{Bead, Status};
use crate::kernel::authority::Authority;
use crate::kernel::refusal::Refusal;
use crate::kernel::token::Role;
use std::collections::BTreeSet;

/// Prefix of a tag that names the role which a bead is for.
const ROLE_TAG: &str = "role:";

/// Allows access to beads of the caller's projects; others are as good as not there.
///
/// # Errors
/// [`Refusal::NotFound`].
pub fn access(authority: &Authority, bead: &Bead) -> Result<(), Refusal> {
    if authority.can_access(bead.project_id.as_str()) {
        return Ok(());
    }
    Err(Refusal::not_found("bead", bead.id.as_str()))
}

/// Allows an agent only its own beads, claimed by it or meant for it.
///
/// # Errors
/// [`Refusal::Forbidden`] for the bead of another, and as [`access`].
pub fn hold(authority: &Authority, bead: &Bead) -> Result<(), Refusal> {
    access(authority, bead)?;
    let own = authority.agent_id.as_deref();
    if authority.role != Role::Agent || own.is_some() && bead.assigned_to.as_deref() == own {
        return Ok(());
    }
    Err(Refusal::Forbidden(format!("bead {} is not agent {}'s", bead.id, authority.name)))
}

/// Allows an agent to write to its own beads, and to a claimed one under its lease.
///
/// # Errors
/// [`Refusal::Invalid`] without a lease token, and as [`hold`].
pub fn write(authority: &Authority, bead: &Bead, lease_token: Option<&str>) -> Result<(), Refusal> {
    hold(authority, bead)?;
    if authority.role == Role::Agent && bead.status == Status::InProgress && lease_token.is_none() {
        return Err(Refusal::field("lease_token", "must be given by an agent for a claimed bead"));
    }
    Ok(())
}

/// Allows an agent to change tags, but not the roles among them: they say which agents work on the bead.
///
/// # Errors
/// [`Refusal::Forbidden`].
pub fn retag(authority: &Authority, bead: &Bead, tags: &[String]) -> Result<(), Refusal> {
    let roles = |tags: &[String]| {
        tags.iter().filter(|tag| tag.starts_with(ROLE_TAG)).cloned().collect::<BTreeSet<_>>()
    };
    if authority.role != Role::Agent || roles(tags) == roles(&bead.tags) {
        return Ok(());
    }
    Err(Refusal::Forbidden(format!("an agent does not change {ROLE_TAG} tags, not even of its own bead")))
}

/// Allows an agent to end, block and give back only what it has claimed: a bead that waits for its blockers or
/// for an approval is not ended by the agent it is meant for.
///
/// # Errors
/// [`Refusal::Forbidden`] for a bead that is not in progress, and as [`write()`].
pub fn act(authority: &Authority, bead: &Bead, lease_token: Option<&str>) -> Result<(), Refusal> {
    write(authority, bead, lease_token)?;
    if authority.role != Role::Agent || bead.status == Status::InProgress {
        return Ok(());
    }
    Err(Refusal::Forbidden(format!("bead {} is {}: an agent claims a bead first", bead.id, bead.status)))
}
