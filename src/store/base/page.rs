//! Pages of lists: sorted, stable, continued by a cursor that names the last row.

use crate::base::error::StoreError;
use crate::base::table;
use arbiter_core::kernel::limits::MAX_PAGE_BYTES;
use arbiter_core::kernel::refusal::Refusal;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};

/// Totals are counted exactly up to here.
const COUNT_LIMIT: u64 = 10_000;

/// Requested part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    pub limit: u32,
    pub cursor: Option<String>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
    /// Total number of rows, exact up to 10,000.
    pub total: u64,
    /// Rows of this part that cannot be read. They are left out of `items` and counted in `total`.
    pub unreadable: Vec<UnreadableRow>,
    /// Bytes of the rows that were read.
    pub bytes: usize,
}

/// A row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableRow {
    /// The place of the row in its list: the values that order the list.
    pub key: String,
    pub reason: String,
}

impl<T> Page<T> {
    /// Maps the items of the page.
    pub fn map<U>(self, each: impl FnMut(T) -> U) -> Page<U> {
        let Self { items, next, total, unreadable, bytes } = self;
        Page { items: items.into_iter().map(each).collect(), next, total, unreadable, bytes }
    }
}

/// Conditions of a list with their values.
#[derive(Default)]
pub(crate) struct Conditions {
    texts: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds a condition; each `?` in it stands for the value.
    pub(crate) fn add(&mut self, text: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.texts.push(text.replace('?', &format!("?{}", self.values.len())));
    }

    /// Adds a condition without a value.
    pub(crate) fn add_plain(&mut self, text: &str) {
        self.texts.push(text.to_owned());
    }

    /// Adds `column = value` when there is a value.
    pub(crate) fn equal(&mut self, column: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(&format!("{column} = ?"), value.to_owned());
        }
    }

    /// Adds `column` being one of a list when there is a list.
    pub(crate) fn within(&mut self, column: &str, values: Option<&[String]>) {
        if let Some(values) = values {
            let list = serde_json::json!(values).to_string();
            self.add(&format!("{column} IN (SELECT value FROM json_each(?))"), list);
        }
    }

    /// The condition as a whole and its values.
    pub(crate) fn into_parts(self) -> (String, Vec<Value>) {
        (self.clause(), self.values)
    }

    fn clause(&self) -> String {
        if self.texts.is_empty() { "1".to_owned() } else { self.texts.join(" AND ") }
    }
}

/// A list's source and order.
pub(crate) struct Listing<'a> {
    pub(crate) from: &'a str,
    pub(crate) columns: &'a str,
    /// The columns that order it, ascending unless followed by ` DESC`; the last one is unique.
    pub(crate) order: &'a [&'a str],
}

/// Between the values in a cursor; ids and times never contain it.
const SEPARATOR: char = '~';

/// Reads one page.
pub(crate) fn read<T>(
    connection: &Connection,
    listing: &Listing<'_>,
    mut conditions: Conditions,
    request: &PageRequest,
    read_row: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Page<T>, StoreError> {
    // A page without rows would have no end to continue from.
    let limit = request.limit.max(1);
    let total = count(connection, listing.from, &conditions)?;
    if let Some(cursor) = &request.cursor {
        continue_after(&mut conditions, listing.order, cursor)?;
    }
    let keys = listing.order.iter().map(|c| format!("CAST({} AS TEXT)", column_of(c))).collect::<Vec<_>>();
    let sql = format!(
        "SELECT {}, {} FROM {} WHERE {} ORDER BY {} LIMIT {}",
        listing.columns,
        keys.join(&format!(" || '{SEPARATOR}' || ")),
        listing.from,
        conditions.clause(),
        listing.order.join(", "),
        u64::from(limit) + 1,
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let key_column = statement.column_count() - 1;
    let mut rows = statement.query(params_from_iter(conditions.values))?;
    let mut page = Page { items: Vec::new(), next: None, total, unreadable: Vec::new(), bytes: 0 };
    let mut last_key = String::new();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    while let Some(row) = rows.next()? {
        if page.items.len() + page.unreadable.len() == limit || page.bytes >= MAX_PAGE_BYTES {
            page.next = Some(last_key);
            break;
        }
        last_key = row.get(key_column)?;
        page.bytes += row_bytes(row, key_column)?;
        match read_row(row) {
            Ok(item) => page.items.push(item),
            Err(error) if table::is_unreadable(&error) => {
                let (key, reason) = (last_key.clone(), error.to_string());
                tracing::warn!(from = listing.from, key, reason, "could not read a row; it is left out");
                page.unreadable.push(UnreadableRow { key, reason });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(page)
}

/// Returns the bytes of the texts in a row's first `columns` columns.
pub(crate) fn row_bytes(row: &Row<'_>, columns: usize) -> rusqlite::Result<usize> {
    let mut bytes = 0;
    for column in 0..columns {
        bytes += match row.get_ref(column)? {
            ValueRef::Text(text) | ValueRef::Blob(text) => text.len(),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        };
    }
    Ok(bytes)
}

fn count(connection: &Connection, from: &str, conditions: &Conditions) -> Result<u64, StoreError> {
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM {from} WHERE {} LIMIT {})",
        conditions.clause(),
        COUNT_LIMIT + 1
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let counted: i64 = statement.query_row(params_from_iter(&conditions.values), |row| row.get(0))?;
    Ok(u64::try_from(counted).unwrap_or(0).min(COUNT_LIMIT))
}

/// Adds the condition for rows after the cursor in the order of the list; numbers compare as numbers.
fn continue_after(conditions: &mut Conditions, order: &[&str], cursor: &str) -> Result<(), StoreError> {
    let parts: Vec<&str> = cursor.splitn(order.len(), SEPARATOR).collect();
    if parts.len() != order.len() {
        return Err(Refusal::field("cursor", "must be a cursor that this server returned").into());
    }
    let mut placeholders = Vec::new();
    for (column, part) in order.iter().zip(parts) {
        // The only ordering column that is a number.
        let value = if column.ends_with("priority") {
            let number: i64 = part
                .parse()
                .map_err(|_| Refusal::field("cursor", "must be a cursor that this server returned"))?;
            Value::Integer(number)
        } else {
            Value::Text(part.to_owned())
        };
        conditions.values.push(value);
        placeholders.push(format!("?{}", conditions.values.len()));
    }
    let columns: Vec<&str> = order.iter().map(|column| column_of(column)).collect();
    let text = if order == columns {
        // An index serves the comparison of rows.
        format!("({}) > ({})", columns.join(", "), placeholders.join(", "))
    } else {
        let same = |upto: usize| {
            (0..upto).map(|at| format!("{} = {} AND ", columns[at], placeholders[at])).collect::<String>()
        };
        let later = |at: usize| if columns[at] == order[at] { '>' } else { '<' };
        let ways = (0..order.len())
            .map(|at| format!("({}{} {} {})", same(at), columns[at], later(at), placeholders[at]));
        format!("({})", ways.collect::<Vec<_>>().join(" OR "))
    };
    conditions.texts.push(text);
    Ok(())
}

/// An ordering column without its direction.
fn column_of(ordering: &str) -> &str {
    ordering.strip_suffix(" DESC").unwrap_or(ordering)
}
