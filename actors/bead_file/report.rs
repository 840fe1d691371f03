//! The report on a project's file: whether it is written, and which of its lines are only kept.

use arbiter_beadfiles::LineNote;
use serde::{Deserialize, Serialize};

/// The most lines that a report names.
const MAX_LINES: usize = 100;

/// State of a project's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BeadFileState {
    /// File and beads agree, but for the lines that are kept.
    #[default]
    InSync,
    /// The file is in the middle of a change by others; nothing is written until it changes.
    Stopped,
    /// The file cannot be read or written; it is tried again.
    Failed,
}

impl BeadFileState {
    /// Returns the word for the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// A line of the file and what is to be known of it; never an excerpt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeadFileLine {
    /// Number of the line, from 1.
    pub line: u64,
    pub detail: String,
}

/// Report on a project's file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeadFileReport {
    pub state: BeadFileState,
    /// Reason why nothing is written.
    pub reason: Option<String>,
    /// The first of the lines that stop the file or are only kept.
    pub lines: Vec<BeadFileLine>,
    /// Number of such lines.
    pub lines_total: u64,
}

impl BeadFileReport {
    /// Creates a report from remarks on lines.
    pub(crate) fn new(state: BeadFileState, reason: Option<String>, mut notes: Vec<LineNote>) -> Self {
        notes.sort_by_key(|note| note.line);
        let lines_total = u64::try_from(notes.len()).unwrap_or(u64::MAX);
        let line = |note: LineNote| BeadFileLine { line: note.line, detail: note.text };
        Self { state, reason, lines: notes.into_iter().take(MAX_LINES).map(line).collect(), lines_total }
    }

    /// Returns whether there is something to tell.
    pub fn is_clean(&self) -> bool {
        self.state == BeadFileState::InSync && self.lines_total == 0
    }

    /// Returns the report in one sentence.
    pub fn message(&self) -> String {
        let lines = match (self.lines.first(), self.lines_total) {
            (None, _) => String::new(),
            (Some(first), 1) => format!("line {} {}", first.line, first.detail),
            (Some(first), total) => {
                format!("line {} {}, and {} more lines", first.line, first.detail, total - 1)
            }
        };
        match (&self.reason, lines.is_empty()) {
            (Some(reason), true) => reason.clone(),
            (Some(reason), false) => format!("{reason}: {lines}"),
            (None, false) => format!("lines of the bead file are kept as they are: {lines}"),
            (None, true) => "the bead file is in sync".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_names_the_first_lines_and_counts_all() {
        let note = |line| LineNote { line, text: "is no JSON object".to_owned() };
        let report = BeadFileReport::new(BeadFileState::InSync, None, (1..=150).rev().map(note).collect());
        assert_eq!((report.lines.len(), report.lines_total, report.lines[0].line), (100, 150, 1));
        assert!(report.message().ends_with("line 1 is no JSON object, and 149 more lines"));
        assert!(BeadFileReport::default().is_clean() && !report.is_clean());
        let stopped =
            BeadFileReport::new(BeadFileState::Stopped, Some("nothing is written".to_owned()), vec![note(7)]);
        assert_eq!(stopped.message(), "nothing is written: line 7 is no JSON object");
    }
}
