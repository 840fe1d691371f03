//! The part of the configuration that the actors use.

use arbiter_core::bead::readiness::ConditionalMode;
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::model::catalog::Catalog;
use arbiter_core::provider::retry::RetryPolicy;
use secrecy::SecretString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Settings of the actors.
#[derive(Clone, Debug)]
pub struct Settings {
    pub threads: usize,
    /// Messages that may wait for one actor.
    pub mailbox: usize,
    pub idle_retire: Duration,
    /// Restarts of one actor within the window.
    pub restart_limit: usize,
    pub restart_window: Duration,
    /// Events that the bus keeps for slow subscribers.
    pub bus_buffer: usize,
    pub events_kept_for: Duration,
    pub events_kept: u64,
    /// PBKDF2 iterations of new vault entries.
    pub kdf_iterations: u32,
    /// Idle time before the vault locks; zero: never.
    pub auto_lock: Duration,
    pub heartbeat_interval: Duration,
    pub heartbeat_timeout: Duration,
    pub call_deadline: Duration,
    pub retry: RetryPolicy,
    pub idle_timeout: Duration,
    /// Most tokens of an answer for a protocol that requires a limit.
    pub answer_tokens: u32,
    pub public_http: PublicHttp,
    /// Directories below which an operator may name a Unix socket as endpoint.
    pub socket_roots: Vec<PathBuf>,
    /// The models that are known; none by default.
    pub catalogue: Arc<Catalog>,
    pub calls_kept_for: Duration,
    /// Runs at one time.
    pub max_parallel: usize,
    /// Failed attempts before the operator is asked.
    pub attempts_max: u32,
    pub backoff_base: Duration,
    pub backoff_max: Duration,
    pub lease_ttl: Duration,
    /// Answers of the model in one run.
    pub max_steps: u32,
    /// Pending approvals of one project.
    pub approvals_per_project: u64,
    /// Delay between a change of beads and the write of their file.
    pub bead_file_pause: Duration,
    /// Directories below which an operator may place bead files; none: only an administrator names their place.
    pub bead_roots: Vec<PathBuf>,
    /// The meaning of `conditional-blocks`.
    pub conditional: ConditionalMode,
    pub decision_timeout: Duration,
    pub notify: Option<Notify>,
    /// Threads that read the store.
    pub store_readers: usize,
    /// Units in one transaction.
    pub store_group_max: usize,
    /// Units that may wait for the writer.
    pub store_queue_max: usize,
}

/// The receiver of notices that need action.
#[derive(Clone, Debug)]
pub struct Notify {
    pub url: String,
    pub secret: NotifySecret,
}

/// The source of the secret that signs notices.
#[derive(Clone, Debug)]
pub enum NotifySecret {
    Given(SecretString),
    Key(KeyId),
}

/// The rule for plain HTTP to public hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicHttp {
    Allowed,
    Refused,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: 1,
            mailbox: 64,
            idle_retire: Duration::from_secs(60),
            restart_limit: 5,
            restart_window: Duration::from_secs(60),
            bus_buffer: 1000,
            events_kept_for: Duration::from_secs(30 * 86_400),
            events_kept: 5_000_000,
            kdf_iterations: 600_000,
            auto_lock: Duration::ZERO,
            heartbeat_interval: Duration::from_secs(30),
            heartbeat_timeout: Duration::from_secs(10),
            call_deadline: Duration::from_secs(120),
            retry: RetryPolicy::default(),
            idle_timeout: Duration::from_secs(30),
            answer_tokens: 8_192,
            public_http: PublicHttp::Refused,
            socket_roots: Vec::new(),
            catalogue: Arc::default(),
            calls_kept_for: Duration::from_secs(400 * 86_400),
            max_parallel: 16,
            attempts_max: 3,
            backoff_base: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            lease_ttl: Duration::from_secs(300),
            max_steps: 8,
            approvals_per_project: 20,
            bead_file_pause: Duration::from_secs(1),
            bead_roots: Vec::new(),
            conditional: ConditionalMode::Blocks,
            decision_timeout: Duration::from_secs(48 * 3600),
            notify: None,
            store_readers: 4,
            store_group_max: 256,
            store_queue_max: 4096,
        }
    }
}
