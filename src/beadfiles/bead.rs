//! A bead as files tell of it, in our terms, with everything of a line that our terms have no place for.

use crate::raw::RawFields;
use arbiter_core::bead::Status;
use arbiter_core::kernel::time::Timestamp;
use serde_json::{Map, Value};

/// Where a bead stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeadState {
    pub status: Status,
    pub reason: Option<String>,
}

/// A dependency as files tell of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FileEdge {
    pub depends_on: String,
    pub kind: String,
    pub created_at: Option<Timestamp>,
    pub created_by: Option<String>,
    /// What our terms have no place for, and known fields in a form that we would not write.
    pub kept: RawFields,
}

/// A comment as files tell of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FileComment {
    /// Its id; a number in older files.
    pub id: String,
    pub author: String,
    pub text: String,
    pub created_at: Option<Timestamp>,
    pub kept: RawFields,
}

/// A bead as files tell of it. An empty text stands for a missing one.
#[derive(Clone, Debug, PartialEq)]
pub struct FileBead {
    pub id: String,
    pub title: String,
    pub description: String,
    pub acceptance_criteria: String,
    pub state: BeadState,
    /// 0 to 4.
    pub priority: u8,
    pub bead_type: String,
    pub assignee: Option<String>,
    pub created_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
    pub closed_at: Option<Timestamp>,
    pub close_reason: Option<String>,
    pub due_at: Option<Timestamp>,
    pub defer_until: Option<Timestamp>,
    /// True if it is pinned: never ready work.
    pub is_pinned: bool,
    /// True if it is to vanish some day: never ready work.
    pub is_ephemeral: bool,
    pub labels: Vec<String>,
    /// Anything the work needs to know (`metadata.arbiter.context`).
    pub context: Map<String, Value>,
    /// True if a person has approved it (`metadata.arbiter.approved`).
    pub is_approved: bool,
    pub edges: Vec<FileEdge>,
    pub comments: Vec<FileComment>,
    /// The project that the file names; YAML alone does.
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

/// What is kept of a line beside the bead, so that it can be written as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptFields(pub RawFields);
