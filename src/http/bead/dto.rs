//! Beads as they are shown and as clients describe them.

use crate::http::wire::schema::{maybe_time, time, word};
use crate::http::wire::serde_fields::{nullable, present};
use arbiter_core::bead::edit::{BeadPatch, NewBead};
use arbiter_core::bead::{Approval, Status};
use arbiter_core::kernel::ids::BeadId;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::BeadDetail;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A bead.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BeadView {
    /// Its id.
    pub id: String,
    /// Type of work.
    #[serde(rename = "type")]
    bead_type: String,
    /// Title.
    title: String,
    /// Description of the work.
    description: String,
    /// Current status.
    #[schemars(schema_with = "word::<Status>")]
    status: Status,
    /// 0 (critical) to 4 (backlog).
    priority: u8,
    /// The project it belongs to.
    project_id: String,
    /// The agent or person who holds it, or who is to have it.
    assigned_to: Option<String>,
    /// True if the bead is ready to be worked on.
    ready: bool,
    /// The beads it waits for.
    waiting_on: Vec<String>,
    /// The decisions it waits for.
    pending_decisions: Vec<String>,
    /// Beads that block it.
    blocked_by: Vec<String>,
    /// Beads that it blocks.
    blocks: Vec<String>,
    /// Beads it is related to.
    related_to: Vec<String>,
    /// Its parent.
    parent: Option<String>,
    /// Its children.
    children: Vec<String>,
    /// Words to find it by; `role:x` says which role fits.
    tags: Vec<String>,
    /// Context of the work, by name.
    context: Map<String, Value>,
    /// Acceptance criteria.
    acceptance_criteria: String,
    /// Due time.
    #[schemars(schema_with = "maybe_time")]
    due_at: Option<Timestamp>,
    /// Not ready before this time.
    #[schemars(schema_with = "maybe_time")]
    defer_until: Option<Timestamp>,
    /// Result, or reason for the close.
    close_reason: Option<String>,
    /// Reason for the block.
    block_reason: Option<String>,
    /// Approval by a person (required for priority 0 only).
    #[schemars(schema_with = "word::<Approval>")]
    approval: Approval,
    /// Failed attempts since it last made progress.
    attempts: u32,
    /// Not tried again before this time.
    #[schemars(schema_with = "maybe_time")]
    next_attempt_at: Option<Timestamp>,
    /// Error of the last failed attempt.
    last_error: Option<String>,
    /// Time of creation.
    #[schemars(schema_with = "time")]
    created_at: Timestamp,
    /// Time of the last change.
    #[schemars(schema_with = "time")]
    pub updated_at: Timestamp,
    /// Time of the close.
    #[schemars(schema_with = "maybe_time")]
    closed_at: Option<Timestamp>,
    /// Its revision.
    pub revision: u64,
}

impl BeadView {
    /// The bead as it looks at `now`.
    pub fn new(detail: BeadDetail, now: Timestamp) -> Self {
        let BeadDetail { bead, links, is_ready, claim_context } = detail;
        let names = |ids: Vec<BeadId>| ids.iter().map(BeadId::to_string).collect::<Vec<String>>();
        Self {
            id: bead.id.to_string(),
            ready: is_ready && bead.defer_until.is_none_or(|until| until <= now),
            bead_type: bead.bead_type,
            title: bead.title,
            description: bead.description,
            status: bead.status,
            priority: bead.priority,
            project_id: bead.project_id.to_string(),
            assigned_to: bead.assigned_to,
            waiting_on: claim_context.waiting_on.into_iter().map(|blocker| blocker.id.to_string()).collect(),
            pending_decisions: claim_context.pending_decisions,
            blocked_by: names(links.blocked_by),
            blocks: names(links.blocks),
            related_to: names(links.related_to),
            parent: links.parent.as_ref().map(BeadId::to_string),
            children: names(links.children),
            tags: bead.tags,
            context: bead.context,
            acceptance_criteria: bead.acceptance_criteria,
            due_at: bead.due_at,
            defer_until: bead.defer_until,
            close_reason: bead.close_reason,
            block_reason: bead.block_reason,
            approval: bead.approval,
            attempts: bead.attempts,
            next_attempt_at: bead.next_attempt_at,
            last_error: bead.last_error,
            created_at: bead.created_at,
            updated_at: bead.updated_at,
            closed_at: bead.closed_at,
            revision: bead.revision,
        }
    }

    /// Returns the title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Returns the current status.
    pub fn status(&self) -> Status {
        self.status
    }
}

/// A bead to be created.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBeadBody {
    /// Its id; else one is made.
    #[serde(default)]
    id: Option<String>,
    /// Type of work; `task` by default.
    #[serde(default, rename = "type")]
    bead_type: Option<String>,
    /// Title, in one line.
    title: String,
    /// Description of the work.
    #[serde(default)]
    description: Option<String>,
    /// 0 (critical) to 4 (backlog); 2 by default.
    #[serde(default)]
    priority: Option<u8>,
    /// The project it belongs to.
    project_id: String,
    /// Assigned agent.
    #[serde(default)]
    assigned_to: Option<String>,
    /// Words to find it by.
    #[serde(default)]
    tags: Option<Vec<String>>,
    /// Context of the work, by name.
    #[serde(default)]
    context: Option<Map<String, Value>>,
    /// Acceptance criteria.
    #[serde(default)]
    acceptance_criteria: Option<String>,
    /// Its parent.
    #[serde(default)]
    parent: Option<String>,
    /// Beads that block it.
    #[serde(default)]
    blocked_by: Option<Vec<String>>,
    /// Beads it is related to.
    #[serde(default)]
    related_to: Option<Vec<String>>,
    /// Due time.
    #[serde(default)]
    #[schemars(schema_with = "maybe_time")]
    due_at: Option<Timestamp>,
    /// Not ready before this time.
    #[serde(default)]
    #[schemars(schema_with = "maybe_time")]
    defer_until: Option<Timestamp>,
}

/// Beads to be created at once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBeadsBody {
    /// New beads; one may depend on another by its chosen id.
    pub beads: Vec<NewBeadBody>,
}

impl From<NewBeadBody> for NewBead {
    fn from(body: NewBeadBody) -> Self {
        Self {
            id: body.id,
            bead_type: body.bead_type,
            title: body.title,
            description: body.description.unwrap_or_default(),
            priority: body.priority,
            project_id: body.project_id,
            assigned_to: body.assigned_to,
            tags: body.tags.unwrap_or_default(),
            context: body.context.unwrap_or_default(),
            acceptance_criteria: body.acceptance_criteria.unwrap_or_default(),
            parent: body.parent,
            blocked_by: body.blocked_by.unwrap_or_default(),
            related_to: body.related_to.unwrap_or_default(),
            due_at: body.due_at,
            defer_until: body.defer_until,
        }
    }
}

/// Fields of a bead that are to change.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BeadPatchBody {
    /// Type of work.
    #[serde(rename = "type", deserialize_with = "present")]
    bead_type: Option<String>,
    /// Title.
    #[serde(deserialize_with = "present")]
    title: Option<String>,
    /// Description of the work.
    #[serde(deserialize_with = "present")]
    description: Option<String>,
    /// The status to bring it to, by the one trigger that leads there.
    #[serde(deserialize_with = "present")]
    #[schemars(schema_with = "word::<Status>")]
    pub status: Option<Status>,
    /// Reason for the change of status.
    pub reason: Option<String>,
    /// The token of the lease under which its holder writes.
    pub lease_token: Option<String>,
    /// 0 (critical) to 4 (backlog).
    #[serde(deserialize_with = "present")]
    priority: Option<u8>,
    /// The project it belongs to.
    #[serde(deserialize_with = "present")]
    pub project_id: Option<String>,
    /// Assigned agent.
    #[serde(deserialize_with = "nullable")]
    pub assigned_to: Option<Option<String>>,
    /// Words to find it by.
    #[serde(deserialize_with = "present")]
    pub tags: Option<Vec<String>>,
    /// Context of the work, by name.
    #[serde(deserialize_with = "present")]
    context: Option<Map<String, Value>>,
    /// Acceptance criteria.
    #[serde(deserialize_with = "present")]
    acceptance_criteria: Option<String>,
    /// Its parent.
    #[serde(deserialize_with = "nullable")]
    pub parent: Option<Option<String>>,
    /// All beads that block it.
    #[serde(deserialize_with = "present")]
    pub blocked_by: Option<Vec<String>>,
    /// All beads it is related to.
    #[serde(deserialize_with = "present")]
    pub related_to: Option<Vec<String>>,
    /// Due time.
    #[serde(deserialize_with = "nullable")]
    #[schemars(schema_with = "maybe_time")]
    due_at: Option<Option<Timestamp>>,
    /// Not ready before this time.
    #[serde(deserialize_with = "nullable")]
    #[schemars(schema_with = "maybe_time")]
    defer_until: Option<Option<Timestamp>>,
}

impl BeadPatchBody {
    /// Returns the names of the given fields that plan the work, such as priority, assignee and blockers.
    pub fn planning_fields(&self) -> Vec<&'static str> {
        let given = [
            (self.bead_type.is_some(), "type"),
            (self.priority.is_some(), "priority"),
            (self.project_id.is_some(), "project_id"),
            (self.assigned_to.is_some(), "assigned_to"),
            (self.defer_until.is_some(), "defer_until"),
            (self.parent.is_some(), "parent"),
            (self.blocked_by.is_some(), "blocked_by"),
        ];
        given.into_iter().filter(|(is_given, _)| *is_given).map(|(_, name)| name).collect()
    }
}

impl From<BeadPatchBody> for BeadPatch {
    fn from(body: BeadPatchBody) -> Self {
        Self {
            bead_type: body.bead_type,
            title: body.title,
            description: body.description,
            priority: body.priority,
            project_id: body.project_id,
            assigned_to: body.assigned_to,
            tags: body.tags,
            context: body.context,
            acceptance_criteria: body.acceptance_criteria,
            due_at: body.due_at,
            defer_until: body.defer_until,
            parent: body.parent,
            blocked_by: body.blocked_by,
            related_to: body.related_to,
        }
    }
}
