//! `arbiter run …`: what agents did with beads.

use super::{failure::Failure, request::Request, session::Session, table::Column};
use clap::{Args, Subcommand};

const COLUMNS: &[Column] = &[
    ("id", "id"),
    ("bead", "bead_id"),
    ("agent", "agent_id"),
    ("status", "status"),
    ("outcome", "outcome"),
    ("model", "model"),
    ("in", "input_tokens"),
    ("out", "output_tokens"),
    ("ms", "latency_ms"),
    ("started", "started_at"),
    ("error", "error"),
];

/// What to do with runs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the runs
    List(List),
    /// Show one run with its prompt and answer
    Show {
        /// The run's id
        id: String,
    },
}

/// The filters of `run list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only those of this agent
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Only those on this bead
    #[arg(long, value_name = "ID")]
    bead: Option<String>,
    /// Only those in this project
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Only those with this status
    #[arg(long)]
    status: Option<String>,
    /// The most entries to show
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let request = Request::get(&["runs"])
                    .filter("agent_id", list.agent)
                    .filter("bead_id", list.bead)
                    .filter("project_id", list.project)
                    .filter("status", list.status);
                session.list(request, list.limit, COLUMNS).await
            }
            Self::Show { id } => session.show(Request::get(&["runs", &id])).await,
        }
    }
}
