//! `arbiter token …`: access to the API.

use crate::cli::client::connection::Connection;
use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::input_file;
use crate::cli::ui::output::{self, OutputFormat};
use crate::cli::ui::table::{self, Column};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;

const COLUMNS: &[Column] = &[
    ("id", "id"),
    ("name", "name"),
    ("role", "role"),
    ("user", "user"),
    ("agent", "agent_id"),
    ("projects", "projects"),
    ("created", "created_at"),
    ("expires", "expires_at"),
    ("last used", "last_used_at"),
];

/// Subcommands of `arbiter token`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the tokens, without their secrets
    List {
        /// The most entries to show
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Create a token; it is printed only once
    Add(Add),
    /// Without a server: create a new admin token and revoke earlier ones
    Reset,
    /// Revoke it; takes effect at once
    Revoke {
        /// The token's id
        id: String,
    },
}

/// The arguments of `token add`.
#[derive(Debug, Args, Serialize)]
pub struct Add {
    /// Its purpose
    name: String,
    /// admin, operator, agent or viewer
    #[arg(long, value_parser = ["admin", "operator", "agent", "viewer"])]
    role: String,
    /// The person who owns it; else its name
    #[arg(long, conflicts_with = "agent")]
    user: Option<String>,
    /// The agent that holds it
    #[arg(long, value_name = "ID")]
    #[serde(rename = "agent_id")]
    agent: Option<String>,
    /// A project it is limited to; may be repeated
    #[arg(long = "project", value_name = "ID")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    projects: Vec<String>,
    /// A client certificate in PEM that proves it, instead of a text
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    certificate: Option<PathBuf>,
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
            // It is run without a session, and so never here.
            Self::Reset => Ok(()),
            Self::Revoke { id } => session.act(Request::delete(&["tokens", &id]), "revoked").await,
        }
    }
}

impl Add {
    /// Prints the token alone, so that a script can take it; the rest is a note.
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut body = serde_json::to_value(&self).map_err(|error| Failure::Failed(error.to_string()))?;
        if let Some(path) = &self.certificate {
            body["certificate"] = input_file::read_text(path)?.into();
        }
        let made = session.client.json(&Request::post(&["tokens"]).body(&body)?).await?;
        if session.output.format() == OutputFormat::Json {
            return session.output.json(&made);
        }
        let id = table::one_line(&table::word(table::at(&made, "id")));
        if self.certificate.is_some() {
            return session.output.text(&format!("{id}: made; the certificate's key proves it"));
        }
        output::note(&format!("{id}: made; this is the only time the token is shown"));
        session.output.text(&table::one_line(&table::word(table::at(&made, "token"))))
    }
}

/// Makes a new admin token in a data directory that no server holds.
pub fn reset(connection: &Connection) -> Result<(), Failure> {
    let directory = connection.data_directory()?;
    let made = crate::cli::block_on(crate::app::reset_admin_token(&directory))??;
    let output = output::Output::new(connection.format());
    let path = made.path.display().to_string();
    if output.format() == OutputFormat::Json {
        return output.json(&json!({"path": path, "revoked": made.revoked}));
    }
    output::note(&format!(
        "earlier admin tokens no longer work ({}); the new one is in this file",
        made.revoked
    ));
    output.text(&path)
}
