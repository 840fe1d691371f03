//! The encrypted key file: unlock, read, and atomic replacement.
//!
//! Owns the cipher, the file format and the atomic replacement. Synchronous by design: every call with a
//! password may derive a key, which takes tens of milliseconds and belongs on a blocking thread. Must not know
//! actors, HTTP, the database, or the purpose of a request for a key.

mod archive;
mod atomic_file;
mod cipher;
mod drafts;
mod entry;
mod error;
mod format;
mod iterations;
mod password;
mod permissions;
mod rewrite;
mod scrub;
mod session;
mod state;
mod temporary;
mod vault;

pub use archive::{ArchivedFile, archive_key_file};
pub use drafts::{DraftChange, Overwrite};
pub use entry::{EntryInfo, NewEntry};
pub use error::VaultError;
pub use iterations::Iterations;
pub use rewrite::install::ForeignKeyFile;
pub use rewrite::{OnConflict, Rewrite, RewrittenEntry};
pub use scrub::{Scrubbed, on_scrubbed_stack};
pub use state::{UnlockOutcome, VaultState};
pub use vault::Vault;
