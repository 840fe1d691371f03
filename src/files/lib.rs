//! Access to files that belong to other users and programs, whose content and type cannot be trusted.
//!
//! Owns which files are opened at all, and how: regular files of bounded size, without following links below a
//! trusted directory, without blocking at open. Must not know what the bytes mean. Every function blocks, so an
//! async caller runs it on a thread for that and bounds its time.

mod directory;
mod error;
mod foreign;

pub use directory::{Directory, Identity, sync_created};
pub use error::{FileKind, ForeignError};
pub use foreign::{BoundedReader, ForeignFile, Stamp, open_foreign, open_given, read_text};
