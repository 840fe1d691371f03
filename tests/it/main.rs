//! Arbiter from outside: the real program as a child process, over HTTP, event streams, the command line and
//! signals. Knows only the tables of the inside that documents are made from.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // the allowance of clippy.toml reaches #[test] functions only

mod admission;
mod agent;
mod bead;
mod cli;
mod clients;
mod crash;
mod events;
mod frozen;
mod harness;
mod provider;
mod temporal;
mod tidy;
mod vault;
