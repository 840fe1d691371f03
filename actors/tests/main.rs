//! The cast in one process: real store, real vault, real HTTP to a scripted provider.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends at what it did not expect

mod decisions;
mod heartbeat;
mod notices;
mod personas;
mod stage;
mod supervision;
mod vault;
mod work;
