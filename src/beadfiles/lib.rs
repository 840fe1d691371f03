//! Files of beads: the JSONL of the `bd` tool and compatible tools, and the YAML of older trees.
//!
//! Owns the formats: parses a line to a bead, and writes a bead without losing any field of the line it came
//! from. Pure: converts texts to texts, and must not know files, the store or actors.

mod bead;
mod document;
mod join;
mod line;
mod lists;
mod patch;
mod raw;
mod reason;
mod spans;
mod text;
mod text_time;
mod words;
mod write;
mod yaml;

pub use bead::{BeadState, FileBead, FileComment, FileEdge, KeptFields};
pub use document::{
    BYTE_ORDER_MARK, Document, Entry, EntryChange, EntryContent, LineNote, is_conflict_marker, read_document,
};
pub use line::{Line, LineProblem, MAX_FILE_TEXT, MAX_KEPT_BYTES, MAX_LINE_BYTES, read_line};
pub use lists::new_comments;
pub use patch::{patch_line, tombstone_line};
pub use raw::RawFields;
pub use words::{canonical_type, state_from_word};
pub use write::{Gate, kept_fields, write_gate, write_line};
pub use yaml::{YamlBead, read_yaml};
