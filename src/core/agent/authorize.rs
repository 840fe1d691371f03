//! The rights that an agent's row gives or denies to a caller.

use crate::agent::Agent;
use crate::kernel::authority::Authority;
use crate::kernel::refusal::Refusal;

/// Allows to see the agents of the caller's projects and those that work for every project.
///
/// # Errors
/// [`Refusal::NotFound`].
pub fn read(authority: &Authority, agent: &Agent) -> Result<(), Refusal> {
    match &agent.project_id {
        Some(project) if !authority.can_access(project.as_str()) => {
            Err(Refusal::not_found("agent", agent.id.as_str()))
        }
        _ => Ok(()),
    }
}

/// Allows to change the agents of the caller's projects; one that works for every project only without a limit.
///
/// # Errors
/// [`Refusal::Forbidden`] for an agent of no project, and as [`read`].
pub fn change(authority: &Authority, agent: &Agent) -> Result<(), Refusal> {
    read(authority, agent)?;
    if authority.projects.is_some() && agent.project_id.is_none() {
        let detail =
            "the token is limited to projects and does not change an agent that works for every project";
        return Err(Refusal::Forbidden(detail.to_owned()));
    }
    Ok(())
}
