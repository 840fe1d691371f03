//! The table of events: the log that everything else reads.

use crate::base::error::StoreError;
use crate::base::table::{get_json, get_time, integer, parse};
use arbiter_core::kernel::event::{Event, EventFilter, Origin, TypePattern};
use arbiter_core::kernel::event_type::EventType;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

const COLUMNS: &str = "seq, id, type, timestamp, source, project_id, subject, actor, data, address, token_id";

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        seq: row.get(0)?,
        id: row.get(1)?,
        kind: parse(row, 2, EventType::parse)?,
        timestamp: get_time(row, 3)?,
        source: row.get(4)?,
        project_id: row.get(5)?,
        subject: row.get(6)?,
        actor: row.get(7)?,
        data: get_json(row, 8)?,
        origin: origin(row)?,
    })
}

fn origin(row: &Row<'_>) -> rusqlite::Result<Option<Origin>> {
    match (row.get(9)?, row.get(10)?) {
        (Some(address), token_id) => Ok(Some(Origin { address, token_id })),
        (None, None) => Ok(None),
        // The hash covers a token only beside an address, so such a row was not written by this server.
        (None, Some::<String>(_)) => {
            Err(rusqlite::Error::InvalidColumnType(9, "address".to_owned(), rusqlite::types::Type::Null))
        }
    }
}

/// Stores an event at its place in the chain.
pub(crate) fn append(
    connection: &Connection,
    event: &Event,
    data_text: &str,
    previous: &[u8; 32],
    hash: &[u8; 32],
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO events (seq, id, type, timestamp, source, project_id, subject, actor, data, prev_hash, hash,
                                 address, token_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            integer(event.seq),
            event.id,
            event.kind.as_str(),
            event.timestamp.to_string(),
            event.source,
            event.project_id,
            event.subject,
            event.actor,
            data_text,
            previous,
            hash,
            event.origin.as_ref().map(|origin| &origin.address),
            event.origin.as_ref().and_then(|origin| origin.token_id.as_ref()),
        ])?;
    Ok(())
}

/// Requested part of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventRange {
    /// Only events with a greater number.
    pub after: Option<u64>,
    /// Only events with a smaller number; with it alone the newest come, in ascending order.
    pub before: Option<u64>,
    pub filter: EventFilter,
    pub limit: u32,
}

/// A part of the log, in ascending order.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPage {
    pub events: Vec<Event>,
    /// Up to which number the log was looked through (only meaningful when reading forward).
    pub scanned_to: u64,
}

/// Number of events of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeCount {
    pub kind: String,
    pub count: u64,
}

/// Reads a part of the log.
pub(crate) fn range(connection: &Connection, range: &EventRange) -> Result<EventPage, StoreError> {
    let mut clauses = vec!["1".to_owned()];
    let mut values: Vec<Value> = Vec::new();
    let mut add = |text: &str, value: Value| {
        values.push(value);
        clauses.push(text.replace('?', &format!("?{}", values.len())));
    };
    if let Some(after) = range.after {
        add("seq > ?", integer(after));
    }
    if let Some(before) = range.before {
        add("seq < ?", integer(before));
    }
    if let Some(project) = &range.filter.project_id {
        add("project_id = ?", Value::Text(project.clone()));
    }
    if let Some(within) = &range.filter.within {
        let list = serde_json::json!(within).to_string();
        add("project_id IN (SELECT value FROM json_each(?))", Value::Text(list));
    }
    if let Some(subject) = &range.filter.subject {
        add("subject = ?", Value::Text(subject.clone()));
    }
    if !range.filter.types.is_empty() {
        clauses.push(format!("type IN ({})", type_list(&range.filter.types)));
    }
    let backwards = range.before.is_some() && range.after.is_none();
    let order = if backwards { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT {COLUMNS} FROM events WHERE {} ORDER BY seq {order} LIMIT {}",
        clauses.join(" AND "),
        range.limit
    );
    let last = last_seq(connection)?;
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), read)?;
    let mut events: Vec<Event> = rows.collect::<Result<_, _>>()?;
    if backwards {
        events.reverse();
    }
    let after = range.after.unwrap_or(0);
    let full = events.len() == usize::try_from(range.limit).unwrap_or(usize::MAX);
    let scanned_to = match events.last() {
        Some(event) if full => event.seq,
        None if full => after,
        _ => range.before.map_or(last, |before| last.min(before.saturating_sub(1))).max(after),
    };
    Ok(EventPage { events, scanned_to })
}

/// The types that the patterns name, as SQL strings (they come from our own closed list).
fn type_list(patterns: &[TypePattern]) -> String {
    let wanted = EventType::ALL.iter().filter(|kind| patterns.iter().any(|pattern| pattern.matches(**kind)));
    wanted.map(|kind| format!("'{kind}'")).collect::<Vec<_>>().join(", ")
}

/// The number of the newest event; 0 when there is none.
pub(crate) fn last_seq(connection: &Connection) -> Result<u64, StoreError> {
    Ok(connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?
        .query_row([], |row| row.get(0))?)
}

/// The number of the oldest event that is still there; 0 when there is none.
pub(crate) fn first_seq(connection: &Connection) -> Result<u64, StoreError> {
    Ok(connection
        .prepare_cached("SELECT coalesce(min(seq), 0) FROM events")?
        .query_row([], |row| row.get(0))?)
}

/// Returns the number of events by type.
pub(crate) fn counts(
    connection: &Connection,
    project: Option<&str>,
    within: Option<&[String]>,
) -> Result<Vec<TypeCount>, StoreError> {
    let within = within.map(|list| serde_json::json!(list).to_string());
    let mut statement = connection.prepare_cached(
        "SELECT type, count(*) FROM events WHERE (?1 IS NULL OR project_id = ?1)
         AND (?2 IS NULL OR project_id IN (SELECT value FROM json_each(?2))) GROUP BY type ORDER BY type",
    )?;
    let rows = statement
        .query_map(params![project, within], |row| Ok(TypeCount { kind: row.get(0)?, count: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first event that retention keeps: at most `max` events, and those from the first that is not older
/// than `before` on. One that a clock which jumped back has dated too early takes nothing else with it.
pub(crate) fn first_kept(connection: &Connection, before: &str, max: u64) -> Result<u64, StoreError> {
    let last = last_seq(connection)?;
    let by_count = last.saturating_sub(max) + 1;
    let by_age: u64 = connection
        .prepare_cached("SELECT seq FROM events WHERE timestamp >= ?1 ORDER BY seq LIMIT 1")?
        .query_row([before], |row| row.get(0))
        .optional()?
        .unwrap_or(last);
    Ok(by_count.max(by_age).min(last.max(1)))
}
