//! Verification of the event log: every number there, every hash right.

use crate::checkpoints;
use crate::error::StoreError;
use crate::events;
use crate::table::integer;
use arbiter_core::event::{GENESIS, chain_hash};
use rusqlite::Connection;

/// What a whole log looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many events were checked.
    pub events: u64,
    /// The first of them.
    pub first_seq: u64,
    /// The last of them.
    pub last_seq: u64,
}

/// Why the log is not whole.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// An event is missing.
    #[error("event {0} is missing")]
    Missing(u64),
    /// An event is not what was written.
    #[error("event {0} is not what was written")]
    Changed(u64),
    /// It could not be read.
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
    let start = checkpoints::newest(connection)?;
    let (mut seq, mut hash) = start.map_or((0, GENESIS), |point| (point.seq, point.hash));
    let first_seq = seq + 1;
    loop {
        let mut statement = connection.prepare_cached(
            "SELECT seq, id, type, timestamp, source, project_id, subject, actor, data, prev_hash, hash
             FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let mut rows = statement.query(rusqlite::params![integer(seq), CHUNK])?;
        let before = seq;
        while let Some(row) = rows.next()? {
            let at: u64 = row.get(0)?;
            if at != seq + 1 {
                return Err(VerifyError::Missing(seq + 1));
            }
            let changed = |_| VerifyError::Changed(at);
            let event = events::read(row).map_err(changed)?;
            let data: String = row.get(8).map_err(changed)?;
            let previous: [u8; 32] = row.get(9).map_err(changed)?;
            let written: [u8; 32] = row.get(10).map_err(changed)?;
            if previous != hash || chain_hash(&hash, &event, &data) != written {
                return Err(VerifyError::Changed(at));
            }
            (seq, hash) = (at, written);
        }
        if seq == before {
            return Ok(Verified { events: seq + 1 - first_seq, first_seq, last_seq: seq });
        }
    }
}
