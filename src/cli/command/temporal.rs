//! `arbiter temporal …`: the bridge to the Temporal server and the workflows there.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::note;
use crate::cli::ui::table::Column;
use clap::{Args, Subcommand};

const COLUMNS: &[Column] = &[
    ("id", "id"),
    ("type", "type"),
    ("status", "status"),
    ("since", "started_at"),
    ("until", "closed_at"),
    ("events", "history_length"),
];

/// Subcommands of `arbiter temporal`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the state of the bridge and its backlog
    Status,
    /// List workflows, newest first
    Workflows(Workflows),
    /// Create new keys for payloads and signatures; existing data stays readable
    Rotate,
}

/// The filters of `temporal workflows`.
#[derive(Debug, Args)]
pub struct Workflows {
    /// Only those of this type, as DecisionWorkflow
    #[arg(long = "type", value_name = "TYPE")]
    workflow_type: Option<String>,
    /// Only those that this query of Temporal's finds, as "ExecutionStatus = 'Running'"
    #[arg(long, value_name = "QUERY")]
    query: Option<String>,
    /// The most entries to show
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Status => session.show(Request::get(&["temporal", "status"])).await,
            Self::Workflows(Workflows { workflow_type, query, limit }) => {
                let request = Request::get(&["temporal", "workflows"])
                    .filter("type", workflow_type)
                    .filter("query", query)
                    .filter("limit", Some(limit));
                let found = session.client.json(&request).await?;
                if found.as_array().is_some_and(Vec::is_empty) {
                    let status = session.client.json(&Request::get(&["temporal", "status"])).await?;
                    if status["status"] == "off" {
                        note("no Temporal server is configured: set temporal.address");
                    }
                }
                session.output.list(found.as_array().map_or(&[][..], Vec::as_slice), COLUMNS)
            }
            Self::Rotate => session.show(Request::post(&["temporal", "codec", "rotate"])).await,
        }
    }
}
