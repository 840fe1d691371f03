//! `arbiter decision …`: questions to people.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::table::Column;
use clap::{Args, Subcommand};
use serde::Serialize;
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

/// Subcommands of `arbiter decision`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the decisions
    List(List),
    /// Show one decision
    Show {
        /// The decision's id
        id: String,
    },
    /// Ask a question
    Add(Box<Add>),
    /// Answer
    Decide {
        /// The decision's id
        id: String,
        /// The answer; one of the options when there are any
        decision: String,
        /// Why
        #[arg(long, default_value = "")]
        rationale: String,
        /// The digest of its subject, to answer although the subject has changed since it was asked: that which the
        /// refusal names
        #[arg(long, value_name = "DIGEST")]
        subject: Option<String>,
    },
    /// Cancel it
    Cancel {
        /// The decision's id
        id: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// The arguments of `decision add`.
#[derive(Debug, Args, Serialize)]
pub struct Add {
    /// The question
    question: String,
    /// The project it belongs to
    #[arg(long = "project", value_name = "ID")]
    project_id: String,
    /// The bead it is about; it waits for the answer
    #[arg(long = "bead", value_name = "ID")]
    bead_id: Option<String>,
    /// An answer that may be given; may be repeated. None: any text
    #[arg(long = "option", value_name = "ANSWER")]
    options: Vec<String>,
    /// The recommended answer
    #[arg(long = "recommend", value_name = "ANSWER")]
    recommendation: Option<String>,
    /// 0 (critical) to 4 (backlog); else 2
    #[arg(long)]
    priority: Option<u8>,
    /// The time to answer: 48h, 90m, never
    #[arg(long)]
    timeout: Option<String>,
    /// Until when it waits
    #[arg(long, value_name = "TIME", conflicts_with = "timeout")]
    deadline: Option<String>,
    /// The effect of its deadline: expire, escalate, or choose:ANSWER
    #[arg(long, value_name = "WHAT")]
    on_timeout: Option<String>,
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
    /// Only those of this priority
    #[arg(long)]
    priority: Option<u8>,
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
                    .filter("bead_id", list.bead)
                    .filter("priority", list.priority);
                session.list(request, list.limit, COLUMNS).await
            }
            Self::Show { id } => session.show(Request::get(&["decisions", &id])).await,
            Self::Add(add) => session.act(Request::post(&["decisions"]).body(&add)?, "asked").await,
            Self::Decide { id, decision, rationale, subject } => {
                let body = json!({"decision": decision, "rationale": rationale, "subject_digest": subject});
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
