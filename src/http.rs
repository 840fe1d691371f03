//! The HTTP edge: translates requests into calls on handles, and answers and events back.
//!
//! Owns the accept loop, the one table of endpoints (routing, rights, metrics and the OpenAPI document all
//! read it), problem documents and the event stream. Decides nothing: every rule is behind a handle. Knows
//! neither SQL nor ciphers nor actors' messages.

mod access;
mod agent_views;
mod agents;
mod auth;
mod bead_cache;
mod body;
mod call;
mod context;
mod dispatch;
mod endpoint;
mod faults;
mod fields;
mod frames;
mod metrics;
mod openapi;
mod origin;
mod page;
mod problem;
mod query;
mod reply;
mod request_id;
mod run_counts;
mod router;
mod server;
mod stream;
mod table;
mod vocabulary;

pub use access::Access;
pub use auth::Identity;
pub use call::Call;
pub use context::Context;
pub use endpoint::Endpoint;
pub use metrics::install as install_metrics;
pub use openapi::document;
pub use problem::{ApiError, PROBLEMS, ProblemType};
pub use reply::Reply;
pub use table::endpoints;
pub use server::{Limits, run, serve, serve_endpoints};
