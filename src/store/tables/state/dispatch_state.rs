//! State of dispatch: running or paused.

use crate::base::error::StoreError;
use crate::base::table::get_time;
use arbiter_core::dispatch::assign::DispatchState;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

/// The scope of the row that stands for everything.
const SYSTEM: &str = "system";

/// Returns whether work is handed out, and since when.
pub(crate) fn get(connection: &Connection) -> Result<(DispatchState, Option<Timestamp>), StoreError> {
    let row: Option<(Option<String>, Timestamp)> = connection
        .prepare_cached("SELECT parked_reason, updated_at FROM operation WHERE scope = ?1")?
        .query_row([SYSTEM], |row| Ok((row.get(0)?, get_time(row, 1)?)))
        .optional()?;
    Ok(match row {
        Some((Some(reason), at)) => (DispatchState::Parked(reason), Some(at)),
        Some((None, at)) => (DispatchState::Active, Some(at)),
        None => (DispatchState::Active, None),
    })
}

/// Stores whether work is handed out.
pub(crate) fn put(connection: &Connection, parked: Option<&str>, at: Timestamp) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO operation (scope, parked_reason, updated_at) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![SYSTEM, parked, at.to_string()])?;
    Ok(())
}
