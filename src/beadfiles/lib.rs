//! Files of beads: the JSONL of the `bd` tool and its kin, and the YAML of older trees.
//!
//! Owns the formats: what a line says, and how a bead is written so that nothing of a line that was read is lost. Pure:
//! must not know files, the store or actors; texts come in and go out.

mod bead;
mod line;
mod raw;
mod text_time;
mod words;
mod write;
mod yaml;

pub use bead::{BeadState, FileBead, FileComment, FileEdge, KeptFields};
pub use line::{Line, LineProblem, MAX_LINE_BYTES, read_line};
pub use raw::RawFields;
pub use words::{canonical_type, state_from_word};
pub use write::{Gate, kept_fields, write_gate, write_line};
pub use yaml::{YamlBead, read_yaml};
