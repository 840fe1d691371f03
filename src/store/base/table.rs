//! Rows with an id and a revision: one way to insert, update, delete and read them.

use crate::base::error::StoreError;
use crate::base::unit_of_work::Write;
use arbiter_core::agent::config::AgentConfig;
use arbiter_core::kernel::limits::{self, UNREADABLE};
use arbiter_core::kernel::record::Record;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde::de::DeserializeOwned;

/// An entity's table.
pub(crate) trait Table: Record {
    /// The table's name.
    const NAME: &'static str;
    /// Its columns in the order of [`Table::values`]; the first is `id`, the last `revision`.
    const COLUMNS: &'static [&'static str];
    /// True if the id of a deleted row is never given again.
    const RETIRES_IDS: bool = false;
    /// The values of a row.
    fn values(&self) -> Vec<Value>;
    /// Reads a row whose columns are [`Table::COLUMNS`].
    fn read(row: &Row<'_>) -> rusqlite::Result<Self>;
    /// Its statements, made once; [`statements`] writes this.
    fn statements() -> &'static Statements;
}

/// The statements of a table.
pub(crate) struct Statements {
    get: String,
    insert: String,
    update: String,
    delete: String,
}

impl Statements {
    /// Builds the statements of a table.
    pub(crate) fn of<T: Table>() -> Self {
        let (name, columns) = (T::NAME, columns::<T>(""));
        let placeholders: Vec<String> = (1..=T::COLUMNS.len()).map(|n| format!("?{n}")).collect();
        // Telemetry is measured past the revision: what the decision had in mind may be older than the row.
        let sets: Vec<String> = T::COLUMNS
            .iter()
            .enumerate()
            .skip(1)
            .filter(|(_, name)| !T::TELEMETRY.contains(*name))
            .map(|(at, name)| format!("{name} = ?{}", at + 1))
            .collect();
        let expected = T::COLUMNS.len() + 1;
        Self {
            get: format!("SELECT {columns} FROM {name} WHERE id = ?1"),
            insert: format!("INSERT INTO {name} ({columns}) VALUES ({})", placeholders.join(", ")),
            update: format!("UPDATE {name} SET {} WHERE id = ?1 AND revision = ?{expected}", sets.join(", ")),
            delete: format!("DELETE FROM {name} WHERE id = ?1 AND revision = ?2"),
        }
    }
}

/// Writes [`Table::statements`].
macro_rules! statements {
    () => {
        fn statements() -> &'static $crate::base::table::Statements {
            static STATEMENTS: std::sync::OnceLock<$crate::base::table::Statements> =
                std::sync::OnceLock::new();
            STATEMENTS.get_or_init($crate::base::table::Statements::of::<Self>)
        }
    };
}
pub(crate) use statements;

/// `a, b, c` for a SELECT; `prefix` is `t.` or nothing.
pub(crate) fn columns<T: Table>(prefix: &str) -> String {
    T::COLUMNS.iter().map(|name| format!("{prefix}{name}")).collect::<Vec<_>>().join(", ")
}

/// The row with this id.
pub(crate) fn get<T: Table>(connection: &Connection, id: &str) -> Result<Option<T>, StoreError> {
    let found = connection.prepare_cached(&T::statements().get)?.query_row([id], T::read).optional();
    found.map_err(|error| match is_unreadable(&error) {
        true => StoreError::Unreadable { table: T::NAME, id: id.to_owned(), reason: error.to_string() },
        false => error.into(),
    })
}

/// Returns whether a row with this id exists.
pub(crate) fn exists(connection: &Connection, table: &str, id: &str) -> Result<bool, StoreError> {
    let sql = format!("SELECT 1 FROM {table} WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.exists([id])?)
}

/// Applies a write to its row.
pub(crate) fn write<T: Table>(connection: &Connection, write: &Write<T>) -> Result<(), StoreError> {
    match write {
        Write::Insert(row) => insert(connection, row),
        Write::Update { row, expected } => update(connection, row, *expected),
        Write::Delete { row } => delete(connection, row),
    }
}

/// Adds a row.
pub(crate) fn insert<T: Table>(connection: &Connection, row: &T) -> Result<(), StoreError> {
    insert_values::<T>(connection, row.id(), &row.values())
}

/// Adds a row whose values are at hand.
pub(crate) fn insert_values<T: Table>(
    connection: &Connection,
    id: &str,
    values: &[Value],
) -> Result<(), StoreError> {
    let taken = || StoreError::from(Refusal::Exists { entity: T::ENTITY, id: id.to_owned() });
    if T::RETIRES_IDS {
        let mut retired =
            connection.prepare_cached("SELECT 1 FROM retired_ids WHERE kind = ?1 AND id = ?2")?;
        if retired.exists([T::ENTITY, id])? {
            return Err(taken());
        }
    }
    match connection.prepare_cached(&T::statements().insert)?.execute(params_from_iter(values)) {
        Ok(_) => Ok(()),
        Err(error) if is_taken(&error) => Err(taken()),
        Err(error) => Err(error.into()),
    }
}

fn update<T: Table>(connection: &Connection, row: &T, expected: u64) -> Result<(), StoreError> {
    let mut values = row.values();
    keep_unreadable::<T>(connection, row.id(), &mut values)?;
    values.push(integer(expected));
    let changed = connection.prepare_cached(&T::statements().update)?.execute(params_from_iter(values))?;
    expect_one::<T>(row, changed)
}

/// Replaces each placeholder of an unreadable column by the column as it is stored, so that a change of another field
/// does not destroy it.
fn keep_unreadable<T: Table>(
    connection: &Connection,
    id: &str,
    values: &mut [Value],
) -> Result<(), StoreError> {
    if !values.iter().any(is_placeholder) {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(&T::statements().get)?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else { return Ok(()) };
    let unchanged = T::read(row)?.values();
    for (column, value) in values.iter_mut().enumerate() {
        if is_placeholder(value) && unchanged.get(column) == Some(value) {
            *value = row.get(column)?;
        }
    }
    Ok(())
}

fn is_placeholder(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.get(1..).is_some_and(|text| text.starts_with("\"_unreadable\"")))
}

fn delete<T: Table>(connection: &Connection, row: &T) -> Result<(), StoreError> {
    let changed = connection
        .prepare_cached(&T::statements().delete)?
        .execute(rusqlite::params![row.id(), integer(row.revision())])?;
    expect_one::<T>(row, changed)?;
    if T::RETIRES_IDS {
        connection
            .prepare_cached("INSERT INTO retired_ids (kind, id) VALUES (?1, ?2)")?
            .execute([T::ENTITY, row.id()])?;
    }
    Ok(())
}

fn expect_one<T: Table>(row: &T, changed: usize) -> Result<(), StoreError> {
    if changed == 1 { Ok(()) } else { Err(StoreError::Stale { entity: T::ENTITY, id: row.id().to_owned() }) }
}

fn is_taken(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(e, _)
        if e.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY)
}

/// An unsigned number as SQLite stores it; what does not fit is the largest that does.
pub(crate) fn integer(value: u64) -> Value {
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A time as text.
pub(crate) fn time(at: Timestamp) -> Value {
    Value::Text(at.to_string())
}

/// A text.
pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// A value that may be missing.
pub(crate) fn optional<T>(value: Option<T>, as_value: impl Fn(T) -> Value) -> Value {
    value.map_or(Value::Null, as_value)
}

/// A value as JSON text.
pub(crate) fn json(value: &impl serde::Serialize) -> Value {
    // The records' fields are maps, lists and strings, which always serialize.
    Value::Text(serde_json::to_string(value).unwrap_or_default())
}

fn unreadable(column: usize, reason: impl std::fmt::Display) -> rusqlite::Error {
    let reason: Box<dyn std::error::Error + Send + Sync> = reason.to_string().into();
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, reason)
}

/// Reads a column that holds a word or a time.
pub(crate) fn parse<T>(
    row: &Row<'_>,
    column: usize,
    read: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let value = row.get_ref(column)?.as_str().map_err(|e| unreadable(column, e))?;
    read(value).ok_or_else(|| unreadable(column, format!("unknown word {value:?}")))
}

/// Reads a time.
pub(crate) fn get_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    parse(row, column, |text| text.parse().ok())
}

/// Reads a time that may be missing.
pub(crate) fn get_optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let value: Option<String> = row.get(column)?;
    value.map(|text| text.parse().map_err(|e| unreadable(column, e))).transpose()
}

/// Reads JSON text.
pub(crate) fn get_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let value = row.get_ref(column)?.as_str().map_err(|e| unreadable(column, e))?;
    serde_json::from_str(value).map_err(|e| unreadable(column, e))
}

/// Reads JSON text that clients have written. A text that cannot be read gives a placeholder with the reason.
pub(crate) fn get_free_form<T: DeserializeOwned + Placeholder>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    get_json(row, column).or_else(|error| {
        if is_unreadable(&error) { Ok(T::placeholder(&error.to_string())) } else { Err(error) }
    })
}

/// A value that can say that it could not be read.
pub(crate) trait Placeholder {
    /// Returns the value that is shown instead, with the reason.
    fn placeholder(reason: &str) -> Self;
}

impl Placeholder for serde_json::Value {
    fn placeholder(reason: &str) -> Self {
        limits::unreadable(reason)
    }
}

impl Placeholder for serde_json::Map<String, serde_json::Value> {
    fn placeholder(reason: &str) -> Self {
        Self::from_iter([(UNREADABLE.to_owned(), reason.into())])
    }
}

impl Placeholder for AgentConfig {
    fn placeholder(reason: &str) -> Self {
        Self { other: Placeholder::placeholder(reason), ..Self::default() }
    }
}

impl Placeholder for Vec<String> {
    fn placeholder(_: &str) -> Self {
        vec![UNREADABLE.to_owned()]
    }
}

/// Returns whether an error concerns the content of one row, and not the database.
pub(crate) fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    matches!(
        error,
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..)
    )
}

/// Collects rows and leaves out those that cannot be read, so that one row does not stop the others.
pub(crate) fn readable<T>(
    table: &str,
    rows: impl Iterator<Item = rusqlite::Result<T>>,
) -> rusqlite::Result<Vec<T>> {
    let mut read = Vec::new();
    for row in rows {
        match row {
            Ok(row) => read.push(row),
            Err(error) if is_unreadable(&error) => {
                tracing::warn!(table, %error, "could not read a row; it is left out");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
