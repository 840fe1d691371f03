//! `arbiter bead claim`, `complete`, `close` and `block`.

use crate::cli::{
    failure::Failure,
    output::{self, Form},
    request::Request,
    session::Session,
    table::{at, one_line, word},
};
use clap::Args;
use serde_json::json;

/// The arguments of `bead claim`.
#[derive(Debug, Args)]
pub struct Claim {
    /// The bead's id
    id: String,
    /// The agent that takes it
    #[arg(long, value_name = "ID")]
    agent: String,
}

/// The arguments of `bead complete`.
#[derive(Debug, Args)]
pub struct Complete {
    /// The bead's id
    id: String,
    /// What was done
    #[arg(long)]
    summary: String,
    /// The lease's token, as `bead claim` printed it
    #[arg(long, value_name = "TOKEN")]
    lease_token: Option<String>,
}

/// The arguments of a command that needs a reason.
#[derive(Debug, Args)]
pub struct Because {
    /// The bead's id
    id: String,
    /// Why
    #[arg(long)]
    reason: String,
}

impl Claim {
    /// Prints the lease's token alone, so that a script can take it; the rest is a note.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        let body = json!({"agent_id": self.agent});
        let request = Request::post(&["beads", &self.id, "claim"]).body(&body)?;
        let claimed = session.client.json(&request).await?;
        if session.output.form() == Form::Json {
            return session.output.json(&claimed);
        }
        let text = |path| one_line(&word(at(&claimed, path)));
        let until = text("lease.expires_at");
        output::note(&format!("{}: claimed by {} until {until}", self.id, self.agent));
        session.output.text(&text("lease.token"))
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

impl Because {
    /// Runs the `action` of the API; `done` is its past.
    pub async fn run(self, session: &Session, action: &str, done: &str) -> Result<(), Failure> {
        let request = Request::post(&["beads", &self.id, action]);
        session.act(request.body(&json!({"reason": self.reason}))?, done).await
    }
}
