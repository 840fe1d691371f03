//! A bead as files tell of it, in our terms, with everything of a line that our terms have no place for.

use crate::raw::RawFields;
use arbiter_core::bead::Status;
use arbiter_core::kernel::time::Timestamp;
use serde_json::{Map, Value};

/// Where a bead stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeadState {
    /// The status.
    pub status: Status,
    /// Why, where that is known of a blocked one.
    pub reason: Option<String>,
}

/// A dependency as files tell of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FileEdge {
    /// What the bead depends on.
    pub depends_on: String,
    /// How.
    pub kind: String,
    /// Since when.
    pub created_at: Option<Timestamp>,
    /// By whom.
    pub created_by: Option<String>,
    /// What our terms have no place for, and known fields in a form that we would not write.
    pub kept: RawFields,
}

/// A comment as files tell of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FileComment {
    /// Its id; a number in older files.
    pub id: String,
    /// Who wrote it.
    pub author: String,
    /// What.
    pub text: String,
    /// When.
    pub created_at: Option<Timestamp>,
    /// What our terms have no place for.
    pub kept: RawFields,
}

/// A bead as files tell of it. An empty text stands for a missing one.
#[derive(Clone, Debug, PartialEq)]
pub struct FileBead {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// What is to be done.
    pub description: String,
    /// When it counts as done.
    pub acceptance_criteria: String,
    /// Where it stands.
    pub state: BeadState,
    /// 0 to 4.
    pub priority: u8,
    /// Its type, or a foreign word.
    pub bead_type: String,
    /// Who has it.
    pub assignee: Option<String>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// What came of it.
    pub close_reason: Option<String>,
    /// When it should be done.
    pub due_at: Option<Timestamp>,
    /// Not ready before.
    pub defer_until: Option<Timestamp>,
    /// Whether it is pinned: never ready work.
    pub is_pinned: bool,
    /// Whether it is to vanish some day: never ready work.
    pub is_ephemeral: bool,
    /// Its labels.
    pub labels: Vec<String>,
    /// Anything the work needs to know (`metadata.arbiter.context`).
    pub context: Map<String, Value>,
    /// Whether a person has approved it (`metadata.arbiter.approved`).
    pub is_approved: bool,
    /// What it depends on.
    pub edges: Vec<FileEdge>,
    /// Remarks.
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
