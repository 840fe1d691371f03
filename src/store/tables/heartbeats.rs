//! The history of providers' heartbeats, for plots and for the median.

use crate::base::error::StoreError;
use crate::base::page::{Page, PageRequest};
use crate::base::rows::Heartbeat;
use crate::base::table::{get_time, integer};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::{Connection, params};

/// Number of heartbeats in the median.
const MEDIAN_WINDOW: u32 = 60;

/// Stores a beat.
pub(crate) fn add(connection: &Connection, provider: &str, heartbeat: &Heartbeat) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO heartbeats (provider_id, at, latency_ms, error) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            provider,
            heartbeat.at.to_string(),
            integer(heartbeat.latency_ms),
            heartbeat.error
        ])?;
    Ok(())
}

fn newest(
    connection: &Connection,
    provider: &str,
    before: Option<&str>,
    limit: u32,
) -> Result<Vec<Heartbeat>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT at, latency_ms, error FROM heartbeats
         WHERE provider_id = ?1 AND (?3 IS NULL OR at < ?3) ORDER BY at DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![provider, limit, before], |row| {
        Ok(Heartbeat { at: get_time(row, 0)?, latency_ms: row.get(1)?, error: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A page of beats, newest first; the cursor is the time of the last one before it.
pub(crate) fn list(
    connection: &Connection,
    provider: &str,
    request: &PageRequest,
) -> Result<Page<Heartbeat>, StoreError> {
    let cursor = request.cursor.as_deref().map(str::parse::<Timestamp>).transpose();
    let cursor =
        cursor.map_err(|_| Refusal::field("cursor", "must be a cursor that this server returned"))?;
    let before = cursor.map(|at| at.to_string());
    let mut items = newest(connection, provider, before.as_deref(), request.limit.max(1).saturating_add(1))?;
    let limit = usize::try_from(request.limit.max(1)).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|heartbeat| heartbeat.at.to_string());
    let total = connection
        .prepare_cached("SELECT count(*) FROM heartbeats WHERE provider_id = ?1")?
        .query_row([provider], |row| row.get(0))?;
    Ok(Page { items, next, total, unreadable: vec![], bytes: 0 })
}

/// The median latency of recent successful beats, in milliseconds.
pub(crate) fn median(connection: &Connection, provider: &str) -> Result<Option<u64>, StoreError> {
    let beats = newest(connection, provider, None, MEDIAN_WINDOW)?;
    let mut latencies: Vec<u64> = beats
        .into_iter()
        .filter(|heartbeat| heartbeat.error.is_none())
        .map(|heartbeat| heartbeat.latency_ms)
        .collect();
    latencies.sort_unstable();
    Ok(latencies.get(latencies.len() / 2).copied())
}

/// Deletes beats before a time.
pub(crate) fn prune(connection: &Connection, before: Timestamp) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM heartbeats WHERE at < ?1")?.execute([before.to_string()])?;
    Ok(())
}
