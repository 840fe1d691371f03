//! The rights that a project gives or denies to a caller.

use crate::kernel::authority::Authority;
use crate::kernel::refusal::Refusal;

/// Allows access to the caller's projects; others are as good as not there.
///
/// # Errors
/// [`Refusal::NotFound`].
pub fn access(authority: &Authority, id: &str) -> Result<(), Refusal> {
    if authority.can_access(id) { Ok(()) } else { Err(Refusal::not_found("project", id)) }
}

/// Allows to create projects only without a limit to projects.
///
/// # Errors
/// [`Refusal::Forbidden`].
pub fn create(authority: &Authority) -> Result<(), Refusal> {
    authority.require_project(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limited_caller_reaches_only_its_projects() {
        let all = Authority::unlimited("ann");
        let limited = Authority { projects: Some(vec!["p".into()]), ..all.clone() };
        assert_eq!((access(&all, "q"), create(&all)), (Ok(()), Ok(())));
        assert_eq!(access(&limited, "p"), Ok(()));
        assert_eq!(access(&limited, "q"), Err(Refusal::not_found("project", "q")));
        assert!(matches!(create(&limited), Err(Refusal::Forbidden(_))));
    }
}
