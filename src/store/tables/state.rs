//! Tables that hold a single row or one row per reader: cursors, markers, switches.

pub(crate) mod cursors;
pub(crate) mod dispatch_state;
pub(crate) mod mirror_state;
pub(crate) mod readiness_rule;
pub(crate) mod vault_generation;
