//! The rights that a run's row gives or denies to a caller.

use crate::kernel::authority::Authority;
use crate::kernel::refusal::Refusal;
use crate::kernel::run::Run;

/// Allows access to runs of the caller's projects; others, and those of no project, are as good as not there.
///
/// # Errors
/// [`Refusal::NotFound`].
pub fn access(authority: &Authority, run: &Run) -> Result<(), Refusal> {
    let reaches = run.project_id.as_ref().is_some_and(|project| authority.can_access(project.as_str()));
    if reaches || authority.projects.is_none() {
        return Ok(());
    }
    Err(Refusal::not_found("run", run.id.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::call::Kind;
    use crate::kernel::ids::{ProjectId, RunId};
    use crate::kernel::time::Timestamp;

    #[test]
    fn run_of_other_or_no_project_is_not_found() {
        let at = Timestamp::from_millis(0);
        let run = |project: Option<&str>| Run {
            project_id: project.map(ProjectId::from_trusted),
            ..Run::new(RunId::from_trusted("r"), Kind::Gateway, at)
        };
        let all = Authority::unlimited("ann");
        let limited = Authority { projects: Some(vec!["p".into()]), ..all.clone() };
        for project in [None, Some("p"), Some("q")] {
            assert_eq!(access(&all, &run(project)), Ok(()), "{project:?}");
            assert_eq!(access(&limited, &run(project)).is_ok(), project == Some("p"), "{project:?}");
        }
        assert_eq!(access(&limited, &run(Some("q"))), Err(Refusal::not_found("run", "r")));
    }
}
