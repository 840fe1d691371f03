//! Error type of the vault.
//!
//! No variant carries a secret: neither a value, a password nor file contents.

use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::limits::MIN_PASSWORD_CHARS;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Failure of a vault operation. The file on disk is unchanged after every error except the case that
/// [`VaultError::Io`] describes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    #[error("the vault is locked")]
    Locked,
    /// The password does not open this vault. A damaged verifier gives the same error.
    #[error("wrong password")]
    WrongPassword,
    /// The password of a new vault or file, or a new password.
    #[error("a new password must have at least {MIN_PASSWORD_CHARS} characters")]
    ShortPassword,
    #[error("no key {0}")]
    NotFound(KeyId),
    /// An entry with this id already exists; a create never overwrites.
    #[error("key {0} exists already")]
    Exists(KeyId),
    /// The entry is bound to hosts, and the request names another host or none.
    #[error("key {id} is not for host {host:?}")]
    HostRefused {
        id: KeyId,
        /// Requested host; empty if none was given.
        host: String,
    },
    /// The entry cannot be decrypted: damaged, moved from another entry, or encrypted under another password.
    #[error("key {id} cannot be read")]
    Unreadable { id: KeyId },
    /// This program cannot fully parse the file. It is never overwritten.
    #[error("key file {path:?} is refused: {reason}")]
    Corrupt { path: PathBuf, reason: String },
    /// The input is not a key file in a supported format.
    #[error("what was given is no key file: {reason}")]
    NotAKeyFile { reason: String },
    #[error("these keys exist already: {}; on_conflict skip keeps them, replace takes the new ones", list(.0))]
    Taken(Vec<KeyId>),
    /// The prepared work no longer applies: the vault was locked or changed meanwhile.
    #[error("the vault was locked or changed meanwhile")]
    Superseded,
    /// A key file has been here and is gone; no new one is created in its place.
    #[error(
        "key file {path:?} is missing, and one was there before: put it back from a copy or from its .bak file and \
         unlock; to go on without its keys, stop the server and run: arbiter vault reset --forget-keys"
    )]
    Missing { path: PathBuf },
    #[error("key file {path:?} was changed or removed by another program; lock and unlock to read it again")]
    Changed { path: PathBuf },
    /// Other users can access the file or its directory, or another user owns it.
    #[error("{path:?} must belong to this user alone; run: {fix}")]
    Permissions { path: PathBuf, fix: String },
    /// The disk, a quota or a file size limit is exhausted (`ENOSPC`, `EDQUOT`, `EFBIG`).
    #[error("no space left for the key file")]
    Full,
    /// The file would exceed the largest size that [`crate::Vault::open`] accepts.
    #[error("the key file would exceed {limit_bytes} bytes")]
    TooLarge {
        /// Largest accepted file, in bytes.
        limit_bytes: u64,
    },
    /// The system refused a file operation. If `operation` is `sync the directory of`, the new contents are in
    /// place and only their durability is unknown.
    #[error("cannot {operation} {path:?}")]
    Io {
        operation: &'static str,
        /// File or directory of the operation.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The operating system returned no random bytes.
    #[error("no random bytes from the operating system")]
    Random(#[source] io::Error),
    #[error("{0} key derivation rounds are outside 100000 to 10000000")]
    Iterations(u32),
}

fn list(ids: &[KeyId]) -> String {
    ids.iter().map(KeyId::as_str).collect::<Vec<_>>().join(", ")
}

impl VaultError {
    /// Builds [`VaultError::Corrupt`] for the file at `path`; `reason` must not quote the file.
    pub(crate) fn corrupt(path: &Path, reason: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), reason: reason.into() }
    }
}
