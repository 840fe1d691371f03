//! The rights of a caller on the file locks of a project.

use crate::kernel::authority::Authority;
use crate::kernel::ids::BeadId;
use crate::kernel::refusal::Refusal;
use crate::kernel::token::Role;
use crate::project::file_lock::LockHolder;

/// Allows to lock files of the caller's projects, and returns the holder. An agent locks only for itself and
/// for a bead; other callers for themselves or for the agent that is `named`.
///
/// # Errors
/// [`Refusal::Forbidden`] for another project and for another agent, [`Refusal::Invalid`] without a bead.
pub fn hold(
    authority: &Authority,
    project: &str,
    named: Option<String>,
    bead_id: Option<BeadId>,
) -> Result<LockHolder, Refusal> {
    authority.require_project(Some(project))?;
    let agent_id = holder(authority, named)?;
    if authority.role == Role::Agent && bead_id.is_none() {
        let detail = "must be given by an agent: it locks files for a bead it holds";
        return Err(Refusal::field("bead_id", detail));
    }
    Ok(LockHolder { agent_id, bead_id })
}

/// Allows to end locks in the caller's projects, and returns whose lock it has to be: an agent ends only its
/// own, other callers also those that were abandoned.
///
/// # Errors
/// [`Refusal::NotFound`] for another project, [`Refusal::Forbidden`] for another agent.
pub fn release(
    authority: &Authority,
    project: &str,
    path: &str,
    named: Option<String>,
) -> Result<Option<String>, Refusal> {
    if !authority.can_access(project) {
        return Err(Refusal::not_found("file lock", path));
    }
    if authority.role == Role::Agent { holder(authority, named).map(Some) } else { Ok(named) }
}

/// Returns the name under which the caller holds locks of its own.
pub fn own_name(authority: &Authority) -> &str {
    authority.agent_id.as_deref().unwrap_or(&authority.name)
}

fn holder(authority: &Authority, named: Option<String>) -> Result<String, Refusal> {
    let own = own_name(authority);
    match named {
        Some(named) if named != own && authority.role == Role::Agent => {
            Err(Refusal::Forbidden(format!("the token is agent {own}'s and locks for no other")))
        }
        Some(named) => Ok(named),
        None => Ok(own.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> Authority {
        let projects = Some(vec!["p".to_owned()]);
        Authority { name: "cli".into(), role: Role::Agent, agent_id: Some("a".into()), projects }
    }

    #[test]
    fn agent_locks_for_itself_and_its_bead_alone() {
        let bead = || Some(BeadId::from_trusted("b"));
        let held = hold(&agent(), "p", None, bead()).unwrap();
        assert_eq!(held, LockHolder { agent_id: "a".into(), bead_id: bead() });
        assert!(matches!(hold(&agent(), "p", None, None), Err(Refusal::Invalid(_))));
        assert!(matches!(hold(&agent(), "p", Some("other".into()), bead()), Err(Refusal::Forbidden(_))));
        assert!(matches!(hold(&agent(), "q", None, bead()), Err(Refusal::Forbidden(_))));
        let person = Authority { role: Role::Operator, agent_id: None, ..agent() };
        assert_eq!(hold(&person, "p", None, None).unwrap().agent_id, "cli");
        assert_eq!(hold(&person, "p", Some("other".into()), None).unwrap().agent_id, "other");
    }

    #[test]
    fn agent_ends_only_its_own_locks() {
        assert_eq!(release(&agent(), "p", "f", None), Ok(Some("a".into())));
        assert!(matches!(release(&agent(), "p", "f", Some("b".into())), Err(Refusal::Forbidden(_))));
        assert_eq!(release(&agent(), "q", "f", None), Err(Refusal::not_found("file lock", "f")));
        let person = Authority { role: Role::Operator, agent_id: None, ..agent() };
        assert_eq!(release(&person, "p", "f", None), Ok(None));
        assert_eq!(release(&person, "p", "f", Some("b".into())), Ok(Some("b".into())));
    }
}
