//! `arbiter decision …`: questions to people.

use super::{failure::Failure, request::Request, session::Session, table::Column};
use clap::{Args, Subcommand};
use serde_json::json;

const COLUMNS: &[Column] = &[
    ("id", "id"),
    ("status", "status"),
    ("p", "priority"),
    ("project", "project_id"),
    ("bead", "bead_id"),
    ("question", "question"),
    ("options", "options"),
    ("decision", "decision"),
    ("deadline", "deadline"),
];

/// What to do with decisions.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the decisions
    List(List),
    /// Show one decision
    Show {
        /// The decision's id
        id: String,
    },
    /// Answer
    Decide {
        /// The decision's id
        id: String,
        /// The answer; one of the options when there are any
        decision: String,
        /// Why
        #[arg(long, default_value = "")]
        rationale: String,
    },
    /// Withdraw the question
    Cancel {
        /// The decision's id
        id: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// The filters of `decision list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only those with this status, as pending
    #[arg(long)]
    status: Option<String>,
    /// Only those of this project
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Only those about this bead
    #[arg(long, value_name = "ID")]
    bead: Option<String>,
    /// The most entries to show
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let request = Request::get(&["decisions"])
                    .filter("status", list.status)
                    .filter("project_id", list.project)
                    .filter("bead_id", list.bead);
                session.list(request, list.limit, COLUMNS).await
            }
            Self::Show { id } => session.show(Request::get(&["decisions", &id])).await,
            Self::Decide { id, decision, rationale } => {
                let body = json!({"decision": decision, "rationale": rationale});
                let request = Request::post(&["decisions", &id, "decide"]).body(&body)?;
                session.act(request, "decided").await
            }
            Self::Cancel { id, reason } => {
                let request = Request::post(&["decisions", &id, "cancel"]);
                session.act(request.body(&json!({"reason": reason}))?, "cancelled").await
            }
        }
    }
}
