//! Verification of the event log: every number there, every hash right.

use crate::base::error::{StoreError, clone_error};
use crate::base::page::row_bytes;
use crate::base::table::integer;
use crate::read::readers::{Readers, report_fatal};
use crate::tables::checkpoints::{self, Checkpoint};
use crate::tables::events;
use arbiter_core::kernel::event::{GENESIS, chain_hash};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension};
use std::sync::Arc;
use tokio::sync::watch;

/// Summary of a verified log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub events: u64,
    pub first_seq: u64,
    pub last_seq: u64,
}

/// Reason why verification of the log failed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("event {0} is missing")]
    Missing(u64),
    #[error("event {0} is not what was written")]
    Changed(u64),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl VerifyError {
    /// Copies an error, since each caller that waits for a verification receives it.
    pub(crate) fn copy(&self) -> Self {
        match self {
            Self::Missing(seq) => Self::Missing(*seq),
            Self::Changed(seq) => Self::Changed(*seq),
            Self::Store(StoreError::Sqlite { operation, source }) => {
                Self::Store(StoreError::Sqlite { operation, source: clone_error(source) })
            }
            Self::Store(StoreError::Busy) => Self::Store(StoreError::Busy),
            Self::Store(_) => Self::Store(StoreError::Failed),
        }
    }
}

/// The verification that runs, if there is one. Callers that come while it runs share its result.
#[derive(Clone, Default)]
pub(crate) struct Verification(Arc<Mutex<Option<watch::Receiver<Option<Shared>>>>>);

type Shared = Arc<Result<Verified, VerifyError>>;

impl Verification {
    /// Waits for the result of the verification that runs, and starts one if none does.
    pub(crate) async fn result(&self, readers: &Readers) -> Result<Verified, VerifyError> {
        let mut running = self.join(readers)?;
        let result = running.wait_for(Option::is_some).await.map_err(|_| StoreError::Failed)?.clone();
        let result = result.ok_or(StoreError::Failed)?;
        match result.as_ref() {
            Ok(report) => Ok(report.clone()),
            Err(error) => Err(error.copy()),
        }
    }

    fn join(&self, readers: &Readers) -> Result<watch::Receiver<Option<Shared>>, StoreError> {
        let mut current = self.0.lock();
        // One whose sender is gone has panicked.
        if let Some(running) = current.as_ref()
            && running.borrow().is_none()
            && running.has_changed().is_ok()
        {
            return Ok(running.clone());
        }
        let (sender, receiver) = watch::channel(None);
        let on_failure = readers.on_failure();
        readers.start_read(move |connection| {
            let result = verify(connection);
            if let Err(VerifyError::Store(error)) = &result {
                report_fatal(error, &on_failure);
            }
            sender.send_replace(Some(Arc::new(result)));
        })?;
        *current = Some(receiver.clone());
        Ok(receiver)
    }
}

impl From<rusqlite::Error> for VerifyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Events looked at in one read, so that no reader holds the write-ahead log for long.
const CHUNK: u32 = 10_000;

/// Bytes looked at in one read.
const CHUNK_BYTES: usize = 16_777_216;

/// Follows the chain from the newest checkpoint to the newest event.
pub(crate) fn verify(connection: &Connection) -> Result<Verified, VerifyError> {
    // AUTOINCREMENT remembers the greatest number ever given, so a newest event that is gone is missed.
    let given: Option<u64> = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'events'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let start = Checkpoint { seq: 0, hash: GENESIS };
    let mut position = checkpoints::newest(connection)?.unwrap_or(start);
    let mut first_seq = position.seq + 1;
    loop {
        let before = position.seq;
        let is_contiguous = verify_chunk(connection, &mut position)?;
        if is_contiguous && position.seq > before {
            continue;
        }
        if is_contiguous && position.seq >= given.unwrap_or(0) {
            return Ok(Verified { events: position.seq + 1 - first_seq, first_seq, last_seq: position.seq });
        }
        // What is not there may have been cut while we read.
        match checkpoints::newest(connection)? {
            Some(cut) if cut.seq > position.seq => (position, first_seq) = (cut, cut.seq + 1),
            _ => return Err(VerifyError::Missing(position.seq + 1)),
        }
    }
}

/// The column of the hash, the last one that is read.
const HASH_COLUMN: usize = 12;

/// Follows the chain for one chunk; false when the event after `position` is not the next one.
fn verify_chunk(connection: &Connection, position: &mut Checkpoint) -> Result<bool, VerifyError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, id, type, timestamp, source, project_id, subject, actor, data, address, token_id, prev_hash, hash
         FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = statement.query(rusqlite::params![integer(position.seq), CHUNK])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if bytes >= CHUNK_BYTES {
            break;
        }
        bytes += row_bytes(row, HASH_COLUMN)?;
        let seq: u64 = row.get(0)?;
        if seq != position.seq + 1 {
            return Ok(false);
        }
        let changed = |_| VerifyError::Changed(seq);
        let previous: [u8; 32] = row.get(11).map_err(changed)?;
        let hash: [u8; 32] = row.get(HASH_COLUMN).map_err(changed)?;
        // As it is written, not as it reads: an event that no parser reads can be verified all the same.
        let event = events::stored(row)?;
        let right =
            previous == position.hash && event.is_some_and(|event| hash == chain_hash(&previous, &event));
        if !right {
            return Err(VerifyError::Changed(seq));
        }
        *position = Checkpoint { seq, hash };
    }
    Ok(true)
}
