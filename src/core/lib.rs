//! The functional core: what may happen in Arbiter, as pure types and tables.
//!
//! Owns every entity's states and transitions, the rules that decide a command, and the policies
//! (readiness, back-off, restart budget, matching). Knows no clock, no randomness, no I/O: time, ids
//! and random bytes come in as arguments.

#[macro_use]
pub mod kernel;

pub mod agent;
pub mod bead;
pub mod budget;
pub mod decision;
pub mod dispatch;
pub mod model;
pub mod notification;
pub mod project;
pub mod prompt;
pub mod provider;
