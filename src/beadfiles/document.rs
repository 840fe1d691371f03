//! A bead file as its users wrote it: lines with their ends, and which bead each of them is about.
//!
//! The bytes belong to all users of the file. A line is a bead that is understood, or it is kept as it is. A stop
//! ([`read_document`]) means that the file is in the middle of a change, and that nothing may be written to it.

use crate::bead::FileBead;
use crate::join::join;
use crate::line::{Line, LineProblem, read_line};
use crate::raw::RawFields;
use arbiter_core::kernel::time::Timestamp;
use std::collections::HashMap;

/// Byte order mark, as UTF-8.
pub const BYTE_ORDER_MARK: char = '\u{feff}';
/// The markers that `git` leaves at an unresolved conflict.
const CONFLICT_MARKERS: [&str; 4] = ["<<<<<<<", "=======", ">>>>>>>", "|||||||"];

/// A remark on a line, without an excerpt of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineNote {
    /// Number of the line, from 1.
    pub line: u64,
    pub text: String,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SourceLine {
    text: String,
    /// Its end: `\n`, `\r\n`, or nothing.
    end: &'static str,
}

/// The lines of a file about one bead, read together.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub id: String,
    pub content: EntryContent,
    /// Numbers of its lines, from 1, in the file's order.
    pub lines: Vec<u64>,
    /// Texts of its lines, joined by line feeds.
    pub text: String,
    /// Text of the line that counts.
    pub winner: String,
}

/// Kinds of entries.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryContent {
    /// A bead, and the fields of its line to keep.
    Bead(Box<FileBead>, RawFields),
    Tombstone,
    /// A pending decision of this program.
    Gate,
}

/// A file that was read completely.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    has_byte_order_mark: bool,
    lines: Vec<SourceLine>,
    /// The beads of the file, in the order of first lines.
    pub entries: Vec<Entry>,
    by_id: HashMap<String, usize>,
    /// Lines that are kept and not understood.
    pub kept: Vec<LineNote>,
    /// Texts of records of other types, to be kept beside the beads.
    pub others: Vec<String>,
    /// Irregularities of lines that were understood.
    pub warnings: Vec<LineNote>,
}

/// Change of one entry of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryChange {
    /// Replaces the lines of a bead by one, or appends it.
    Put { id: String, line: String },
    /// Removes the lines of a bead.
    Remove { id: String },
    /// Appends a line that is about no bead.
    Append { line: String },
}

impl EntryChange {
    /// Returns the id of the bead; `None` for a line about none.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Put { id, .. } | Self::Remove { id } => Some(id),
            Self::Append { .. } => None,
        }
    }
}

/// One understood line.
struct Parsed {
    line: usize,
    content: EntryContent,
    at: Option<Timestamp>,
}

/// Reads a file.
///
/// # Errors
/// The lines that are a stop: no UTF-8, a conflict marker, or a line that ends in the middle of an object.
pub fn read_document(bytes: &[u8]) -> Result<Document, Vec<LineNote>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        vec![note(before.iter().filter(|byte| **byte == b'\n').count(), "is no UTF-8")]
    })?;
    let mut document = Document::default();
    let text = match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => {
            document.has_byte_order_mark = true;
            rest
        }
        None => text,
    };
    document.lines = text.split_inclusive('\n').map(source_line).collect();
    let mut parsed: Vec<(String, Vec<Parsed>)> = Vec::new();
    let (mut places, mut stops) = (HashMap::new(), Vec::new());
    for at in 0..document.lines.len() {
        match document.parse(at) {
            Ok(Some((id, line))) => {
                let place = *places.entry(id.clone()).or_insert(parsed.len());
                if place == parsed.len() {
                    parsed.push((id, Vec::new()));
                }
                parsed[place].1.push(line);
            }
            Ok(None) => {}
            Err(stop) => stops.push(stop),
        }
    }
    if !stops.is_empty() {
        return Err(stops);
    }
    for (id, lines) in parsed {
        let entry = document.entry(id.clone(), lines);
        document.by_id.insert(id, document.entries.len());
        document.entries.push(entry);
    }
    Ok(document)
}

fn note(at: usize, text: impl Into<String>) -> LineNote {
    LineNote { line: u64::try_from(at + 1).unwrap_or(u64::MAX), text: text.into() }
}

fn source_line(line: &str) -> SourceLine {
    let end = match line {
        line if line.ends_with("\r\n") => "\r\n",
        line if line.ends_with('\n') => "\n",
        _ => "",
    };
    SourceLine { text: line.strip_suffix(end).unwrap_or(line).to_owned(), end }
}

/// Returns whether a line is a marker that `git` leaves at an unresolved conflict.
pub fn is_conflict_marker(text: &str) -> bool {
    let text = text.trim_end_matches('\r');
    CONFLICT_MARKERS
        .iter()
        .any(|marker| text.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')))
}

impl Document {
    /// Parses a line; returns its bead's id and content, or nothing for a line that is only kept.
    fn parse(&mut self, at: usize) -> Result<Option<(String, Parsed)>, LineNote> {
        let SourceLine { text, end } = &self.lines[at];
        if is_conflict_marker(text) {
            return Err(note(at, "is the marker of an unresolved merge conflict"));
        }
        let found = |id: String, content, at, line| Ok(Some((id, Parsed { line, content, at })));
        match read_line(text) {
            Ok(Line::Blank | Line::Schema) => Ok(None),
            Ok(Line::Gate { id }) => found(id, EntryContent::Gate, None, at),
            Ok(Line::Tombstone { id, at: time }) => found(id, EntryContent::Tombstone, time, at),
            Ok(Line::Other { kind }) => {
                self.others.push(text.trim().to_owned());
                if kind != "memory" {
                    self.kept.push(note(at, "is of a type that is not known here"));
                }
                Ok(None)
            }
            Ok(Line::Bead { bead, fields, warnings }) => {
                self.warnings.extend(warnings.into_iter().map(|warning| note(at, warning)));
                let time = bead.updated_at.or(bead.created_at);
                found(bead.id.clone(), EntryContent::Bead(bead, fields), time, at)
            }
            Err(LineProblem::Torn) => Err(note(at, "ends in the middle of an object")),
            // Half a line may be anything.
            Err(LineProblem::NotAnObject(_)) if end.is_empty() => Err(note(at, "is not a whole line")),
            Err(LineProblem::NotAnObject(_)) => {
                self.kept.push(note(at, "is no JSON object"));
                Ok(None)
            }
            Err(problem @ LineProblem::Field { .. }) => {
                self.kept.push(note(at, problem.to_string()));
                Ok(None)
            }
        }
    }

    /// Makes one entry of the lines of an id: the newest counts, a later line before an earlier one of the same time.
    fn entry(&mut self, id: String, lines: Vec<Parsed>) -> Entry {
        let texts: Vec<&str> = lines.iter().map(|parsed| self.lines[parsed.line].text.as_str()).collect();
        let text = texts.join("\n");
        let numbers: Vec<u64> = lines.iter().map(|parsed| note(parsed.line, "").line).collect();
        let newest = (0..lines.len()).max_by_key(|at| (lines[*at].at, *at)).unwrap_or(0);
        let winner = texts.get(newest).copied().unwrap_or_default().to_owned();
        if let [first, .., last] = lines.as_slice() {
            let (first, counts) = (note(first.line, "").line, numbers[newest]);
            let text =
                format!("is about the same bead as line {first}; line {counts} is the newest and counts");
            self.warnings.push(note(last.line, text));
        }
        let content = join(lines.into_iter().map(|parsed| parsed.content).collect(), newest);
        Entry { id, content, lines: numbers, text, winner }
    }

    /// Returns what the file says of a bead.
    pub fn entry_of(&self, id: &str) -> Option<&Entry> {
        self.by_id.get(id).and_then(|at| self.entries.get(*at))
    }

    /// Returns whether the file has no lines.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns whether the file has a line with this text.
    pub fn has_line(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.text == text)
    }

    /// Returns the file's bytes with these changes; every byte outside of changed lines stays.
    pub fn with_changes(&self, changes: &[EntryChange]) -> Vec<u8> {
        // By line: its new text, or nothing for a line that goes.
        let (mut edits, mut appended) = (HashMap::new(), Vec::new());
        for change in changes {
            let (id, new) = match change {
                EntryChange::Put { id, line } => (id, Some(line)),
                EntryChange::Remove { id } => (id, None),
                EntryChange::Append { line } => {
                    appended.push(line);
                    continue;
                }
            };
            let Some(entry) = self.entry_of(id) else {
                appended.extend(new);
                continue;
            };
            for number in &entry.lines {
                edits.insert(*number, None);
            }
            let keeps = entry.lines.iter().find(|number| self.text_at(**number) == entry.winner);
            if let Some(number) = keeps {
                edits.insert(*number, new);
            }
        }
        self.assemble(&edits, &appended)
    }

    fn text_at(&self, number: u64) -> &str {
        let at = usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
        self.lines.get(at).map_or("", |line| line.text.as_str())
    }

    fn assemble(&self, edits: &HashMap<u64, Option<&String>>, appended: &[&String]) -> Vec<u8> {
        let mut text = String::new();
        if self.has_byte_order_mark {
            text.push(BYTE_ORDER_MARK);
        }
        for (line, number) in self.lines.iter().zip(1_u64..) {
            match edits.get(&number) {
                None => text.extend([line.text.as_str(), line.end]),
                Some(Some(new)) => text.extend([new.as_str(), line.end]),
                Some(None) => {}
            }
        }
        let end = self.lines.iter().map(|line| line.end).find(|end| !end.is_empty()).unwrap_or("\n");
        let is_open = self.lines.last().is_some_and(|line| line.end.is_empty());
        if is_open && !appended.is_empty() && !text.ends_with('\n') {
            text.push_str(end);
        }
        for line in appended {
            text.extend([line.as_str(), end]);
        }
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests;
