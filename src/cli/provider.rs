//! `arbiter provider …`: LLM endpoints.

use super::{failure::Failure, request::Request, secret::KeySource, session::Session, table::Column};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::json;

const COLUMNS: &[Column] = &[
    ("id", "id"),
    ("name", "name"),
    ("type", "type"),
    ("status", "status"),
    ("model", "model"),
    ("latency ms", "last_heartbeat_latency_ms"),
    ("last beat", "last_heartbeat_at"),
    ("error", "last_heartbeat_error"),
];

/// What to do with providers.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the providers
    List {
        /// Only those with this status
        #[arg(long)]
        status: Option<String>,
        /// The most entries to show
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one provider
    Show {
        /// The provider's id
        id: String,
    },
    /// Register a provider; its key comes from standard input, a file or a hidden prompt
    Add(Box<Add>),
    /// Let it be used again; the next beat decides how it stands
    Enable {
        /// The provider's id
        id: String,
    },
    /// Stop using it
    Disable {
        /// The provider's id
        id: String,
    },
    /// Ask it now whether it is there
    Heartbeat {
        /// The provider's id
        id: String,
    },
    /// Delete it
    Delete {
        /// The provider's id
        id: String,
        /// Also what depends on it
        #[arg(long)]
        cascade: bool,
    },
}

/// The arguments of `provider add`.
#[derive(Debug, Args, Serialize)]
pub struct Add {
    /// What it is called
    name: String,
    /// Its address, as https://api.openai.com/v1
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// openai, anthropic, vllm, ollama, local or custom
    #[arg(long = "type", value_name = "TYPE", default_value = "openai")]
    #[serde(rename = "type")]
    provider_type: String,
    /// Its id; else one is made
    #[arg(long)]
    id: Option<String>,
    /// The model to use; else the best it offers
    #[arg(long)]
    model: Option<String>,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// An entry of the vault that holds its key
    #[arg(long, conflicts_with_all = ["api_key_stdin", "api_key_file", "api_key_prompt"])]
    key_id: Option<String>,
    /// The most calls at one time
    #[arg(long, value_name = "CALLS")]
    max_concurrency: Option<u32>,
    /// A word to find it by; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    #[command(flatten)]
    #[serde(skip)]
    source: KeySource,
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List { status, limit } => {
                let request = Request::get(&["providers"]).filter("status", status);
                session.list(request, limit, COLUMNS).await
            }
            Self::Show { id } => session.show(Request::get(&["providers", &id])).await,
            Self::Add(add) => add.run(session).await,
            Self::Enable { id } => session.act(Request::post(&["providers", &id, "enable"]), "enabled").await,
            Self::Disable { id } => {
                session.act(Request::post(&["providers", &id, "disable"]), "disabled").await
            }
            Self::Heartbeat { id } => session.show(Request::post(&["providers", &id, "heartbeat"])).await,
            Self::Delete { id, cascade } => {
                let request = Request::delete(&["providers", &id]);
                session.act(request.filter("cascade", cascade.then_some("true")), "deleted").await
            }
        }
    }
}

impl Add {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut request = Request::post(&["providers"]).body(&self)?;
        let key = self.source.read()?;
        if let Some(serde_json::Value::Object(fields)) = &mut request.body {
            let needs_key = key.is_some() || self.key_id.is_some();
            fields.insert("requires_key".to_owned(), json!(needs_key));
            if let Some(key) = &key {
                fields.insert("api_key".to_owned(), json!(key.expose_secret()));
            }
        }
        session.act(request, "registered").await
    }
}
