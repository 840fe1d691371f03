//! The HTTP edge: translates requests into calls on handles, and answers and events back.
//!
//! Owns the accept loop, the one table of endpoints (routing, rights, metrics and the OpenAPI document all
//! read it), problem documents and the event stream. Decides nothing: every rule is behind a handle. Knows
//! neither SQL nor ciphers nor actors' messages.

mod access;
mod agent_views;
mod agents;
mod auth;
mod bead_actions;
mod bead_cache;
mod bead_forms;
mod bead_status;
mod bead_views;
mod beads;
mod body;
mod call;
mod comments;
mod config;
mod context;
mod cookie;
mod cors;
mod decisions;
mod dispatch;
mod endpoint;
mod events;
mod faults;
mod fields;
mod frames;
mod health;
mod idempotency;
mod keys;
mod limits;
mod log_messages;
mod metrics;
mod openapi;
mod origin;
mod page;
mod peer;
mod problem;
mod project_views;
mod projects;
mod provider_forms;
mod provider_views;
mod providers;
mod query;
mod reach;
mod reply;
mod request_id;
mod root;
mod router;
mod run_counts;
mod runs;
mod scrape;
mod server;
mod session;
mod stream;
mod system;
mod table;
mod tls;
mod tokens;
mod vault;
mod vocabulary;
mod work_graph;
mod work_graph_text;

pub use access::Access;
pub use auth::Identity;
pub use call::Call;
pub use context::Context;
pub use endpoint::Endpoint;
pub use metrics::install as install_metrics;
pub use openapi::{document, openapi_yaml};
pub use problem::{ApiError, PROBLEMS, ProblemType};
pub use reply::Reply;
pub use server::{Door, Limits, run, serve, serve_endpoints};
pub use table::endpoints;
pub use tls::{Tls, TlsError};
