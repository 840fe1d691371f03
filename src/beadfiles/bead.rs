//! A bead in the terms of this program, with every field of its line that has no counterpart here.

use crate::raw::RawFields;
use arbiter_core::bead::Status;
use arbiter_core::kernel::time::Timestamp;
use serde_json::{Map, Value};

/// Status and blocked reason of a bead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeadState {
    pub status: Status,
    pub reason: Option<String>,
}

/// A dependency in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileEdge {
    pub depends_on: String,
    pub kind: String,
    pub created_at: Option<Timestamp>,
    pub created_by: Option<String>,
    /// Fields without a counterpart, and known fields in a form that this program does not write.
    pub kept: RawFields,
}

/// A comment in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileComment {
    /// Id of the comment; a number in older files, empty if it has none.
    pub id: String,
    pub author: String,
    pub text: String,
    pub created_at: Option<Timestamp>,
    pub kept: RawFields,
}

/// A bead in a file. An empty text stands for a missing one.
#[derive(Clone, Debug, PartialEq)]
pub struct FileBead {
    pub id: String,
    pub title: String,
    pub description: String,
    pub acceptance_criteria: String,
    pub state: BeadState,
    /// Priority, 0 to 4.
    pub priority: u8,
    pub bead_type: String,
    pub assignee: Option<String>,
    pub created_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
    pub closed_at: Option<Timestamp>,
    pub close_reason: Option<String>,
    pub due_at: Option<Timestamp>,
    pub defer_until: Option<Timestamp>,
    /// True if the bead is pinned: never ready work.
    pub is_pinned: bool,
    /// True if the bead is temporary: never ready work.
    pub is_ephemeral: bool,
    pub labels: Vec<String>,
    /// Context of the work (`metadata.arbiter.context`).
    pub context: Map<String, Value>,
    /// True if an operator has approved the bead (`metadata.arbiter.approved`).
    pub is_approved: bool,
    pub edges: Vec<FileEdge>,
    pub comments: Vec<FileComment>,
    /// Project named by the file; only YAML has one.
    pub project_id: Option<String>,
}

impl Default for FileBead {
    fn default() -> Self {
        Self {
            id: String::new(),
            title: String::new(),
            description: String::new(),
            acceptance_criteria: String::new(),
            state: BeadState { status: Status::Open, reason: None },
            priority: 0,
            bead_type: "task".to_owned(),
            assignee: None,
            created_at: None,
            updated_at: None,
            closed_at: None,
            close_reason: None,
            due_at: None,
            defer_until: None,
            is_pinned: false,
            is_ephemeral: false,
            labels: Vec::new(),
            context: Map::new(),
            is_approved: false,
            edges: Vec::new(),
            comments: Vec::new(),
            project_id: None,
        }
    }
}

/// Fields kept beside the bead, so that its line can be written as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptFields(pub RawFields);
