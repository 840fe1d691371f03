//! The table of what is mirrored elsewhere: which entity changed since the mirror has it, and which life of it that is.

use crate::base::error::StoreError;
use crate::base::rows::{AdoptedMirror, ChangedEntity, SentMirror};
use crate::tables::state::cursors;
use rusqlite::{Connection, params};

/// The name of the mirror's cursor over the log.
pub const MIRROR_CURSOR: &str = "mirror";

/// An entity whose newest state the mirror does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueMirror {
    pub kind: String,
    pub id: String,
    pub seq: u64,
    pub run_no: u64,
    pub run: Option<(String, u64)>,
}

/// Position of the mirror.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MirrorState {
    /// The last event it has read; none before the first one.
    pub cursor: Option<u64>,
    /// Entities whose newest state has not arrived.
    pub due: u64,
    /// The oldest event whose outcome has not arrived.
    pub oldest_due: Option<u64>,
}

/// Moves the cursor and notes which entities changed up to there.
pub(crate) fn read(connection: &Connection, seq: u64, changed: &[ChangedEntity]) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO mirrored (kind, id, run_no, seq, sent_seq, rank) VALUES (?1, ?2, 1, ?3, 0, ?5)
         ON CONFLICT (kind, id) DO UPDATE SET
             seq = max(seq, excluded.seq), run_no = run_no + (?4 AND excluded.seq > seq),
             rank = CASE WHEN seq > sent_seq THEN min(rank, excluded.rank) ELSE excluded.rank END",
    )?;
    for one in changed {
        statement.execute(params![one.kind, one.id, one.seq, one.begins, one.rank])?;
    }
    cursors::put(connection, MIRROR_CURSOR, seq)
}

/// Takes over workflows that a store before this one had.
pub(crate) fn adopt(connection: &Connection, adopted: &[AdoptedMirror]) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO mirrored (kind, id, run_no, seq, sent_seq, rank, run_id, run_of)
         VALUES (?1, ?2, ?3, 0, 0, 0, ?4, ?3)",
    )?;
    for one in adopted {
        statement.execute(params![one.kind, one.id, one.run_no, one.run_id])?;
    }
    Ok(())
}

/// Takes note of what has arrived.
pub(crate) fn sent(connection: &Connection, sent: &[SentMirror]) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "UPDATE mirrored SET sent_seq = max(sent_seq, ?3), run_id = coalesce(?4, run_id), run_of = coalesce(?5, run_of)
         WHERE kind = ?1 AND id = ?2",
    )?;
    for one in sent {
        let (run_id, run_of) = one.run.as_ref().map(|(id, of)| (id, of)).unzip();
        statement.execute(params![one.kind, one.id, one.seq, run_id, run_of])?;
    }
    Ok(())
}

/// The entities that have waited longest, live traffic first.
pub(crate) fn due(connection: &Connection, most: u32) -> Result<Vec<DueMirror>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, id, seq, run_no, run_id, run_of FROM mirrored WHERE seq > sent_seq ORDER BY rank, seq LIMIT ?1",
    )?;
    let rows = statement.query_map([most], |row| {
        let run: Option<String> = row.get(4)?;
        Ok(DueMirror {
            kind: row.get(0)?,
            id: row.get(1)?,
            seq: row.get(2)?,
            run_no: row.get(3)?,
            run: run.zip(row.get(5)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns the mirror's position.
pub(crate) fn state(connection: &Connection) -> Result<MirrorState, StoreError> {
    let cursor = cursors::get(connection, MIRROR_CURSOR)?;
    let sql = "SELECT count(*), min(seq) FROM mirrored WHERE seq > sent_seq";
    let mut statement = connection.prepare_cached(sql)?;
    let (due, oldest_due) = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(MirrorState { cursor, due, oldest_due })
}

/// Returns the mirror's run number of an entity; none before its first event was read.
pub(crate) fn run_no(connection: &Connection, kind: &str, id: &str) -> Result<Option<u64>, StoreError> {
    use rusqlite::OptionalExtension;
    let mut statement =
        connection.prepare_cached("SELECT run_no FROM mirrored WHERE kind = ?1 AND id = ?2")?;
    Ok(statement.query_row([kind, id], |row| row.get(0)).optional()?)
}
