//! Every setting: name, type, unit, meaning.
//!
//! Owns the shape of the configuration (the values are in `defaults`); `config/arbiter.default.toml` documents the same keys and a
//! test holds the two equal. Knows neither layers nor ranges.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// All settings, one field per section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The HTTP server and its limits.
    pub http: Http,
    /// The database.
    pub store: Store,
    /// The event log and its broker.
    pub events: Events,
    /// The actors and their supervision.
    pub actors: Actors,
    /// The key manager.
    pub vault: Vault,
    /// Calls to providers.
    pub providers: Providers,
    /// Handing out work.
    pub dispatch: Dispatch,
    /// Files of beads.
    pub bead_files: BeadFiles,
    /// Questions to people.
    pub decisions: Decisions,
    /// Notices to receivers outside.
    pub notify: Notify,
    /// The Temporal server.
    pub temporal: Temporal,
    /// Level and format of the log.
    pub log: Log,
}

/// The Temporal server that mirrors the state and carries calls to workers elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Temporal {
    /// The server: `host`, `host:port` or a URL; empty: there is none.
    pub address: String,
    /// The namespace of this installation.
    pub namespace: String,
    /// How many days the server keeps what has ended, where the namespace is ours to make.
    pub retention_days: u32,
    /// Where people see its page; empty: nowhere.
    pub ui_url: String,
    /// The file of the key of its API; empty: it wants none.
    pub api_key_file: PathBuf,
    /// The certificates of those who may have signed the server's, in PEM; empty: those of the system.
    pub tls_ca: PathBuf,
    /// Our certificate, in PEM; empty: we show none.
    pub tls_cert: PathBuf,
    /// The private key of that certificate, in PEM.
    pub tls_key: PathBuf,
    /// The name in the server's certificate; empty: the one it is reached by.
    pub tls_server_name: String,
    /// Makes the calls of runs through workers as well, not only those of the console.
    pub run_beads: bool,
    /// Makes this server one of the workers for such calls.
    pub serve_providers: bool,
    /// The queue of those who make calls to providers.
    pub providers_queue: String,
    /// The most requests to the server at one time.
    pub max_in_flight: usize,
    /// The queue of each type of workflow.
    pub queues: BTreeMap<String, String>,
}

/// The HTTP server and its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address and port to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The server's certificate with its chain, in PEM; empty: plain HTTP.
    pub tls_cert: PathBuf,
    /// The private key of that certificate, in PEM.
    pub tls_key: PathBuf,
    /// The CA whose certificates prove who calls, in PEM; empty: callers show none.
    pub tls_client_ca: PathBuf,
    /// Host names, beside loopback and the listening address, that a request may be addressed to.
    pub allowed_hosts: Vec<String>,
    /// Requires a token for each request.
    pub auth: Authentication,
    /// The largest request body, in bytes.
    pub max_body_bytes: u64,
    /// The largest body of a chat that is passed on to a provider, in bytes.
    pub max_conversation_bytes: u64,
    /// The largest bead file in the body of an import, in bytes.
    pub max_import_bytes: u64,
    /// The bytes that one agent's token may send in bodies on one day (UTC).
    pub agent_bytes_per_day: u64,
    /// The most expensive requests of one token at one time: work graphs, exports and audits.
    pub expensive_per_token: usize,
    /// The longest time a request may take, streams excepted.
    pub request_timeout_ms: u64,
    /// The longest time a client may take to send its request head.
    pub header_read_timeout_ms: u64,
    /// The largest request head, in bytes.
    pub max_header_bytes: usize,
    /// The most headers of a request.
    pub max_headers: usize,
    /// The largest body that may hold a password or a key, in bytes.
    pub max_secret_body_bytes: u64,
    /// The longest silence within a request body.
    pub body_idle_timeout_ms: u64,
    /// The most connections at one time.
    pub max_connections: usize,
    /// The most connections of one address at one time.
    pub connections_per_address: usize,
    /// The requests that one token may make in a second, in the long run.
    pub requests_per_sec: u32,
    /// The requests that one token may make at once.
    pub requests_burst: u32,
    /// The most event streams of one token at one time.
    pub streams_per_token: usize,
    /// Applies the limits per address and per token to loopback too.
    pub limit_loopback: bool,
    /// The time after which a browser has to sign in again.
    pub session_ttl_sec: u64,
    /// Origins, as `https://board.example`, whose pages may call the API with a token.
    pub cors_origins: Vec<String>,
    /// The most event streams at one time.
    pub max_streams: usize,
    /// The time between two keep-alive comments on an event stream.
    pub stream_keep_alive_ms: u64,
    /// The time after which a connection whose peer takes nothing is closed.
    pub stream_stall_ms: u64,
}

/// The files that TLS is spoken with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate with its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The CA of callers' certificates, if callers may show any.
    pub client_ca: Option<PathBuf>,
}

impl Http {
    /// The files that TLS is spoken with; none: plain HTTP.
    pub fn tls(&self) -> Option<TlsFiles> {
        let given = |path: &PathBuf| Some(path.clone()).filter(|path| !path.as_os_str().is_empty());
        Some(TlsFiles {
            certificate: given(&self.tls_cert)?,
            key: given(&self.tls_key)?,
            client_ca: given(&self.tls_client_ca),
        })
    }
}

/// Requires a token for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authentication {
    /// Every request but the public routes carries a token.
    On,
    /// No request needs a token; accepted on a loopback address only.
    Off,
}

/// The database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// The most commands that share one transaction and its fsync.
    pub group_commit_max: usize,
    /// The most commands that wait for the writer; beyond it the server answers busy.
    pub queue_max: usize,
    /// The number of reading connections.
    pub readers: usize,
}

/// The event log and its broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// The number of newest events kept in memory for subscribers.
    pub buffer: usize,
    /// The days an event is kept.
    pub retention_days: u32,
    /// The number of events kept at most.
    pub retention_max: u64,
}

/// The actors and their supervision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Actors {
    /// The threads that entities (agents, beads, decisions, …) are spread over.
    pub threads: usize,
    /// The messages that may wait for one actor; beyond it the server answers busy.
    pub mailbox: usize,
    /// The idle time after which an entity's actor leaves memory.
    pub idle_retire_ms: u64,
    /// The restarts within the window after which an actor is given up.
    pub restart_limit: u32,
    /// The window in which restarts are counted.
    pub restart_window_ms: u64,
}

/// The key manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vault {
    /// PBKDF2 iterations for new entries.
    pub kdf_iterations: u32,
    /// The idle time after which the vault locks itself; 0 never.
    pub auto_lock_sec: u64,
    /// Keeps all memory of the server out of swap.
    pub lock_memory: bool,
}

/// Calls to providers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Providers {
    /// The time between two heartbeats of one provider.
    pub heartbeat_interval_ms: u64,
    /// The longest time one heartbeat may take.
    pub heartbeat_timeout_ms: u64,
    /// The longest time one call may take, retries included.
    pub call_deadline_ms: u64,
    /// The longest pause before a failed call is made again the first time; it doubles with each further one.
    pub retry_base_ms: u64,
    /// The longest such pause that the provider did not ask for itself.
    pub retry_longest_ms: u64,
    /// The time from its beginning within which a failed call is made again; 0: never.
    pub retry_budget_ms: u64,
    /// The longest silence between two pieces of a streamed answer.
    pub idle_timeout_ms: u64,
    /// The most tokens of an answer from a provider with Anthropic's protocol, which requires a limit; an agent's own
    /// `max_tokens` precedes it. Thinking counts against it.
    pub answer_tokens: u32,
    /// Allows plain `http` endpoints on public addresses, where a key travels unencrypted.
    pub allow_public_http: bool,
    /// The file of models that are known besides; empty: `models.toml` in the data directory, if there is one.
    pub catalogue: PathBuf,
    /// Directories below which an operator may name a Unix socket as endpoint.
    pub socket_roots: Vec<PathBuf>,
    /// The days that what calls took and cost is kept.
    pub usage_retention_days: u32,
}

/// Handing out work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dispatch {
    /// The most beads worked on at one time.
    pub max_parallel: usize,
    /// The attempts without progress after which a bead is blocked and a person asked.
    pub attempts_max: u32,
    /// The wait after the first failed attempt; it doubles with each further one.
    pub backoff_base_ms: u64,
    /// The longest wait between two attempts.
    pub backoff_max_ms: u64,
    /// The time a claim holds without being renewed.
    pub lease_ttl_sec: u64,
    /// The most calls to the provider within one run.
    pub max_steps: u32,
    /// The most open approvals of critical beads in one project.
    pub p0_decisions_per_project: usize,
    /// The meaning of a dependency of type `conditional-blocks`.
    pub conditional_blocks: ConditionalBlocks,
}

/// The meaning of a dependency of type `conditional-blocks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConditionalBlocks {
    /// The same as `blocks`, as `bd` does it.
    Blocks,
    /// As in `bd`: the bead is worked on only if the other one fails.
    OnFailure,
}

/// Files of beads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BeadFiles {
    /// How long changes are gathered before a project's file is written.
    pub pause_ms: u64,
    /// Directories below which an operator may place a project's bead files.
    pub roots: Vec<PathBuf>,
}

/// Questions to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Decisions {
    /// The time to answer, for a decision that names none.
    pub timeout_sec: u64,
}

/// Notices to receivers outside about decisions, spent budgets and providers that are down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// The URL that notices are posted to; empty: none are posted.
    pub url: String,
    /// The file of the secret that notices are signed with.
    pub secret_file: PathBuf,
    /// The id of that secret in the vault, in its place.
    pub key_id: String,
}

/// Level and format of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// The level of everything that is no target of its own.
    pub level: LogLevel,
    /// The level per target.
    pub targets: LogTargets,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The least severe level that is still logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Failures.
    Error,
    /// Failures and warnings.
    Warn,
    /// Failures, warnings and events.
    Info,
    /// How it happened.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word as log filters write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The level per log target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogTargets {
    /// Workflows: starts and ends.
    pub workflow: LogLevel,
    /// Activities: starts and ends.
    pub activity: LogLevel,
    /// The event broker: subscribers and deliveries.
    pub event_bus: LogLevel,
    /// Calls that leave the process: start, end, time, outcome.
    pub integration: LogLevel,
}
