//! Errors that prevent a start or end a server.

use crate::app::model_catalog::CatalogError;
use crate::app::notify::NotifyError;
use crate::http::TlsError;
use crate::key_file::KeyFileError;
use arbiter_actors::{Error, VaultAccessError};
use arbiter_store::{LockError, StoreError};
use arbiter_vault::VaultError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An error that prevents a start or ends a server.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] LockError),
    /// The actors did not start.
    #[error("the server cannot start")]
    ActorSystem(#[source] arbiter_actors::StartError),
    /// The key file cannot be used.
    #[error("the key file cannot be used")]
    Vault(#[source] VaultError),
    /// The password is wrong.
    #[error("the password does not open the vault; nothing was changed")]
    WrongPassword,
    /// The key file has been there and is gone.
    #[error(transparent)]
    KeyFileMissing(VaultAccessError),
    /// The vault could not be unlocked.
    #[error("the vault cannot be unlocked")]
    Unlock(#[source] Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// TLS cannot be spoken.
    #[error("the server cannot speak TLS")]
    Tls(#[from] TlsError),
    /// The catalogue of models cannot be used.
    #[error("the catalogue of models cannot be used")]
    Catalog(#[from] CatalogError),
    /// The receiver of notifications cannot be used as configured.
    #[error("notices cannot be sent")]
    Notify(#[from] NotifyError),
    /// The Temporal server cannot be used as the configuration has it.
    #[cfg(feature = "temporal")]
    #[error("the Temporal server cannot be used")]
    Temporal(#[from] crate::bridge::BridgeConfigError),
    /// A Temporal server is configured, and this program was built without support for it.
    #[cfg(not(feature = "temporal"))]
    #[error("temporal.address is set, and this program was built without the feature `temporal`")]
    NoTemporal,
    /// A file cannot be written.
    #[error("cannot write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The first token could not be made.
    #[error("the admin token cannot be made")]
    Token(#[source] Error),
    /// The process could not be set up.
    #[error("cannot {operation}")]
    Process {
        /// The operation that failed.
        operation: &'static str,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The memory cannot be kept out of swap.
    #[error(
        "vault.lock_memory is on, but the memory cannot be locked; run: ulimit -l unlimited (in a unit file: \
         LimitMEMLOCK=infinity)"
    )]
    LockMemory(#[source] io::Error),
    /// The database cannot be opened or changed.
    #[error("the database cannot be used")]
    Database(#[source] StoreError),
    /// The database can no longer be trusted.
    #[error("the database failed; no further change was acknowledged. Check the disk and start again")]
    StoreFailed,
    /// The demonstration could not be set up.
    #[error("the demonstration cannot be set up")]
    Demo(#[source] Error),
}

impl StartError {
    /// Returns whether another process has locked the data directory.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Directory(LockError::Held(_)))
    }

    /// The exit code of the process: 1 failed, 74 I/O, 75 directory held, 77 refused, 78 configuration.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Directory(LockError::Held(_)) => 75,
            Self::Directory(
                LockError::TooOpen { .. } | LockError::WrongOwner { .. } | LockError::NotRegularFile(_),
            )
            | Self::WrongPassword
            | Self::KeyFileMissing(_)
            | Self::Database(StoreError::Missing(_))
            | Self::ActorSystem(arbiter_actors::StartError::Store(StoreError::Missing(_))) => 77,
            Self::Tls(TlsError::Key(KeyFileError::Refused { .. }))
            | Self::Notify(NotifyError::File(KeyFileError::Refused { .. }))
            | Self::Vault(VaultError::Permissions { .. })
            | Self::ActorSystem(arbiter_actors::StartError::Vault(VaultError::Permissions { .. })) => 77,
            Self::Database(StoreError::Schema(_))
            | Self::ActorSystem(arbiter_actors::StartError::Store(StoreError::Schema(_)))
            | Self::Tls(TlsError::Invalid { .. })
            | Self::Catalog(_)
            | Self::Notify(_)
            | Self::LockMemory(_) => 78,
            #[cfg(feature = "temporal")]
            Self::Temporal(_) => 78,
            #[cfg(not(feature = "temporal"))]
            Self::NoTemporal => 78,
            Self::Vault(VaultError::Io { .. } | VaultError::Full)
            | Self::Unlock(Error::Vault(VaultAccessError::Failed(
                VaultError::Io { .. } | VaultError::Full,
            )))
            | Self::Directory(LockError::Io { .. })
            | Self::Tls(_)
            | Self::Listen { .. }
            | Self::File { .. }
            | Self::StoreFailed
            | Self::Database(_)
            | Self::ActorSystem(_) => 74,
            Self::Vault(_) | Self::Unlock(_) | Self::Token(_) | Self::Process { .. } | Self::Demo(_) => 1,
        }
    }
}

impl StartError {
    /// Maps the error of an unlock.
    pub(crate) fn from_unlock_error(error: Error) -> Self {
        match error {
            Error::Vault(VaultAccessError::WrongPassword) => Self::WrongPassword,
            Error::Vault(missing @ VaultAccessError::KeyFileMissing) => Self::KeyFileMissing(missing),
            other => Self::Unlock(other),
        }
    }
}

impl From<arbiter_actors::StartError> for StartError {
    fn from(error: arbiter_actors::StartError) -> Self {
        match error {
            arbiter_actors::StartError::Vault(error) => Self::Vault(error),
            other => Self::ActorSystem(other),
        }
    }
}

/// Formats an error and its causes in one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(next.to_string().trim_end());
        cause = next.source();
    }
    text
}
