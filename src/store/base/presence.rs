//! Knowledge that a database has been in a data directory: one that is gone is not a first start.
//!
//! Owns the file `arbiter.db-state`. It says `open` while a store may have acknowledged units that only the
//! write-ahead log holds, and `closed` once all of them are in the database. SQLite itself creates a missing
//! database anew, and takes a database without its log for a whole one.

use crate::base::error::StoreError;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Texts of the file, of equal length: a full disk has room for a change between them.
const OPEN: &[u8] = b"open  \n";
const CLOSED: &[u8] = b"closed\n";
/// Files that no start makes before it has made the database.
const FOLLOWERS: [&str; 4] = ["arbiter.db-state", "arbiter.db-wal", "arbiter.db-shm", "admin-token"];

/// Record of whether a database exists and was closed in order.
#[derive(Clone, Debug)]
pub(crate) struct Presence {
    state: PathBuf,
}

impl Presence {
    /// Checks that no file of the database has vanished since the last start. Writes nothing.
    ///
    /// # Errors
    /// [`StoreError::Missing`], which says what to do.
    pub(crate) fn check(directory: &Path) -> Result<Self, StoreError> {
        let state = directory.join("arbiter.db-state");
        let database = directory.join("arbiter.db");
        if !database.exists() {
            let followers = FOLLOWERS.map(|name| directory.join(name));
            return match followers.iter().find(|path| path.symlink_metadata().is_ok()) {
                Some(follower) => Err(database_missing(&database, follower)),
                None => Ok(Self { state }),
            };
        }
        let text = match std::fs::read(&state) {
            Ok(text) => text,
            // Earlier versions wrote no state.
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(failed("read", &state, source)),
        };
        let log = directory.join("arbiter.db-wal");
        if text == OPEN && !log.exists() {
            return Err(log_missing(&log, &state));
        }
        Ok(Self { state })
    }

    /// Records that units may be in the write-ahead log alone; durable on return.
    pub(crate) fn record_open(&self) -> Result<(), StoreError> {
        self.write(OPEN)
    }

    /// Records that every unit is in the database; durable on return.
    pub(crate) fn record_closed(&self) -> Result<(), StoreError> {
        self.write(CLOSED)
    }

    fn write(&self, text: &[u8]) -> Result<(), StoreError> {
        let is_new = !self.state.exists();
        let opened =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.state);
        opened
            .and_then(|mut file| {
                file.write_all(text)?;
                file.sync_all()
            })
            .and_then(|()| match self.state.parent() {
                Some(directory) if is_new => std::fs::File::open(directory)?.sync_all(),
                _ => Ok(()),
            })
            .map_err(|source| failed("write", &self.state, source))
    }
}

fn database_missing(database: &Path, follower: &Path) -> StoreError {
    let (database, follower) = (database.display(), follower.display());
    StoreError::Missing(format!(
        "{database} is missing, and it was there before, as {follower} shows; nothing was created in its place. Put it \
         back, with its -wal file if there is one, or restore a copy of the data directory; to begin anew, give another \
         --data-dir"
    ))
}

fn log_missing(log: &Path, state: &Path) -> StoreError {
    let (log, state) = (log.display(), state.display());
    StoreError::Missing(format!(
        "{log} is missing, and the server did not stop in order: the newest acknowledged changes may be in that file \
         alone. Put it back, or restore a copy of the data directory; if another program has moved it into the database, \
         or to go on without those changes, remove {state}"
    ))
}

fn failed(operation: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Io { operation, path: path.display().to_string(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn is_missing(directory: &Path) -> bool {
        matches!(Presence::check(directory), Err(StoreError::Missing(_)))
    }

    #[test]
    fn database_is_missing_only_where_one_has_been() {
        let home = tempfile::tempdir().unwrap();
        assert!(!is_missing(home.path()), "a first start");
        fs::write(home.path().join("keys.json"), "{}").unwrap();
        assert!(!is_missing(home.path()), "keys are brought along");
        for name in FOLLOWERS {
            fs::write(home.path().join(name), CLOSED).unwrap();
            assert!(is_missing(home.path()), "{name}");
            fs::remove_file(home.path().join(name)).unwrap();
        }
    }

    #[test]
    fn log_is_missing_only_after_an_open_state() {
        let home = tempfile::tempdir().unwrap();
        let presence = Presence::check(home.path()).unwrap();
        fs::write(home.path().join("arbiter.db"), "").unwrap();
        assert!(!is_missing(home.path()), "an earlier version");
        presence.record_open().unwrap();
        assert!(is_missing(home.path()));
        fs::write(home.path().join("arbiter.db-wal"), "").unwrap();
        assert!(!is_missing(home.path()));
        fs::remove_file(home.path().join("arbiter.db-wal")).unwrap();
        presence.record_closed().unwrap();
        assert!(!is_missing(home.path()));
    }
}
