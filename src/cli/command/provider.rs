//! `arbiter provider …`: LLM endpoints.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::input_file;
use crate::cli::ui::secret::KeySource;
use crate::cli::ui::table::Column;
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;

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

/// Subcommands of `arbiter provider`.
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
    /// Use it again; the next health check sets its status
    Enable {
        /// The provider's id
        id: String,
    },
    /// Stop using it
    Disable {
        /// The provider's id
        id: String,
    },
    /// Check its health now
    Heartbeat {
        /// The provider's id
        id: String,
    },
    /// Select its model again from those it offers now
    Negotiate {
        /// The provider's id
        id: String,
    },
    /// Show tokens and cost of calls to it, by model
    Usage {
        /// The provider's id
        id: String,
        /// For each day, each month, or all of the time
        #[arg(long, value_parser = ["day", "month", "total"])]
        per: Option<String>,
    },
    /// Delete it
    Delete {
        /// The provider's id
        id: String,
        /// Delete its dependents too
        #[arg(long)]
        cascade: bool,
    },
}

/// The arguments of `provider add`.
#[derive(Debug, Args, Serialize)]
pub struct Add {
    /// Its name
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
    /// Its purpose
    #[arg(long)]
    description: Option<String>,
    /// An entry of the vault that holds its key
    #[arg(long, conflicts_with_all = ["api_key_stdin", "api_key_file", "api_key_prompt"])]
    key_id: Option<String>,
    /// The pool, whose members fail over to each other
    #[arg(long)]
    pool: Option<String>,
    /// Its priority in the pool: lower ones are called first
    #[arg(long, value_name = "0-1000")]
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u32>,
    /// Its share of the calls among providers of the same priority
    #[arg(long, value_name = "1-1000")]
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    /// The most calls at one time
    #[arg(long, value_name = "CALLS")]
    max_concurrency: Option<u32>,
    /// The most calls that begin in a minute
    #[arg(long, value_name = "CALLS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_minute: Option<u32>,
    /// The most tokens in a minute, in and out together
    #[arg(long, value_name = "TOKENS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_minute: Option<u64>,
    /// A tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    #[command(flatten)]
    #[serde(skip)]
    source: KeySource,
    /// Show the provider this certificate: PEM, with its chain
    #[arg(id = "provider_client_cert", long = "client-cert", value_name = "FILE")]
    #[arg(requires = "client_key_id")]
    #[serde(skip)]
    client_cert: Option<PathBuf>,
    /// The entry of the vault, of purpose tls, that holds the private key of that certificate
    #[arg(long, value_name = "ID", requires = "provider_client_cert")]
    client_key_id: Option<String>,
    /// Trust the provider with a certificate of this CA, and no other: PEM
    #[arg(id = "provider_ca_cert", long = "ca-cert", value_name = "FILE")]
    #[serde(skip)]
    ca_cert: Option<PathBuf>,
    #[command(flatten)]
    #[serde(skip)]
    _server: ServerFlags,
}

/// The flags about Arbiter's own certificates under other names, for here their names are the provider's. The
/// ids are those of the flags that every command takes, so what is given here counts as given there.
#[derive(Debug, Args)]
struct ServerFlags {
    /// --ca-cert of the other commands
    #[arg(id = "server_ca_cert", long = "server-ca-cert", help_heading = "Server", value_name = "FILE")]
    _ca_cert: Option<PathBuf>,
    /// --client-cert of the other commands
    #[arg(id = "server_client_cert", long = "server-client-cert", help_heading = "Server")]
    #[arg(value_name = "FILE")]
    _client_cert: Option<PathBuf>,
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
            Self::Negotiate { id } => session.show(Request::post(&["providers", &id, "negotiate"])).await,
            Self::Usage { id, per } => {
                let request = Request::get(&["providers", &id, "usage"]).filter("per", per);
                session.show(request).await
            }
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
            for (name, path) in [("client_cert", &self.client_cert), ("ca_cert", &self.ca_cert)] {
                let Some(path) = path else { continue };
                let text = input_file::read_text(path)?;
                fields.insert(name.to_owned(), json!(text));
            }
        }
        session.act(request, "registered").await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::connection::Connection;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        connection: Connection,
        #[command(subcommand)]
        command: Command,
    }

    #[test]
    fn provider_add_certificate_flags_are_not_the_server_ones() {
        let line = "provider add P --endpoint https://h --client-cert theirs.pem --client-key-id k \
                    --ca-cert theirs-ca.pem --server-ca-cert ours-ca.pem --url https://a";
        let line = Line::try_parse_from(line.split_whitespace()).unwrap();
        let shown = format!("{:?}", line.connection.target().unwrap().trust);
        assert!(shown.contains("ours-ca.pem") && !shown.contains("theirs"), "{shown}");
        let Command::Add(add) = line.command else { panic!("it adds") };
        assert_eq!(add.client_cert, Some("theirs.pem".into()));
        assert_eq!(add.ca_cert, Some("theirs-ca.pem".into()));
    }

    #[test]
    fn provider_add_client_certificate_needs_its_key() {
        let line = "provider add P --endpoint https://h --client-cert c.pem";
        assert!(Line::try_parse_from(line.split_whitespace()).is_err());
    }
}
