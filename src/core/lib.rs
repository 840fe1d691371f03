//! The functional core: what may happen in Arbiter, as pure types and tables.
//!
//! Owns every entity's states and transitions, the rules that decide a command, and the policies
//! (readiness, back-off, restart budget, matching). Knows no clock, no randomness, no I/O: time, ids
//! and random bytes come in as arguments.

pub mod ids;
pub mod time;
