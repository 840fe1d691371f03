//! The encrypted key file: who opens it, what is in it, how it is replaced.
//!
//! Owns the cipher, the file format and the atomic replacement. Synchronous by design: every call that
//! takes a password may run a key derivation of tens of milliseconds and belongs on a blocking thread.
//! Must not know actors, HTTP, the database, or who asks for a key and why.

mod archive;
mod atomic_file;
mod cipher;
mod entry;
mod error;
mod format;
mod iterations;
mod permissions;
mod rewrite;
mod scrub;
mod session;
mod state;
mod temporary;
mod vault;

pub use archive::{ArchivedFile, archive_key_file};
pub use entry::{EntryInfo, NewEntry};
pub use error::VaultError;
pub use iterations::Iterations;
pub use rewrite::install::ForeignKeyFile;
pub use rewrite::{OnConflict, Rewrite, RewrittenEntry};
pub use scrub::{Scrubbed, on_scrubbed_stack};
pub use state::{UnlockOutcome, VaultState};
pub use vault::Vault;
