//! The workflows at a real Temporal server, with a port that keeps its entities in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // the allowance of clippy.toml reaches #[test] functions only

mod aggregator;
mod decision;
mod harness;
mod heartbeat;
mod memory;
mod recorded;
mod recordings;
mod retries;
mod worker_death;
