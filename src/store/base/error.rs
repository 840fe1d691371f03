//! Errors of the store, grouped by the caller's reaction.

use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use rusqlite::ffi;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The change is against a rule; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A row was changed since the decision was made; read it again and decide again.
    #[error("{entity} {id} was changed meanwhile")]
    Stale { entity: &'static str, id: String },
    /// The disk is full; nothing was written, reading goes on.
    #[error("the disk is full")]
    Full,
    /// More is waiting than the store takes; try again.
    #[error("the store is busy")]
    Busy,
    /// An earlier error of the disk makes every further answer doubtful; the process has to end.
    #[error("the store has failed and takes no more changes")]
    Failed,
    #[error("{operation}")]
    Sqlite {
        operation: &'static str,
        #[source]
        source: rusqlite::Error,
    },
    #[error("row {id} of {table} cannot be read: {reason}")]
    Unreadable { table: &'static str, id: String, reason: String },
    #[error("{0}")]
    Schema(String),
    /// A file of the database has been there and is gone; nothing was written in its place.
    #[error("{0}")]
    Missing(String),
    #[error("{operation} {path}")]
    Io {
        operation: &'static str,
        path: String,
        #[source]
        source: std::io::Error,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        if is_full(&source) {
            Self::Full
        } else if extended(&source) == Some(ffi::SQLITE_CONSTRAINT_FOREIGNKEY) {
            // A refusal, no fault: what a row names was deleted, or what is to be deleted is still named.
            Refusal::conflict(ProblemCode::InUse, "something it names is gone, or something still names it")
                .into()
        } else {
            Self::Sqlite { operation: "run a statement", source }
        }
    }
}

fn extended(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|code| code.extended_code)
}

/// Returns whether an error says that the disk is full. The index of the write-ahead log that cannot grow says the
/// same in other words; it holds nothing that has to last.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
        || extended(error) == Some(ffi::SQLITE_IOERR_SHMSIZE)
}

/// Returns whether an error makes the file or the disk doubtful: after a failed fsync a second one proves nothing.
pub(crate) fn is_fatal(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, SystemIoFailure};
    !is_full(error)
        && matches!(
            error.sqlite_error_code(),
            Some(SystemIoFailure | DatabaseCorrupt | NotADatabase | CannotOpen)
        )
}

/// Returns whether a read proves that the file or the disk is damaged. A reader that finds no space or cannot open a
/// file proves nothing.
pub(crate) fn is_damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
        || matches!(
            extended(error),
            Some(ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS)
        )
}

/// Copies an error, since rusqlite's own is not `Clone` and a whole commit group receives it.
pub(crate) fn clone_error(error: &rusqlite::Error) -> rusqlite::Error {
    let code = error.sqlite_error().copied().unwrap_or(ffi::Error::new(0));
    rusqlite::Error::SqliteFailure(code, Some(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn full_disk_is_not_fatal_in_any_error_code() {
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE] {
            assert!(is_full(&failure(code)) && !is_fatal(&failure(code)), "{code}");
        }
        for code in
            [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB]
        {
            assert!(is_fatal(&failure(code)) && !is_full(&failure(code)), "{code}");
        }
        for code in [ffi::SQLITE_BUSY, ffi::SQLITE_CONSTRAINT_CHECK, ffi::SQLITE_NOMEM] {
            assert!(!is_fatal(&failure(code)) && !is_full(&failure(code)), "{code}");
        }
    }
}
