//! Projects as they are shown.

use crate::http::wire::schema::{any_object, maybe_time, time, word};
use arbiter_core::agent::Agent;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::project::{Project, Status};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A project.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProjectView {
    /// Its id.
    pub id: String,
    /// Its name.
    name: String,
    /// Where its source is.
    git_repo: Option<String>,
    /// The branch that counts.
    branch: Option<String>,
    /// The directory of its bead files.
    beads_path: Option<String>,
    /// What stands before the ids of its new beads; null: `bd`.
    bead_prefix: Option<String>,
    /// Why none of its work is handed out at present, if none is.
    parked: Option<String>,
    /// How many of its beads are worked on at once at most; null: no limit of its own.
    max_parallel: Option<u32>,
    /// What its work needs to know, by name.
    #[schemars(schema_with = "any_object")]
    context: Map<String, Value>,
    /// Where it stands.
    #[schemars(schema_with = "word::<Status>")]
    status: Status,
    /// It never closes.
    is_perpetual: bool,
    /// It stays on top of lists.
    is_sticky: bool,
    /// When it was created.
    #[schemars(schema_with = "time")]
    created_at: Timestamp,
    /// When it last changed.
    #[schemars(schema_with = "time")]
    updated_at: Timestamp,
    /// When it was closed.
    #[schemars(schema_with = "maybe_time")]
    closed_at: Option<Timestamp>,
    /// Its revision.
    revision: u64,
}

impl From<Project> for ProjectView {
    fn from(project: Project) -> Self {
        Self {
            id: project.id.as_str().to_owned(),
            name: project.name,
            git_repo: project.git_repo,
            branch: project.branch,
            beads_path: project.beads_path,
            bead_prefix: project.bead_prefix,
            parked: project.parked,
            max_parallel: project.max_parallel,
            context: project.context,
            status: project.status,
            is_perpetual: project.is_perpetual,
            is_sticky: project.is_sticky,
            created_at: project.created_at,
            updated_at: project.updated_at,
            closed_at: project.closed_at,
            revision: project.revision,
        }
    }
}

/// How a project's work stands.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StateView {
    /// The project.
    project_id: String,
    /// Where it stands.
    #[schemars(schema_with = "word::<Status>")]
    status: Status,
    /// How many beads have each status.
    beads: BTreeMap<String, u64>,
    /// Beads that are not closed.
    open_beads: u64,
    /// Beads that could be worked on now (exact up to 10,000).
    ready_beads: u64,
    /// Decisions that nobody has made yet (exact up to 10,000).
    pending_decisions: u64,
    /// Agents of this project alone, at most 1000.
    agents: Vec<AgentStateView>,
    /// True if there is work that keeps it from being closed.
    open_work: bool,
}

/// How one agent of a project stands.
#[derive(Debug, Serialize, JsonSchema)]
struct AgentStateView {
    /// The agent.
    id: String,
    /// Where it stands.
    status: String,
    /// The bead it works on.
    current_bead: Option<String>,
}

impl StateView {
    /// The state of a project with its counts.
    pub fn new(
        project: Project,
        beads: BTreeMap<String, u64>,
        agents: Vec<Agent>,
        ready_beads: u64,
        pending_decisions: u64,
    ) -> Self {
        let open_beads = beads.iter().filter(|(status, _)| *status != "closed").map(|(_, count)| count).sum();
        let agent = |agent: Agent| AgentStateView {
            id: agent.id.to_string(),
            status: agent.status.to_string(),
            current_bead: agent.current_bead.map(|bead| bead.to_string()),
        };
        Self {
            project_id: project.id.to_string(),
            status: project.status,
            beads,
            open_beads,
            ready_beads,
            pending_decisions,
            agents: agents.into_iter().map(agent).collect(),
            open_work: open_beads > 0,
        }
    }
}
