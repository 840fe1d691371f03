//! `arbiter run …`: what agents did with beads, what they were asked, and chats through the gateway.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::table::Column;
use clap::{Args, Subcommand};
use serde_json::json;

const COLUMNS: &[Column] = &[
    ("id", "id"),
    ("kind", "kind"),
    ("bead", "bead_id"),
    ("agent", "agent_id"),
    ("status", "status"),
    ("outcome", "outcome"),
    ("model", "model"),
    ("in", "input_tokens"),
    ("out", "output_tokens"),
    ("usd", "cost_usd"),
    ("ms", "latency_ms"),
    ("started", "started_at"),
    ("error", "error"),
];

/// Subcommands of `arbiter run`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the runs
    List(List),
    /// Show one run with its messages and calls
    Show {
        /// The run's id
        id: String,
    },
    /// End a run; the bead it was for is blocked
    Cancel {
        /// The run's id
        id: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
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
    /// Only those of this kind: run, work or gateway
    #[arg(long)]
    kind: Option<String>,
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
                    .filter("kind", list.kind)
                    .filter("status", list.status);
                session.list(request, list.limit, COLUMNS).await
            }
            Self::Show { id } => session.show(Request::get(&["runs", &id])).await,
            Self::Cancel { id, reason } => {
                let request = Request::post(&["runs", &id, "cancel"]);
                session.act(request.body(&json!({"reason": reason}))?, "cancelled").await
            }
        }
    }
}
