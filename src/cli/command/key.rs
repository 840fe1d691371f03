//! `arbiter key …`: entries of the vault. No command shows a key.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::secret::KeySource;
use crate::cli::ui::table::Column;
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::json;

const COLUMNS: &[Column] = &[
    ("id", "id"),
    ("name", "name"),
    ("purpose", "purpose"),
    ("description", "description"),
    ("hosts", "allowed_hosts"),
    ("created", "created_at"),
    ("updated", "updated_at"),
];

/// Subcommands of `arbiter key`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the entries, without their keys
    List {
        /// The most entries to show
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Store a key; prompts for it unless it comes from standard input or a file
    Add(Add),
    /// Replace the key of an entry; prompts for it unless it comes from standard input or a file
    Rotate(Rotate),
    /// Delete an entry
    Delete {
        /// The entry's id
        id: String,
    },
}

/// The arguments of `key add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The entry's name
    name: String,
    /// The entry's id; else one is made
    #[arg(long)]
    id: Option<String>,
    /// The purpose of the key
    #[arg(long)]
    description: Option<String>,
    /// Purpose of the key: provider, tls or codec
    #[arg(long, value_parser = ["provider", "tls", "codec"])]
    purpose: Option<String>,
    /// A host that the key may be sent to; may be repeated; without it, any host
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    #[command(flatten)]
    source: KeySource,
}

/// The arguments of `key rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The entry's id
    id: String,
    /// A host that the key may be sent to from now on; may be repeated; without it, the hosts stay
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    #[command(flatten)]
    source: KeySource,
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List { limit } => session.list(Request::get(&["keys"]), limit, COLUMNS).await,
            Self::Add(add) => add.run(session).await,
            Self::Rotate(rotate) => rotate.run(session).await,
            Self::Delete { id } => session.act(Request::delete(&["keys", &id]), "deleted").await,
        }
    }
}

impl Add {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let key = self.source.read_or_ask()?;
        let body = json!({
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "purpose": self.purpose,
            "allowed_hosts": self.hosts,
            "value": key.expose_secret(),
        });
        session.act(Request::post(&["keys"]).body(&body)?, "stored").await
    }
}

impl Rotate {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let key = self.source.read_or_ask()?;
        let body = json!({"allowed_hosts": self.hosts, "value": key.expose_secret()});
        session.act(Request::put(&["keys", &self.id]).body(&body)?, "replaced").await
    }
}
