//! `arbiter token …`: who may use the API.

use super::{
    failure::Failure,
    output::{self, Form},
    request::Request,
    session::Session,
    table::{self, Column},
};
use clap::{Args, Subcommand};
use serde::Serialize;

const COLUMNS: &[Column] = &[
    ("id", "id"),
    ("name", "name"),
    ("role", "role"),
    ("user", "user"),
    ("agent", "agent_id"),
    ("created", "created_at"),
    ("expires", "expires_at"),
];

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the tokens, without their secrets
    List {
        /// The most entries to show
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Make a token; it is printed once and never again
    Add(Add),
    /// Make it useless at once
    Revoke {
        /// The token's id
        id: String,
    },
}

/// The arguments of `token add`.
#[derive(Debug, Args, Serialize)]
pub struct Add {
    /// What it is for
    name: String,
    /// admin, operator, agent or viewer
    #[arg(long)]
    role: String,
    /// The person who holds it; else its name
    #[arg(long, conflicts_with = "agent")]
    user: Option<String>,
    /// The agent that holds it
    #[arg(long, value_name = "ID")]
    #[serde(rename = "agent_id")]
    agent: Option<String>,
    /// When it stops to work, as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List { limit } => session.list(Request::get(&["tokens"]), limit, COLUMNS).await,
            Self::Add(add) => add.run(session).await,
            Self::Revoke { id } => session.act(Request::delete(&["tokens", &id]), "revoked").await,
        }
    }
}

impl Add {
    /// Prints the token alone, so that a script can take it; the rest is a note.
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let made = session.client.json(&Request::post(&["tokens"]).body(&self)?).await?;
        if session.output.form() == Form::Json {
            return session.output.json(&made);
        }
        let id = table::one_line(&table::word(table::at(&made, "id")));
        output::note(&format!("{id}: made; this is the only time the token is shown"));
        session.output.text(&table::one_line(&table::word(table::at(&made, "token"))))
    }
}
