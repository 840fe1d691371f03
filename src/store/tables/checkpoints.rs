//! Checkpoints of the event chain: the starting points of verification.

use crate::base::error::StoreError;
use crate::base::table::integer;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

/// The number and hash of the last event before a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) seq: u64,
    pub(crate) hash: [u8; 32],
}

/// The newest checkpoint.
pub(crate) fn newest(connection: &Connection) -> Result<Option<Checkpoint>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT seq, hash FROM checkpoints ORDER BY seq DESC LIMIT 1")?;
    Ok(statement.query_row([], |row| Ok(Checkpoint { seq: row.get(0)?, hash: row.get(1)? })).optional()?)
}

/// Deletes the events before `first_kept` and records where the chain goes on.
pub(crate) fn cut(connection: &Connection, first_kept: u64, at: Timestamp) -> Result<(), StoreError> {
    let last_gone: Option<(u64, [u8; 32])> = connection
        .prepare_cached("SELECT seq, hash FROM events WHERE seq < ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([integer(first_kept)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((seq, hash)) = last_gone else { return Ok(()) };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO checkpoints (seq, hash, reason, created_at) VALUES (?1, ?2, 'retention', ?3)",
        )?
        .execute(params![integer(seq), hash, at.to_string()])?;
    // Verification starts from the newest; earlier ones have nothing left to vouch for.
    connection.prepare_cached("DELETE FROM checkpoints WHERE seq < ?1")?.execute([integer(seq)])?;
    connection.prepare_cached("DELETE FROM events WHERE seq < ?1")?.execute([integer(first_kept)])?;
    Ok(())
}

/// Returns the position at which an empty or fully truncated log continues.
pub(crate) fn tail(connection: &Connection) -> Result<Checkpoint, StoreError> {
    let last: Option<Checkpoint> = connection
        .prepare_cached("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok(Checkpoint { seq: row.get(0)?, hash: row.get(1)? }))
        .optional()?;
    let cut = newest(connection)?;
    let start = Checkpoint { seq: 0, hash: arbiter_core::kernel::event::GENESIS };
    Ok([last, cut].into_iter().flatten().max_by_key(|point| point.seq).unwrap_or(start))
}
