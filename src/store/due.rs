//! Which ready beads may be handed out now, and when the next one may.

use crate::error::StoreError;
use crate::table::{self, Table, get_optional_time};
use arbiter_core::bead::Bead;
use arbiter_core::time::Timestamp;
use rusqlite::{Connection, params};

/// Whether bead `b` is not deferred at `?`: neither itself nor, as `bd ready` has it, by a parent.
pub(crate) const NOT_DEFERRED: &str = "(b.defer_until IS NULL OR b.defer_until <= ?) AND NOT EXISTS (
    SELECT 1 FROM bead_dependencies d JOIN beads p ON p.id = d.depends_on
    WHERE d.bead_id = b.id AND d.type = 'parent-child' AND p.defer_until > ?)";

/// Ready beads in the order of their urgency that may be handed out at `now`.
pub(crate) fn due(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<Bead>, StoreError> {
    let sql = format!(
        "SELECT {} FROM beads b WHERE b.ready = 1 AND {}
         AND (b.next_attempt_at IS NULL OR b.next_attempt_at <= ?1)
         ORDER BY b.priority, b.created_at, b.id LIMIT ?2",
        table::columns::<Bead>("b."),
        NOT_DEFERRED.replace('?', "?1"),
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![now.to_string(), limit], Bead::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The next time after `now` at which a ready bead's deferral or pause ends.
pub(crate) fn next_due(connection: &Connection, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT min(due) FROM (
                   SELECT max(coalesce(b.defer_until, ''), coalesce(b.next_attempt_at, ''), coalesce((
                       SELECT max(p.defer_until) FROM bead_dependencies d JOIN beads p ON p.id = d.depends_on
                       WHERE d.bead_id = b.id AND d.type = 'parent-child'), '')) AS due
                   FROM beads b WHERE b.ready = 1)
               WHERE due > ?1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([now.to_string()], |row| get_optional_time(row, 0))?)
}
