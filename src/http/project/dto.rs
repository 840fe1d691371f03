//! Projects as they are shown.

use crate::http::wire::schema::{any_object, maybe_time, time, word};
use arbiter_actors::{BeadFileLine, BeadFileReport};
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
    /// Location of the source repository.
    git_repo: Option<String>,
    /// The branch that counts.
    branch: Option<String>,
    /// The directory of its bead files.
    beads_path: Option<String>,
    /// State of its bead file; null if there is none.
    bead_file: Option<BeadFileView>,
    /// Prefix of the ids of new beads; null: `bd`.
    bead_prefix: Option<String>,
    /// Reason why its work is not dispatched at present, if it is parked.
    parked: Option<String>,
    /// Most beads in progress at once; null: no limit of its own.
    max_parallel: Option<u32>,
    /// Context of its work, by name.
    #[schemars(schema_with = "any_object")]
    context: Map<String, Value>,
    /// Current status.
    #[schemars(schema_with = "word::<Status>")]
    status: Status,
    /// True if the project never closes.
    is_perpetual: bool,
    /// True if the project stays on top of lists.
    is_sticky: bool,
    /// Time of creation.
    #[schemars(schema_with = "time")]
    created_at: Timestamp,
    /// Time of the last change.
    #[schemars(schema_with = "time")]
    updated_at: Timestamp,
    /// Time of the close.
    #[schemars(schema_with = "maybe_time")]
    closed_at: Option<Timestamp>,
    /// Its revision.
    revision: u64,
}

/// State of a project's bead file.
#[derive(Debug, Serialize, JsonSchema)]
struct BeadFileView {
    /// `in_sync`, `stopped` (others are in the middle of a change) or `failed` (it is tried again).
    state: &'static str,
    /// Reason why nothing is written.
    reason: Option<String>,
    /// Lines that stop the file or are kept as they are, at most 100.
    lines: Vec<BeadFileLineView>,
    /// Number of such lines.
    lines_total: u64,
}

/// A line of a bead file.
#[derive(Debug, Serialize, JsonSchema)]
struct BeadFileLineView {
    /// Its number, from 1.
    line: u64,
    /// Message.
    detail: String,
}

impl From<BeadFileReport> for BeadFileView {
    fn from(report: BeadFileReport) -> Self {
        let BeadFileReport { state, reason, lines, lines_total } = report;
        let line = |line: BeadFileLine| BeadFileLineView { line: line.line, detail: line.detail };
        Self { state: state.as_str(), reason, lines: lines.into_iter().map(line).collect(), lines_total }
    }
}

impl ProjectView {
    /// Shows a project and the state of its bead file.
    pub fn new(project: Project, report: Option<BeadFileReport>) -> Self {
        let report = report.filter(|_| project.beads_path.is_some());
        Self {
            id: project.id.as_str().to_owned(),
            name: project.name,
            git_repo: project.git_repo,
            branch: project.branch,
            beads_path: project.beads_path,
            bead_file: report.map(BeadFileView::from),
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

/// A project and its agents.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProjectDetail {
    #[serde(flatten)]
    project: ProjectView,
    /// Ids of the agents of this project alone.
    agents: Vec<String>,
}

impl ProjectDetail {
    /// The project with its agents.
    pub fn new(project: Project, report: Option<BeadFileReport>, agents: Vec<Agent>) -> Self {
        let agents = agents.into_iter().map(|agent| agent.id.to_string()).collect();
        Self { project: ProjectView::new(project, report), agents }
    }
}

/// State of a project's work.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StateView {
    /// The project.
    project_id: String,
    /// Current status.
    #[schemars(schema_with = "word::<Status>")]
    status: Status,
    /// Number of beads by status.
    beads: BTreeMap<String, u64>,
    /// Beads that are not closed.
    open_beads: u64,
    /// Number of ready beads (exact up to 10,000).
    ready_beads: u64,
    /// Number of pending decisions (exact up to 10,000).
    pending_decisions: u64,
    /// Agents of this project alone, at most 1000.
    agents: Vec<AgentStateView>,
    /// True if there is work that keeps it from being closed.
    open_work: bool,
}

/// State of one agent of a project.
#[derive(Debug, Serialize, JsonSchema)]
struct AgentStateView {
    /// The agent.
    id: String,
    /// Current status.
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
