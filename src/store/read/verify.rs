//! Verification of the event log: every number there, every hash right.

use crate::base::error::StoreError;
use crate::base::table::integer;
use crate::tables::checkpoints::{self, Checkpoint};
use crate::tables::events;
use arbiter_core::kernel::event::{GENESIS, chain_hash};
use rusqlite::{Connection, OptionalExtension};

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

impl From<rusqlite::Error> for VerifyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Events looked at in one read, so that no reader holds the write-ahead log for long.
const CHUNK: u32 = 10_000;

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

/// Follows the chain for one chunk; false when the event after `position` is not the next one.
fn verify_chunk(connection: &Connection, position: &mut Checkpoint) -> Result<bool, VerifyError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, id, type, timestamp, source, project_id, subject, actor, data, address, token_id, prev_hash, hash
         FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = statement.query(rusqlite::params![integer(position.seq), CHUNK])?;
    while let Some(row) = rows.next()? {
        let seq: u64 = row.get(0)?;
        if seq != position.seq + 1 {
            return Ok(false);
        }
        let changed = |_| VerifyError::Changed(seq);
        let previous: [u8; 32] = row.get(11).map_err(changed)?;
        let hash: [u8; 32] = row.get(12).map_err(changed)?;
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
