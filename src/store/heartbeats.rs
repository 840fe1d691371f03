//! The history of providers' heartbeats, for plots and for the median.

use crate::error::StoreError;
use crate::table::{get_time, integer};
use arbiter_core::time::Timestamp;
use rusqlite::{Connection, params};

/// One beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// When.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
    /// What went wrong, if anything.
    pub error: Option<String>,
}

/// How many beats the median looks back.
const MEDIAN_OVER: u32 = 60;

/// Stores a beat.
pub(crate) fn add(connection: &Connection, provider: &str, beat: &Heartbeat) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO heartbeats (provider_id, at, latency_ms, error) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![provider, beat.at.to_string(), integer(beat.latency_ms), beat.error])?;
    Ok(())
}

/// The newest beats, newest first.
pub(crate) fn list(
    connection: &Connection,
    provider: &str,
    limit: u32,
) -> Result<Vec<Heartbeat>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT at, latency_ms, error FROM heartbeats WHERE provider_id = ?1 ORDER BY at DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![provider, limit], |row| {
        Ok(Heartbeat { at: get_time(row, 0)?, latency_ms: row.get(1)?, error: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The median latency of recent successful beats, in milliseconds.
pub(crate) fn median(connection: &Connection, provider: &str) -> Result<Option<u64>, StoreError> {
    let beats = list(connection, provider, MEDIAN_OVER)?;
    let mut latencies: Vec<u64> =
        beats.into_iter().filter(|beat| beat.error.is_none()).map(|beat| beat.latency_ms).collect();
    latencies.sort_unstable();
    Ok(latencies.get(latencies.len() / 2).copied())
}

/// Deletes beats before a time.
pub(crate) fn prune(connection: &Connection, before: Timestamp) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM heartbeats WHERE at < ?1")?.execute([before.to_string()])?;
    Ok(())
}
