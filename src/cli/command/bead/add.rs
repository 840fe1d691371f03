//! `arbiter bead add`.

use clap::Args;
use serde::Serialize;

/// The arguments of `bead add`.
#[derive(Debug, Args, Serialize)]
pub struct Add {
    /// The title, in one line
    title: String,
    /// The project it belongs to
    #[arg(long = "project", value_name = "ID")]
    #[serde(rename = "project_id")]
    project: String,
    /// Its id; else one is made
    #[arg(long)]
    id: Option<String>,
    /// task, bug, feature, epic, chore, …
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    bead_type: Option<String>,
    /// 0 critical (needs a person), 1 high, 2 medium, 3 low, 4 backlog
    #[arg(long)]
    priority: Option<u8>,
    /// The description
    #[arg(long)]
    description: Option<String>,
    /// When it counts as done
    #[arg(long = "acceptance", value_name = "TEXT")]
    #[serde(rename = "acceptance_criteria")]
    acceptance: Option<String>,
    /// The agent that is to do it
    #[arg(long, value_name = "ID")]
    assigned_to: Option<String>,
    /// The bead it is a part of
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// A bead that has to be closed first; may be repeated
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    blocked_by: Vec<String>,
    /// A tag, as role:reviewer; may be repeated
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
    tags: Vec<String>,
    /// When it is due, as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    due_at: Option<String>,
    /// Not before this time
    #[arg(long, value_name = "TIME")]
    defer_until: Option<String>,
}
