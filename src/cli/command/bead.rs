//! `arbiter bead …`: the work, and what it waits for.

mod add;
mod files;
mod list;
mod why;
mod work;

use crate::cli::client::Remainder;
use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::{OutputFormat, note};
use crate::cli::ui::table::{at, one_line, printable, word};
use clap::Subcommand;
use serde_json::Value;

/// Subcommands of `arbiter bead`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List beads
    List(list::List),
    /// List beads that are ready, most urgent first
    Ready(list::Ready),
    /// Show one bead
    Show {
        /// The bead's id
        id: String,
    },
    /// Create a bead
    Add(Box<add::Add>),
    /// Take a bead for an agent; prints the lease's token, and with --next the bead's id before it
    Claim(work::Claim),
    /// Renew the lease of a claimed bead
    Heartbeat {
        /// The bead's id
        id: String,
        /// The lease's token, as `bead claim` printed it
        #[arg(long, value_name = "TOKEN")]
        lease_token: String,
    },
    /// Release a claimed bead
    Release {
        /// The bead's id
        id: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
        /// The lease's token, as `bead claim` printed it
        #[arg(long, value_name = "TOKEN")]
        lease_token: Option<String>,
    },
    /// Complete a claimed bead
    Complete(work::Complete),
    /// Close it without its work being done
    Close(work::ReasonArgs),
    /// Block a bead
    Block(work::ReasonArgs),
    /// Unblock a bead
    Unblock {
        /// The bead's id
        id: String,
    },
    /// Escalate it to a person; it waits for the answer
    Escalate(work::ReasonArgs),
    /// Explain why it is not worked on, or how it stands
    Why {
        /// The bead's id
        id: String,
    },
    /// Comment on it
    Comment {
        /// The bead's id
        id: String,
        /// The text
        text: String,
    },
    /// List its comments, oldest first
    Comments {
        /// The bead's id
        id: String,
        /// The most entries to show
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Draw a project's beads and what they wait for
    Graph(why::Graph),
    /// Import beads from files of bd, br or older trees
    Import(files::Import),
    /// Write a project's beads to its file, to standard output or to another file
    Export(files::Export),
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(session).await,
            Self::Ready(ready) => ready.run(session).await,
            Self::Show { id } => show(session, &id).await,
            Self::Add(add) => session.act(Request::post(&["beads"]).body(&add)?, "created").await,
            Self::Claim(claim) => claim.run(session).await,
            Self::Heartbeat { id, lease_token } => {
                let body = serde_json::json!({"lease_token": lease_token});
                session.show(Request::post(&["beads", &id, "heartbeat"]).body(&body)?).await
            }
            Self::Release { id, reason, lease_token } => {
                let body = serde_json::json!({"reason": reason, "lease_token": lease_token});
                session.act(Request::post(&["beads", &id, "release"]).body(&body)?, "released").await
            }
            Self::Complete(complete) => complete.run(session).await,
            Self::Close(because) => because.run(session, "close", "closed").await,
            Self::Block(because) => because.run(session, "block", "blocked").await,
            Self::Unblock { id } => session.act(Request::post(&["beads", &id, "unblock"]), "unblocked").await,
            Self::Escalate(because) => because.run(session, "escalate", "escalated").await,
            Self::Why { id } => why::explain(session, &id).await,
            Self::Comment { id, text } => {
                let body = serde_json::json!({"comment": text});
                let request = Request::post(&["beads", &id, "comments"]).body(&body)?;
                session.act(request, "commented").await
            }
            Self::Comments { id, limit } => comments(session, &id, limit).await,
            Self::Graph(graph) => graph.run(session).await,
            Self::Import(import) => import.run(session).await,
            Self::Export(export) => export.run(session).await,
        }
    }
}

/// Prints a bead. Only a critical bead needs an approval, so only there a missing one is shown.
async fn show(session: &Session, id: &str) -> Result<(), Failure> {
    let mut bead = session.client.json(&Request::get(&["beads", id])).await?;
    if session.output.format() == OutputFormat::Table
        && bead["priority"] != 0
        && bead["approval"] == "missing"
        && let Some(fields) = bead.as_object_mut()
    {
        fields.remove("approval");
    }
    session.output.record(&bead)
}

/// Prints the comments on a bead: a line for author and time, and the text below it.
async fn comments(session: &Session, id: &str, limit: usize) -> Result<(), Failure> {
    let (comments, rest) = session.client.list(&Request::get(&["beads", id, "comments"]), limit).await?;
    if session.output.format() == OutputFormat::Json {
        return session.output.json(&Value::Array(comments));
    }
    if comments.is_empty() {
        note("there are no comments");
    }
    for comment in &comments {
        let head = format!("{}  {}", word(at(comment, "created_at")), word(at(comment, "author_id")));
        session.output.text(&one_line(&head))?;
        for line in printable(&word(at(comment, "comment"))).lines() {
            session.output.text(format!("    {line}").trim_end())?;
        }
    }
    if rest == Remainder::More {
        note(&format!("the first {} are shown; --limit shows more", comments.len()));
    }
    Ok(())
}
