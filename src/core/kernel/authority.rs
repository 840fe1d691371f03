//! The rights of a caller, on which each noun's `authorize` decides.

use crate::kernel::refusal::Refusal;
use crate::kernel::token::Role;

/// The role of a caller, the agent it is, and the projects it is limited to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The name under which the caller signed in.
    pub name: String,
    pub role: Role,
    /// The agent whose token the caller shows.
    pub agent_id: Option<String>,
    /// The projects it is limited to; none: all of them, and what belongs to no project.
    pub projects: Option<Vec<String>>,
}

impl Authority {
    /// All rights, for Arbiter itself and for embedded use.
    pub fn unlimited(name: impl Into<String>) -> Self {
        Self { name: name.into(), role: Role::Admin, agent_id: None, projects: None }
    }

    /// Returns whether it reaches what belongs to this project.
    pub fn can_access(&self, project: &str) -> bool {
        self.projects.as_ref().is_none_or(|projects| projects.iter().any(|known| known == project))
    }

    /// Allows to put something into a project that it reaches; into none only without a limit.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`].
    pub fn require_project(&self, project: Option<&str>) -> Result<(), Refusal> {
        let detail = match project {
            Some(project) if self.can_access(project) => return Ok(()),
            None if self.projects.is_none() => return Ok(()),
            Some(project) => format!("the token is not for project {project}"),
            None => {
                "the token is limited to projects and does not change what belongs to no project".to_owned()
            }
        };
        Err(Refusal::Forbidden(detail))
    }
}
