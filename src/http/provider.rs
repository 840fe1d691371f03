//! Provider, model, usage and budget routes.

pub(crate) mod budgets;
pub(crate) mod dto;
pub(crate) mod handlers;
pub(crate) mod insight;
pub(crate) mod models;
pub(crate) mod usage;
