//! Routes about the server itself: health, events, tokens, sessions, vault, metrics.

pub(crate) mod config;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod log_messages;
pub(crate) mod metrics_endpoint;
pub(crate) mod root;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod stream;
#[cfg(feature = "temporal")]
pub(crate) mod temporal;
pub(crate) mod tokens;
pub(crate) mod vault;
