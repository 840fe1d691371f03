//! The built-in default of every setting.
//!
//! Owns the values and nothing else; their meaning stands at the fields.

use super::settings::{
    Actors, Authentication, BeadFiles, ConditionalBlocks, Decisions, Dispatch, Events, Http, Log, LogFormat,
    LogLevel, LogTargets, Notify, Providers, Store, Temporal, Vault,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            tls_client_ca: PathBuf::new(),
            allowed_hosts: Vec::new(),
            auth: Authentication::On,
            max_body_bytes: 1024 * 1024,
            max_conversation_bytes: 32 * 1024 * 1024,
            max_import_bytes: 1024 * 1024 * 1024,
            agent_bytes_per_day: 256 * 1024 * 1024,
            expensive_per_token: 2,
            request_timeout_ms: 30_000,
            header_read_timeout_ms: 5_000,
            max_header_bytes: 16_384,
            max_headers: 64,
            max_secret_body_bytes: 65_536,
            body_idle_timeout_ms: 10_000,
            max_connections: 2_048,
            connections_per_address: 64,
            requests_per_sec: 100,
            requests_burst: 200,
            streams_per_token: 16,
            limit_loopback: false,
            session_ttl_sec: 7 * 24 * 60 * 60,
            cors_origins: Vec::new(),
            max_streams: 1_024,
            stream_keep_alive_ms: 15_000,
            stream_stall_ms: 30_000,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { group_commit_max: 256, queue_max: 4_096, readers: 4 }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self { buffer: 1_000, retention_days: 30, retention_max: 5_000_000 }
    }
}

impl Default for Actors {
    fn default() -> Self {
        Self { threads: 1, mailbox: 64, idle_retire_ms: 60_000, restart_limit: 5, restart_window_ms: 60_000 }
    }
}

impl Default for Vault {
    fn default() -> Self {
        Self { kdf_iterations: 600_000, auto_lock_sec: 0, lock_memory: false }
    }
}

impl Default for Providers {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 30_000,
            heartbeat_timeout_ms: 10_000,
            call_deadline_ms: 120_000,
            retry_base_ms: 500,
            retry_longest_ms: 20_000,
            retry_budget_ms: 15_000,
            idle_timeout_ms: 30_000,
            answer_tokens: 8_192,
            allow_public_http: false,
            catalogue: PathBuf::new(),
            socket_roots: Vec::new(),
            usage_retention_days: 400,
        }
    }
}

impl Default for Dispatch {
    fn default() -> Self {
        Self {
            max_parallel: 16,
            attempts_max: 3,
            backoff_base_ms: 1_000,
            backoff_max_ms: 300_000,
            lease_ttl_sec: 300,
            max_steps: 8,
            p0_decisions_per_project: 20,
            conditional_blocks: ConditionalBlocks::Blocks,
        }
    }
}

impl Default for BeadFiles {
    fn default() -> Self {
        Self { pause_ms: 1_000, roots: Vec::new() }
    }
}

impl Default for Decisions {
    fn default() -> Self {
        Self { timeout_sec: 172_800 }
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self { url: String::new(), secret_file: PathBuf::new(), key_id: String::new() }
    }
}

impl Default for Temporal {
    fn default() -> Self {
        let types = [
            "AgentLifecycleWorkflow",
            "BeadProcessingWorkflow",
            "DecisionWorkflow",
            "DispatcherWorkflow",
            "EventAggregatorWorkflow",
            "ProviderHeartbeatWorkflow",
            "ProviderQueryWorkflow",
        ];
        Self {
            address: String::new(),
            namespace: "default".to_owned(),
            retention_days: 30,
            ui_url: String::new(),
            api_key_file: PathBuf::new(),
            tls_ca: PathBuf::new(),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            tls_server_name: String::new(),
            run_beads: false,
            serve_providers: true,
            providers_queue: "arbiter-providers".to_owned(),
            max_in_flight: 8,
            queues: types.map(|kind| (kind.to_owned(), "arbiter-control".to_owned())).into(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info, targets: LogTargets::default() }
    }
}

impl Default for LogTargets {
    fn default() -> Self {
        Self {
            workflow: LogLevel::Info,
            activity: LogLevel::Info,
            event_bus: LogLevel::Info,
            integration: LogLevel::Info,
        }
    }
}
