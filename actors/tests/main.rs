//! The cast in one process: real store, real vault, real HTTP to a scripted provider.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends at what it did not expect

mod abandoned_requests;
mod decisions;
mod heartbeat;
mod notices;
mod patches;
mod personas;
mod rights;
mod stage;
mod store_errors;
mod supervision;
mod vault;
mod work;
