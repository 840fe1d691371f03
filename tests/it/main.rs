//! Arbiter from outside: the real program as a child process, spoken to over HTTP, event streams, the
//! command line and signals. Knows nothing of its inside but the tables that documents are made from.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // the allowance of clippy.toml reaches #[test] functions only

mod again;
mod budgets;
mod canary;
mod cli;
mod console;
mod demo;
mod dice;
mod door;
mod faults;
mod hardening;
mod idempotency;
mod key_use;
mod kill;
mod kill_load;
mod kill_oracle;
mod memory;
mod memory_image;
mod panic_text;
mod pool;
mod program;
mod refusals;
mod refusals_at_start;
mod rights;
mod rights_of_keys;
mod sessions;
mod stage;
mod story;
mod stream;
mod stream_crowd;
mod tidy;
mod tidy_children;
mod tidy_documents;
mod tls;
mod tls_provider;
mod tls_start;
mod usage;
mod vault;
mod vault_files;
mod vault_hosts;
mod vault_kill;
mod vault_kill_ledger;
mod vault_reset;
