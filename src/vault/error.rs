//! Everything the vault can refuse or fail at, in one enum.
//!
//! Owns the wording. Must not know secrets: no variant carries a value, a password or file contents.

use arbiter_core::kernel::ids::KeyId;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why the vault did not do what was asked. After any of them the file on disk holds what it held
/// before, with one exception that [`VaultError::Io`] names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    #[error("the vault is locked")]
    Locked,
    /// The password does not open this vault. A damaged verifier looks the same.
    #[error("wrong password")]
    WrongPassword,
    /// A new vault or a new password needs at least one character.
    #[error("the password is empty")]
    EmptyPassword,
    /// No entry has this id.
    #[error("no key {0}")]
    NotFound(KeyId),
    /// An entry has this id already, and a create never overwrites.
    #[error("key {0} exists already")]
    Exists(KeyId),
    /// The entry is bound to hosts, and the request goes elsewhere (or names no host).
    #[error("key {id} is not for host {host:?}")]
    HostRefused {
        id: KeyId,
        /// The host the key was asked for; empty when none was named.
        host: String,
    },
    /// The entry does not open: damaged, moved here from another entry, or of another password.
    #[error("key {id} cannot be read")]
    Unreadable { id: KeyId },
    /// The file is not one this program can fully read. It is never overwritten.
    #[error("key file {path:?} is refused: {reason}")]
    Corrupt { path: PathBuf, reason: String },
    /// What was given as a key file is none, or not one that is understood.
    #[error("what was given is no key file: {reason}")]
    NotAKeyFile { reason: String },
    #[error("these keys exist already: {}; on_conflict skip keeps them, replace takes the new ones", list(.0))]
    Taken(Vec<KeyId>),
    /// What was prepared no longer fits: the vault was locked or changed meanwhile.
    #[error("the vault was locked or changed meanwhile")]
    Superseded,
    #[error("key file {path:?} was changed or removed by another program; lock and unlock to read it again")]
    Changed { path: PathBuf },
    /// The file or its directory is open to others, or belongs to someone else.
    #[error("{path:?} must belong to this user alone; run: {fix}")]
    Permissions { path: PathBuf, fix: String },
    /// The disk, a quota or a file size limit is exhausted (`ENOSPC`, `EDQUOT`, `EFBIG`).
    #[error("no space left for the key file")]
    Full,
    /// The file would grow beyond what [`crate::Vault::open`] accepts.
    #[error("the key file would exceed {limit_bytes} bytes")]
    TooLarge {
        /// The largest file accepted, in bytes.
        limit_bytes: u64,
    },
    /// The system refused a file operation. When `operation` is `sync the directory of`, the new
    /// contents are in place and only their durability is unknown.
    #[error("cannot {operation} {path:?}")]
    Io {
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    Random(#[source] io::Error),
    #[error("{0} key derivation rounds are outside 100000 to 10000000")]
    Iterations(u32),
}

fn list(ids: &[KeyId]) -> String {
    ids.iter().map(KeyId::as_str).collect::<Vec<_>>().join(", ")
}

impl VaultError {
    /// A refusal of the file at `path`; the reason quotes nothing of it.
    pub(crate) fn corrupt(path: &Path, reason: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), reason: reason.into() }
    }
}
