//! Project, org chart and file lock routes.

pub(crate) mod dto;
pub(crate) mod file_locks;
pub(crate) mod handlers;
pub(crate) mod org_charts;
