//! Irregularities that an import reports, bounded in number and length.

use arbiter_core::kernel::limits;
use arbiter_store::MAX_REPORTED_LINES;

/// The longest text about one line in a report, in bytes.
pub(crate) const MAX_LINE_REPORT: usize = 500;

/// Irregularities that did not prevent an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warnings {
    /// The first 1000 of them: line number and text.
    pub lines: Vec<(u64, String)>,
    /// Number of the others.
    pub omitted: u64,
}

impl Warnings {
    pub(crate) fn push(&mut self, line: u64, text: String) {
        if self.lines.len() < MAX_REPORTED_LINES {
            self.lines.push((line, limits::cut(text, MAX_LINE_REPORT)));
        } else {
            self.omitted += 1;
        }
    }
}

impl FromIterator<(u64, String)> for Warnings {
    fn from_iter<T: IntoIterator<Item = (u64, String)>>(lines: T) -> Self {
        let mut warnings = Self::default();
        lines.into_iter().for_each(|(line, text)| warnings.push(line, text));
        warnings
    }
}
