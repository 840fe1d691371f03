//! The composition root: builds organs, actors and edges, and knows the order of start and end.
//!
//! Owns the process: its privileges, its signals, its files in the data directory besides those of store
//! and vault. Everything it builds knows nothing of it.

mod admin_token;
mod cast_settings;
mod catalogue;
mod demo;
mod demo_provider;
mod error;
mod forget;
mod logging;
mod maintenance;
mod notify;
mod process;
mod reload;
mod serve;
mod server_file;

pub use cast_settings::cast_settings;
pub use catalogue::load as load_catalogue;
pub use demo::{DemoOptions, demo};
pub use error::{StartError, describe};
pub use forget::{Forgotten, forget_keys};
pub use logging::start as log_to;
pub use maintenance::{NewAdmin, reset_admin_token, verify_audit};
pub use notify::load as load_notify;
pub use process::{asked_to_end, harden, lock_memory};
pub use serve::{Password, PasswordOrigin, ServeOptions, runtime, say, serve};
