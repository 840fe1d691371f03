//! The one way to standard output, and notes to standard error.
//!
//! Owns the choice between tables and JSON and the end of a pipe. Knows no command.

use crate::cli::ui::failure::Failure;
use crate::cli::ui::table::{self, Column, Emphasis};
use arbiter_core::kernel::display::is_directional;
use serde_json::Value;
use std::io::{self, IsTerminal, Write};

/// The format of the data on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Tables for people.
    Table,
    /// The API's JSON for programs.
    Json,
}

/// Writes data to standard output.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: OutputFormat,
    emphasis: Emphasis,
}

impl Output {
    /// Output in `format`; emphasis only on a terminal and without `NO_COLOR`.
    pub fn new(format: OutputFormat) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let emphasis = if !plain && io::stdout().is_terminal() { Emphasis::Bold } else { Emphasis::None };
        Self { format, emphasis }
    }

    /// The format of the data on standard output.
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// A list, as a table or as JSON.
    pub fn list(&self, rows: &[Value], columns: &[Column]) -> Result<(), Failure> {
        match self.format {
            OutputFormat::Json => self.json(&Value::Array(rows.to_vec())),
            OutputFormat::Table => self.text(&table::list(rows, columns, self.emphasis)),
        }
    }

    /// One entity, as a line per field or as JSON.
    pub fn record(&self, record: &Value) -> Result<(), Failure> {
        match self.format {
            OutputFormat::Json => self.json(record),
            OutputFormat::Table => self.text(&table::record(record)),
        }
    }

    /// JSON, indented on a terminal only for people's eyes; programs do not mind.
    pub fn json(&self, value: &Value) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::Failed(format!("cannot write JSON: {error}")))?;
        self.text(&escape_directional(&text))
    }

    /// Text, ended by a line break.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| {
            if !text.is_empty() && !text.ends_with('\n') {
                stdout.write_all(b"\n")?;
            }
            stdout.flush()
        });
        written.map_err(|source| match source.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => Failure::io("cannot write to standard output", source),
        })
    }
}

/// JSON text in which no character changes the direction of text: they are written as escapes, which mean the same.
fn escape_directional(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match is_directional(character) {
            true => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            false => text.push(character),
        }
    }
    text
}

/// Prints a note for the operator on standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
