//! `arbiter bead claim`, `complete`, `close` and `block`.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::{self, OutputFormat};
use crate::cli::ui::table::{at, one_line, word};
use clap::Args;
use serde_json::json;

/// The arguments of `bead claim`.
#[derive(Debug, Args)]
pub struct Claim {
    /// The bead's id
    #[arg(required_unless_present = "next")]
    id: Option<String>,
    /// The agent that takes it; an agent's own token may leave it out
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Seconds until the lease expires without a heartbeat
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
    /// Take the next ready bead that suits the agent, which is of kind external
    #[arg(long, conflicts_with = "id")]
    next: bool,
    /// Only a bead of this project
    #[arg(long, value_name = "ID", conflicts_with = "id")]
    project: Option<String>,
    /// Only a bead with this tag; may be given several times
    #[arg(long = "tag", value_name = "TAG", conflicts_with = "id")]
    tags: Vec<String>,
    /// Seconds to wait for a ready bead, at most 60
    #[arg(long, value_name = "SECONDS", conflicts_with = "id")]
    wait: Option<u64>,
}

/// The arguments of `bead complete`.
#[derive(Debug, Args)]
pub struct Complete {
    /// The bead's id
    id: String,
    /// A summary of the work
    #[arg(long)]
    summary: String,
    /// The lease's token, as `bead claim` printed it
    #[arg(long, value_name = "TOKEN")]
    lease_token: Option<String>,
}

/// The arguments of a command that needs a reason.
#[derive(Debug, Args)]
pub struct ReasonArgs {
    /// The bead's id
    id: String,
    /// Why
    #[arg(long)]
    reason: String,
}

impl Claim {
    /// Prints the lease's token alone, so that a script can take it, or the bead's id and the token of the next bead;
    /// the rest is a note. Without a next bead nothing is printed.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut body = json!({"agent_id": self.agent, "ttl_sec": self.ttl});
        let request = match &self.id {
            Some(id) => Request::post(&["beads", id, "claim"]).body(&body)?,
            None => {
                body["project_id"] = json!(self.project);
                body["tags"] = json!(self.tags);
                body["wait_sec"] = json!(self.wait);
                Request::post(&["beads", "claim"]).body(&body)?
            }
        };
        let claimed = session.client.json(&request).await?;
        if claimed.is_null() {
            output::note("there is no bead to take");
            return Ok(());
        }
        if session.output.format() == OutputFormat::Json {
            return session.output.json(&claimed);
        }
        let text = |path| one_line(&word(at(&claimed, path)));
        let until = text("lease.expires_at");
        let bead = text("bead.id");
        output::note(&format!("{bead}: claimed by {} until {until}", text("bead.assigned_to")));
        let token = text("lease.token");
        session.output.text(&if self.next { format!("{bead} {token}") } else { token })
    }
}

impl Complete {
    /// Completes the bead.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        let body = json!({"summary": self.summary, "lease_token": self.lease_token});
        let request = Request::post(&["beads", &self.id, "complete"]).body(&body)?;
        session.act(request, "completed").await
    }
}

impl ReasonArgs {
    /// Runs the `action` of the API; `done` is its past.
    pub async fn run(self, session: &Session, action: &str, done: &str) -> Result<(), Failure> {
        let request = Request::post(&["beads", &self.id, action]);
        session.act(request.body(&json!({"reason": self.reason}))?, done).await
    }
}
