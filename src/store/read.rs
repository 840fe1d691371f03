//! Readers: queries over one or more tables, export and verification.

pub(crate) mod capacity;
pub(crate) mod export;
pub(crate) mod org_charts;
pub(crate) mod queries;
pub(crate) mod readers;
pub(crate) mod ready;
pub(crate) mod verify;
