//! One module per table: its columns, its statements, its filters.

pub(crate) mod agents;
pub(crate) mod bead_files;
pub(crate) mod beads;
pub(crate) mod budgets;
pub(crate) mod calls;
pub(crate) mod checkpoints;
pub(crate) mod comments;
pub(crate) mod console;
pub(crate) mod decisions;
pub(crate) mod dependencies;
pub(crate) mod events;
pub(crate) mod file_locks;
pub(crate) mod heartbeats;
pub(crate) mod idempotency;
pub(crate) mod leases;
pub(crate) mod offered_models;
pub(crate) mod org_charts;
pub(crate) mod projects;
pub(crate) mod providers;
pub(crate) mod runs;
pub(crate) mod search;
pub(crate) mod state;
pub(crate) mod tokens;
