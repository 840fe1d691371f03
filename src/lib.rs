//! Arbiter: one server that runs a company of AI agents and can be trusted with its keys.
//!
//! The binary is `arbiter`; this library is the same server for tests and for programs that want the cast
//! without the HTTP edge ([`Arbiter`]).

#![warn(missing_docs)]

pub mod app;
#[cfg(feature = "temporal")]
pub mod bridge;
pub mod cli;
pub mod config;
pub mod http;
mod key_file;
mod library;
#[cfg(feature = "temporal")]
mod library_temporal;

pub use arbiter_core as core;
pub use library::{Arbiter, EventStream};
pub use secrecy::{ExposeSecret, SecretString};
