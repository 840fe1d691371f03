//! The writer thread: group commit, units applied to tables, readiness, bulk import.

pub(crate) mod apply;
pub(crate) mod import;
pub(crate) mod import_comments;
pub(crate) mod import_edges;
pub(crate) mod import_synced;
pub(crate) mod readiness;
pub(crate) mod writer;
