//! The table of cursors: how far each reader of the log outside of the process has got.

use crate::base::error::StoreError;
use rusqlite::{Connection, OptionalExtension, params};

/// Last event that a reader has received.
pub(crate) fn get(connection: &Connection, name: &str) -> Result<Option<u64>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT seq FROM cursors WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

/// Moves a cursor; it never goes back.
pub(crate) fn put(connection: &Connection, name: &str, seq: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO cursors (name, seq) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET seq = max(seq, excluded.seq)",
        )?
        .execute(params![name, seq])?;
    Ok(())
}
