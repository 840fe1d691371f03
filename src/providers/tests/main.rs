//! Tests of the package's public API: recorded answers, faults, and chats over loopback HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // the allowance of clippy.toml reaches #[test] functions only

mod faults;
mod gateway;
mod recorded;
mod recorded_errors;
mod stage;
