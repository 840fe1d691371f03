//! `arbiter bead list` and `arbiter bead ready`.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::table::Column;
use clap::Args;

const COLUMNS: &[Column] = &[
    ("id", "id"),
    ("p", "priority"),
    ("status", "status"),
    ("ready", "ready"),
    ("type", "type"),
    ("assigned to", "assigned_to"),
    ("waits for", "waiting_on"),
    ("title", "title"),
];

const READY_COLUMNS: &[Column] = &[
    ("id", "id"),
    ("p", "priority"),
    ("type", "type"),
    ("project", "project_id"),
    ("created", "created_at"),
    ("title", "title"),
];

/// The filters of `bead list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only those of this project
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Only those with this status
    #[arg(long)]
    status: Option<String>,
    /// Only those of this type
    #[arg(long = "type", value_name = "TYPE")]
    bead_type: Option<String>,
    /// Only those of this priority, 0 to 4
    #[arg(long)]
    priority: Option<u8>,
    /// Only those of this agent or person
    #[arg(long, value_name = "ID")]
    assigned_to: Option<String>,
    /// Only those with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only those below this bead
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Only those that hold these words
    #[arg(short, long = "query", value_name = "WORDS")]
    query: Option<String>,
    /// The most entries to show
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// The filters of `bead ready`.
#[derive(Debug, Args)]
pub struct Ready {
    /// Only those of this project
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// The most entries to show
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

impl List {
    /// Prints the beads.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        let request = Request::get(&["beads"])
            .filter("project_id", self.project)
            .filter("status", self.status)
            .filter("type", self.bead_type)
            .filter("priority", self.priority)
            .filter("assigned_to", self.assigned_to)
            .filter("tag", self.tag)
            .filter("parent", self.parent)
            .filter("q", self.query);
        session.list(request, self.limit, COLUMNS).await
    }
}

impl Ready {
    /// Prints the beads in the order of their urgency.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        let request = Request::get(&["beads", "ready"]).filter("project_id", self.project);
        session.list(request, self.limit, READY_COLUMNS).await
    }
}
