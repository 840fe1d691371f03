//! Client input for projects: new projects and patches.

use crate::kernel::ids::ProjectId;
use crate::kernel::record::set_if_some;
use crate::kernel::refusal::Refusal;
use crate::kernel::time::Timestamp;
use crate::project::{Project, Status, check};
use serde_json::{Map, Value};

/// Request to create a project.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewProject {
    /// A chosen id, or none.
    pub id: Option<String>,
    pub name: String,
    pub git_repo: Option<String>,
    pub branch: Option<String>,
    pub beads_path: Option<String>,
    pub bead_prefix: Option<String>,
    /// Maximum number of its beads in work at once.
    pub max_parallel: Option<u32>,
    pub context: Map<String, Value>,
    /// A perpetual project never closes.
    pub is_perpetual: bool,
    pub is_sticky: bool,
}

impl NewProject {
    /// The project as it will be stored.
    pub fn build(&self, id: ProjectId, now: Timestamp) -> Result<Project, Refusal> {
        let project = Project {
            id,
            name: self.name.clone(),
            git_repo: self.git_repo.clone(),
            branch: self.branch.clone(),
            beads_path: self.beads_path.clone(),
            bead_prefix: self.bead_prefix.clone(),
            max_parallel: self.max_parallel,
            parked: None,
            context: self.context.clone(),
            status: Status::Open,
            is_perpetual: self.is_perpetual,
            is_sticky: self.is_sticky,
            created_at: now,
            updated_at: now,
            closed_at: None,
            revision: 1,
        };
        check(&project)?;
        Ok(project)
    }
}

/// Fields of a project that are to change; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectPatch {
    pub name: Option<String>,
    pub git_repo: Option<Option<String>>,
    pub branch: Option<Option<String>>,
    pub beads_path: Option<Option<String>>,
    pub bead_prefix: Option<Option<String>>,
    /// Maximum number of its beads in work at once.
    pub max_parallel: Option<Option<u32>>,
    pub context: Option<Map<String, Value>>,
    /// A perpetual project never closes.
    pub is_perpetual: Option<bool>,
    pub is_sticky: Option<bool>,
}

impl ProjectPatch {
    /// The project as the patch wants it.
    pub fn apply(&self, project: &Project) -> Result<Project, Refusal> {
        let mut after = project.clone();
        let patch = self.clone();
        set_if_some(&mut after.name, patch.name);
        set_if_some(&mut after.git_repo, patch.git_repo);
        set_if_some(&mut after.branch, patch.branch);
        set_if_some(&mut after.beads_path, patch.beads_path);
        set_if_some(&mut after.bead_prefix, patch.bead_prefix);
        set_if_some(&mut after.max_parallel, patch.max_parallel);
        set_if_some(&mut after.context, patch.context);
        set_if_some(&mut after.is_perpetual, patch.is_perpetual);
        set_if_some(&mut after.is_sticky, patch.is_sticky);
        check(&after)?;
        Ok(after)
    }
}
