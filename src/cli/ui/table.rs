//! Tables and records as text.
//!
//! Owns the layout: columns as wide as their content, long cells cut, and nothing in a cell that a
//! terminal would obey. Knows no entity.

use arbiter_core::kernel::display::is_shown;
use serde_json::Value;

/// The widest a cell of a list may be, in characters.
const CELL_MAX: usize = 60;
/// The separator of columns.
const GAP: &str = "  ";
/// The fields that come first in a record; the others follow by name.
const LEADING_FIELDS: [&str; 8] = ["id", "name", "title", "question", "status", "state", "type", "priority"];

/// A column: its title, and the field that fills it (`a.b` for a field within a field).
pub type Column = (&'static str, &'static str);

/// The style of the titles of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emphasis {
    /// Not at all.
    None,
    /// In bold, with escape sequences.
    Bold,
}

/// A table with a row per entity; only titles when there is none.
pub fn list(rows: &[Value], columns: &[Column], emphasis: Emphasis) -> String {
    let titles: Vec<String> = columns.iter().map(|(title, _)| title.to_uppercase()).collect();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|(_, field)| shorten(&one_line(&word(at(row, field))))).collect())
        .collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|index| {
            let column = cells.iter().chain([&titles]).filter_map(|row| row.get(index));
            column.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (index, row) in [&titles].into_iter().chain(&cells).enumerate() {
        let line = pad_cells(row, &widths);
        let (on, off) = match emphasis {
            Emphasis::Bold if index == 0 => ("\x1b[1m", "\x1b[0m"),
            _ => ("", ""),
        };
        text.push_str(&format!("{on}{}{off}\n", line.trim_end()));
    }
    text
}

/// A line per field that has a value; text of several lines is indented below its name.
pub fn record(record: &Value) -> String {
    let Some(fields) = record.as_object() else { return format!("{}\n", one_line(&word(record))) };
    let first = LEADING_FIELDS.iter().filter_map(|name| fields.get_key_value(*name));
    let others = fields.iter().filter(|(name, _)| !LEADING_FIELDS.contains(&name.as_str()));
    let shown: Vec<_> = first.chain(others).filter(|(_, value)| !is_empty(value)).collect();
    let width = shown.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in shown {
        let value = printable(&word(value));
        if value.contains('\n') {
            text.push_str(&format!("{name}\n"));
            for line in value.lines() {
                text.push_str(format!("    {line}").trim_end());
                text.push('\n');
            }
        } else {
            text.push_str(&format!("{name:<width$}{GAP}{value}\n"));
        }
    }
    text
}

/// `text` on one line, without what a terminal would obey.
pub fn one_line(text: &str) -> String {
    printable(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `text` without control characters but line breaks, and without what changes the direction of text; tabs become
/// blanks.
pub fn printable(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .map(|character| if character == '\t' { ' ' } else { character })
        .filter(|character| *character == '\n' || is_shown(*character))
        .collect()
}

/// The field at `path`, null when there is none.
pub fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |inner, name| inner.get(name).unwrap_or(&Value::Null))
}

/// A value as a person reads it.
pub fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(word).collect::<Vec<_>>().join(", "),
        Value::Object(_) => value.to_string(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= CELL_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(CELL_MAX - 1).collect();
    short.push('…');
    short
}

fn pad_cells(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
    cells.collect::<Vec<_>>().join(GAP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] = &[("id", "id"), ("status", "status"), ("held by", "lease.holder")];

    #[test]
    fn table_columns_fit_their_content() {
        let rows = [
            json!({"id": "bd-1", "status": "in_progress", "lease": {"holder": "coder"}}),
            json!({"id": "bd-1000", "status": "open"}),
        ];
        assert_eq!(
            list(&rows, COLUMNS, Emphasis::None),
            "ID       STATUS       HELD BY\n\
             bd-1     in_progress  coder\n\
             bd-1000  open         -\n"
        );
    }

    #[test]
    fn empty_table_shows_its_header() {
        assert_eq!(list(&[], COLUMNS, Emphasis::None), "ID  STATUS  HELD BY\n");
        assert!(list(&[], COLUMNS, Emphasis::Bold).starts_with("\x1b[1mID"));
    }

    #[test]
    fn table_cell_is_one_short_line_without_escapes() {
        let row = json!({"id": format!("\x1b[2J{}\nsecond", "x".repeat(80))});
        let text = list(&[row], &COLUMNS[..1], Emphasis::None);
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains('\x1b') && text.trim_end().ends_with('…'), "{text:?}");
    }

    #[test]
    fn record_starts_with_its_name_and_omits_empty_fields() {
        let bead = json!({
            "context": {}, "description": "one\ntwo", "id": "bd-1", "parent": null,
            "ready": false, "status": "open", "tags": ["a", "b"], "title": "Paint it",
        });
        assert_eq!(
            record(&bead),
            "id           bd-1\n\
             title        Paint it\n\
             status       open\n\
             description\n    one\n    two\n\
             ready        no\n\
             tags         a, b\n"
        );
    }
}
