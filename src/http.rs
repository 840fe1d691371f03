//! The HTTP edge: translates requests into calls on handles, and answers and events back.
//!
//! Owns the accept loop, the one table of endpoints (routing, rights, metrics and the OpenAPI document all
//! read it), problem documents and the event stream. Decides nothing: every rule is behind a handle. Knows
//! neither SQL nor ciphers nor actors' messages.

mod agent;
mod bead;
mod decision;
mod framework;
mod gateway;
mod project;
mod provider;
mod server;
mod system;
mod wire;

pub use framework::auth::Identity;
pub use framework::context::Context;
pub use framework::endpoint::Endpoint;
pub use framework::metrics::install as install_metrics;
pub use framework::request::ApiRequest;
pub use framework::required_role::Access;
pub use server::openapi::{document, openapi_yaml};
pub use server::pipeline::ANONYMOUS;
pub use server::routes::endpoints;
pub use server::tls::{Tls, TlsError};
pub use server::{ConnectionLimits, Listener, run, serve, serve_endpoints};
pub use wire::problem::{ApiError, ProblemType};
pub use wire::reply::Reply;
