//! The table of events: the log that everything else reads.

use crate::base::error::StoreError;
use crate::base::page::row_bytes;
use crate::base::table::{get_json, get_time, integer, parse};
use arbiter_core::kernel::event::{Event, EventFilter, Origin, StoredEvent, TypePattern};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::limits::{self, MAX_PAGE_BYTES};
use arbiter_core::kernel::time::Timestamp;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

const COLUMNS: &str = "seq, id, type, timestamp, source, project_id, subject, actor, data, address, token_id";

/// Reads an event. One that cannot be read is shown in its place, with the reason: its data are replaced, and if its
/// type or its time is unknown, it is shown as `log.unreadable`.
pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Event> {
    let read = parsed(row);
    Ok(Event {
        seq: row.get(0)?,
        id: lossy(row, 1)?,
        kind: read.as_ref().map_or(EventType::LogUnreadable, |(kind, ..)| *kind),
        timestamp: read.as_ref().map_or(Timestamp::from_millis(0), |(_, timestamp, _)| *timestamp),
        source: lossy(row, 4)?,
        project_id: lossy_optional(row, 5)?,
        subject: lossy(row, 6)?,
        actor: lossy(row, 7)?,
        origin: lossy_optional(row, 9)?
            .map(|address| Ok::<_, rusqlite::Error>(Origin { address, token_id: lossy_optional(row, 10)? }))
            .transpose()?,
        data: read.map_or_else(|error| limits::unreadable(&error.to_string()), |(.., data)| data),
    })
}

/// Reads the columns of an event that need a parser.
fn parsed(row: &Row<'_>) -> rusqlite::Result<(EventType, Timestamp, serde_json::Value)> {
    let kind = parse(row, 2, EventType::parse)?;
    let timestamp = get_time(row, 3)?;
    let data =
        get_json(row, 8).unwrap_or_else(|error: rusqlite::Error| limits::unreadable(&error.to_string()));
    Ok((kind, timestamp, data))
}

/// The columns of an event as its hash covers them; `None` when one of them is no text.
pub(crate) fn stored<'a>(row: &'a Row<'_>) -> rusqlite::Result<Option<StoredEvent<'a>>> {
    let text = |column: usize| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str().ok());
    let optional = |column: usize| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str_or_null().ok());
    let (Some(id), Some(kind), Some(timestamp), Some(source)) = (text(1)?, text(2)?, text(3)?, text(4)?)
    else {
        return Ok(None);
    };
    let (Some(project_id), Some(subject), Some(actor), Some(data)) =
        (optional(5)?, text(6)?, text(7)?, text(8)?)
    else {
        return Ok(None);
    };
    let origin = match (optional(9)?, optional(10)?) {
        (Some(Some(address)), Some(token)) => Some((address, token)),
        (Some(None), Some(None)) => None,
        // The hash covers a token only beside an address, so such a row was not written by this server.
        _ => return Ok(None),
    };
    let seq = row.get(0)?;
    Ok(Some(StoredEvent { seq, id, kind, timestamp, source, project_id, subject, actor, data, origin }))
}

fn lossy(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(lossy_optional(row, column)?.unwrap_or_default())
}

/// Reads a column of any type as text.
fn lossy_optional(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    })
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
    /// Bytes at which the part ends; none: those of a page. The event that reaches them is the last one.
    pub max_bytes: Option<usize>,
}

/// A part of the log, in ascending order.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPage {
    pub events: Vec<Event>,
    /// Up to which number the log was looked through (only meaningful when reading forward).
    pub scanned_to: u64,
    /// True if the page ended at its rows or its bytes, so that more may follow.
    pub is_cut: bool,
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
    let columns = statement.column_count();
    let mut rows = statement.query(params_from_iter(values))?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    let limit = usize::try_from(range.limit).unwrap_or(usize::MAX);
    let max_bytes = range.max_bytes.unwrap_or(MAX_PAGE_BYTES);
    let mut is_cut = limit == 0;
    while let Some(row) = rows.next()? {
        bytes += row_bytes(row, columns)?;
        events.push(read(row)?);
        is_cut = events.len() == limit || bytes >= max_bytes;
        if is_cut {
            break;
        }
    }
    if backwards {
        events.reverse();
    }
    let after = range.after.unwrap_or(0);
    let scanned_to = match events.last() {
        Some(event) if is_cut => event.seq,
        None if is_cut => after,
        _ => range.before.map_or(last, |before| last.min(before.saturating_sub(1))).max(after),
    };
    Ok(EventPage { events, scanned_to, is_cut })
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

/// The time of the newest event; none when there is no event, or its time cannot be read.
pub(crate) fn newest_timestamp(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT timestamp FROM events ORDER BY seq DESC LIMIT 1";
    let newest: Option<String> =
        connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    Ok(newest.and_then(|text| text.parse().ok()))
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
