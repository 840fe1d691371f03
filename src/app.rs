//! The composition root: builds store, vault, actors and edges, and starts and stops them in order.
//!
//! Owns the process: its privileges, its signals and its files in the data directory, except those of store
//! and vault. Nothing that it builds depends on it.

mod actor_settings;
mod admin_token;
mod demo;
mod demo_provider;
mod error;
mod logging;
mod maintenance;
mod model_catalog;
mod notify;
mod process;
mod reload;
mod serve;
mod server_file;
mod vault_reset;

pub use actor_settings::actor_settings;
pub use demo::{DemoOptions, demo};
pub use error::{StartError, describe};
pub use logging::start as start_logging;
pub use maintenance::{AdminTokenReset, reset_admin_token, verify_audit};
pub use model_catalog::{CatalogError, load as load_catalog};
pub use notify::{NotifyError, load as load_notify};
pub use process::{harden, lock_memory, shutdown_signal};
pub use serve::{Password, PasswordOrigin, ServeOptions, print_line, runtime, serve};
pub use vault_reset::{VaultReset, reset_vault};
