//! Moves the write-ahead log into the database once it has grown: after the answers, and with its errors
//! heard. SQLite's own checkpoint would come before them, and keep a failed fsync to itself.

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, MAIN_DB};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// Pages in the log from which on it is moved.
const CHECKPOINT_PAGES: i32 = 1000;

/// Watches how long the log of the connection that writes is.
pub(crate) struct WalWatch {
    pages: Arc<AtomicI32>,
}

impl WalWatch {
    /// Begins to watch; from now on SQLite moves nothing by itself.
    pub(crate) fn start(connection: &mut Connection) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, now| {
            seen.store(now, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages })
    }

    /// Moves the log if it has grown, as far as readers let it. What could not be moved stays in the log.
    pub(crate) fn checkpoint_if_large(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.pages.load(Ordering::Relaxed) < CHECKPOINT_PAGES {
            return Ok(());
        }
        connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE)?;
        self.pages.store(0, Ordering::Relaxed);
        Ok(())
    }
}
