//! Parts shared by every route: routing, authentication, rights, limits, metrics, idempotency.

pub(crate) mod auth;
pub(crate) mod bead_cache;
pub(crate) mod context;
pub(crate) mod cookie;
pub(crate) mod cors;
pub(crate) mod endpoint;
pub(crate) mod idempotency;
pub(crate) mod metrics;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod project_scope;
pub(crate) mod quotas;
pub(crate) mod request;
pub(crate) mod request_id;
pub(crate) mod required_role;
pub(crate) mod router;
