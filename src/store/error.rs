//! What can go wrong with the store, by what the caller should do about it.

use arbiter_core::refusal::Refusal;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The change is against a rule; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A row was changed since the decision was made; read it again and decide again.
    #[error("{entity} {id} was changed meanwhile")]
    Stale {
        /// The kind of entity.
        entity: &'static str,
        /// Its id.
        id: String,
    },
    /// The disk is full; nothing was written, reading goes on.
    #[error("the disk is full")]
    Full,
    /// More is waiting than the store takes; try again.
    #[error("the store is busy")]
    Busy,
    /// An earlier error of the disk makes every further answer doubtful; the process has to end.
    #[error("the store has failed and takes no more changes")]
    Failed,
    /// SQLite's own error.
    #[error("{operation}")]
    Sqlite {
        /// What was tried.
        operation: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// A row that cannot be read back.
    #[error("row {id} of {table} cannot be read: {reason}")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
        /// Why.
        reason: String,
    },
    /// The schema is not one that this program may use.
    #[error("{0}")]
    Schema(String),
    /// An error of the file system.
    #[error("{operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        if is_full(&source) { Self::Full } else { Self::Sqlite { operation: "run a statement", source } }
    }
}

/// Whether an error says that the disk (or its quota) is full.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

/// Whether an error makes the file or the disk doubtful: after a failed fsync a second one proves nothing.
pub(crate) fn is_fatal(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(SystemIoFailure | DatabaseCorrupt | NotADatabase | CannotOpen))
}
