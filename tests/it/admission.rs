//! Admission of requests: hosts, origins, sizes, rights, TLS, start-up.

pub mod connections;
pub mod foreign_data;
pub mod hardening;
pub mod idempotency;
pub mod key_rights;
pub mod named_files;
pub mod panic_text;
pub mod refusals;
pub mod refused_bodies;
pub mod rights;
pub mod row_reads;
pub mod sessions;
pub mod startup_refusals;
pub mod tls;
pub mod tls_startup;
