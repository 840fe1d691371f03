//! The table of beads, with their tags, and what a reader wants to know beside the row.

use crate::base::error::StoreError;
use crate::base::page::{self, Conditions, Listing, Page, PageRequest};
use crate::base::table::{
    self, Table, get_free_form, get_json, get_optional_time, get_time, integer, json, optional, parse, text,
    time,
};
use crate::base::unit_of_work::Write;
use crate::tables::decisions;
use crate::tables::dependencies::{self, Blockers};
use crate::tables::search;
use arbiter_core::bead::edit::{Edge, affects_readiness};
use arbiter_core::bead::{Approval, Bead, ClaimContext, Status};
use arbiter_core::kernel::ids::{BeadId, ProjectId};
use arbiter_core::kernel::limits::UNREADABLE;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::HashSet;

impl Table for Bead {
    table::statements!();
    const NAME: &'static str = "beads";
    const RETIRES_IDS: bool = true;
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "type",
        "title",
        "description",
        "status",
        "priority",
        "project_id",
        "assigned_to",
        "tags",
        "context",
        "acceptance_criteria",
        "due_at",
        "defer_until",
        "close_reason",
        "block_reason",
        "approval",
        "attempts",
        "next_attempt_at",
        "last_error",
        "last_answer",
        "handed_on_by",
        "shelved",
        "created_at",
        "updated_at",
        "closed_at",
        "revision",
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            text(self.id.as_str()),
            text(&self.bead_type),
            text(&self.title),
            text(&self.description),
            text(self.status.as_str()),
            Value::Integer(self.priority.into()),
            text(self.project_id.as_str()),
            optional(self.assigned_to.as_deref(), text),
            json(&self.tags),
            json(&self.context),
            text(&self.acceptance_criteria),
            optional(self.due_at, time),
            optional(self.defer_until, time),
            optional(self.close_reason.as_deref(), text),
            optional(self.block_reason.as_deref(), text),
            text(self.approval.as_str()),
            Value::Integer(self.attempts.into()),
            optional(self.next_attempt_at, time),
            optional(self.last_error.as_deref(), text),
            optional(self.last_answer.as_deref(), text),
            json(&self.handed_on_by),
            optional(self.shelved.as_deref(), text),
            time(self.created_at),
            time(self.updated_at),
            optional(self.closed_at, time),
            integer(self.revision),
        ]
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: BeadId::from_trusted(row.get::<_, String>(0)?),
            bead_type: row.get(1)?,
            title: row.get(2)?,
            description: row.get(3)?,
            status: parse(row, 4, Status::parse)?,
            priority: row.get(5)?,
            project_id: ProjectId::from_trusted(row.get::<_, String>(6)?),
            assigned_to: row.get(7)?,
            tags: get_free_form(row, 8)?,
            context: get_free_form(row, 9)?,
            acceptance_criteria: row.get(10)?,
            due_at: get_optional_time(row, 11)?,
            defer_until: get_optional_time(row, 12)?,
            close_reason: row.get(13)?,
            block_reason: row.get(14)?,
            approval: parse(row, 15, Approval::parse)?,
            attempts: row.get(16)?,
            next_attempt_at: get_optional_time(row, 17)?,
            last_error: row.get(18)?,
            last_answer: row.get(19)?,
            handed_on_by: get_json(row, 20)?,
            shelved: row.get(21)?,
            created_at: get_time(row, 22)?,
            updated_at: get_time(row, 23)?,
            closed_at: get_optional_time(row, 24)?,
            revision: row.get(25)?,
        })
    }
}

/// SQL condition: bead `b` is not deferred at `?`, neither by itself nor, as `bd ready` has it, by a parent.
pub(crate) const NOT_DEFERRED: &str = "(b.not_before IS NULL OR b.not_before <= ?)";

/// The other ends of a bead's dependencies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    pub parent: Option<BeadId>,
    /// Beads that block it.
    pub blocked_by: Vec<BeadId>,
    /// Beads that it blocks.
    pub blocks: Vec<BeadId>,
    /// Beads it is related to.
    pub related_to: Vec<BeadId>,
    pub children: Vec<BeadId>,
}

/// A bead with what a reader wants to know beside its row.
#[derive(Clone, Debug, PartialEq)]
pub struct BeadDetail {
    pub bead: Bead,
    pub links: Links,
    /// True if it is ready but for its `defer_until`.
    pub is_ready: bool,
    pub claim_context: ClaimContext,
}

/// The order of a list of beads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BeadSort {
    #[default]
    Age,
    /// Most urgent first, then oldest first.
    Urgency,
    /// Most urgent first, then newest first, as bd lists them.
    Bd,
}

/// Filter of beads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BeadFilter {
    pub project_id: Option<String>,
    /// Only those of these projects.
    pub within: Option<Vec<String>>,
    /// Only in this state.
    pub status: Option<Status>,
    /// Only of this type.
    pub bead_type: Option<String>,
    /// Only of this priority.
    pub priority: Option<u8>,
    /// Only held by, or meant for, this agent or person.
    pub assigned_to: Option<String>,
    /// Only with this tag.
    pub tag: Option<String>,
    /// Only children of this bead.
    pub parent: Option<String>,
    /// Only with this text in title or description.
    pub text: Option<String>,
    /// Only those that are ready at this time.
    pub ready_at: Option<Timestamp>,
    pub sort: BeadSort,
}

/// Returns the beads among these that are in one of these projects.
pub(crate) fn within(
    connection: &Connection,
    ids: &[String],
    projects: &[String],
) -> Result<HashSet<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM beads WHERE id IN (SELECT value FROM json_each(?1))
         AND project_id IN (SELECT value FROM json_each(?2))",
    )?;
    let rows = statement.query_map([json(&ids), json(&projects)], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Stores a new bead of an existing project without its texts. The caller must call [`search::note_new`] once all beads
/// are stored.
pub(crate) fn insert(connection: &Connection, bead: &Bead, values: &[Value]) -> Result<(), StoreError> {
    table::insert_values::<Bead>(connection, bead.id.as_str(), values)?;
    tag(connection, bead)
}

/// Applies a write to a bead's row, its tags and its texts.
pub(crate) fn write(connection: &Connection, write: &Write<Bead>) -> Result<(), StoreError> {
    if let Write::Insert(bead) | Write::Update { row: bead, .. } = write
        && !table::exists(connection, "projects", bead.project_id.as_str())?
    {
        let detail = format!("no project has the id {}", bead.project_id);
        return Err(Refusal::field("project_id", detail).into());
    }
    if let Write::Delete { row } = write {
        decisions::check_no_pending_about(connection, &row.id)?;
    }
    let is_new_text = search::unindex(connection, write)?;
    table::write(connection, write)?;
    match write {
        Write::Insert(row) | Write::Update { row, .. } if is_new_text => search::index(connection, row)?,
        _ => {}
    }
    match write {
        Write::Insert(bead) => tag(connection, bead),
        // The stored tags cannot be read and stay as they are.
        Write::Update { row, .. } if row.tags == [UNREADABLE] => Ok(()),
        Write::Update { row, .. } => {
            connection
                .prepare_cached("DELETE FROM bead_tags WHERE bead_id = ?1")?
                .execute([row.id.as_str()])?;
            tag(connection, row)
        }
        Write::Delete { .. } => Ok(()),
    }
}

fn tag(connection: &Connection, bead: &Bead) -> Result<(), StoreError> {
    for tag in &bead.tags {
        connection
            .prepare_cached("INSERT OR IGNORE INTO bead_tags (bead_id, tag) VALUES (?1, ?2)")?
            .execute([bead.id.as_str(), tag])?;
    }
    Ok(())
}

/// A bead with its surroundings.
pub(crate) fn detail(connection: &Connection, id: &str) -> Result<Option<BeadDetail>, StoreError> {
    let sql = format!("SELECT {}, ready FROM beads WHERE id = ?1", table::columns::<Bead>(""));
    let found = connection.prepare_cached(&sql)?.query_row([id], read_with_ready).optional()?;
    found.map(|found| with_detail(connection, found)).transpose()
}

/// A row whose columns are those of the table and then `ready`.
fn read_with_ready(row: &Row<'_>) -> rusqlite::Result<(Bead, bool)> {
    Ok((Bead::read(row)?, row.get(Bead::COLUMNS.len())?))
}

fn with_detail(connection: &Connection, found: (Bead, bool)) -> Result<BeadDetail, StoreError> {
    let (bead, is_ready) = found;
    let depends_on = dependencies::depends_on(connection, bead.id.as_str())?;
    let links = dependencies::links(connection, bead.id.as_str(), &depends_on)?;
    // A ready bead waits for nothing: that is what ready means.
    let claim_context =
        if is_ready { ClaimContext::default() } else { claim_context_of(connection, &bead.id, &depends_on)? };
    Ok(BeadDetail { bead, links, is_ready, claim_context })
}

/// Returns the related facts that a claim of the bead depends on.
pub(crate) fn claim_context(connection: &Connection, id: &BeadId) -> Result<ClaimContext, StoreError> {
    claim_context_of(connection, id, &dependencies::depends_on(connection, id.as_str())?)
}

fn claim_context_of(
    connection: &Connection,
    id: &BeadId,
    depends_on: &[(BeadId, String)],
) -> Result<ClaimContext, StoreError> {
    // Lists ask for many beads, most of which depend on nothing.
    let may_wait = depends_on.iter().any(|(_, kind)| affects_readiness(kind));
    let blockers = if may_wait { dependencies::blockers(connection, id)? } else { Blockers::default() };
    claim_context_with(connection, id, blockers)
}

/// Returns the related facts that a claim depends on once these dependencies are added and removed. Other beads are
/// taken as they are now: whether one of them waits may change with the same edges, and shows after the commit.
pub(crate) fn claim_context_after(
    connection: &Connection,
    id: &BeadId,
    add: &[Edge],
    remove: &[Edge],
) -> Result<ClaimContext, StoreError> {
    claim_context_with(connection, id, dependencies::blockers_after(connection, id, add, remove)?)
}

fn claim_context_with(
    connection: &Connection,
    id: &BeadId,
    blockers: Blockers,
) -> Result<ClaimContext, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM decisions WHERE bead_id = ?1 AND status = 'pending' ORDER BY created_at, id",
    )?;
    let pending = statement.query_map([id.as_str()], |row| row.get(0))?;
    let pending_decisions = pending.collect::<Result<_, _>>()?;
    let parent_until = blockers.parent_until.and_then(|text| text.parse().ok());
    Ok(ClaimContext { waiting_on: blockers.waiting_on, parent_until, pending_decisions })
}

/// A page of beads.
pub(crate) fn list(
    connection: &Connection,
    filter: &BeadFilter,
    request: &PageRequest,
) -> Result<Page<BeadDetail>, StoreError> {
    let columns = format!("{}, b.ready", table::columns::<Bead>("b."));
    let order: &[&str] = match filter.sort {
        BeadSort::Age => &["b.created_at", "b.id"],
        BeadSort::Urgency => &["b.priority", "b.created_at", "b.id"],
        BeadSort::Bd => &["b.priority", "b.created_at DESC", "b.id"],
    };
    let listing = Listing { from: "beads b", columns: &columns, order };
    let page = page::read(connection, &listing, conditions(filter), request, read_with_ready)?;
    let items = page.items.into_iter().map(|found| with_detail(connection, found));
    let items = items.collect::<Result<_, _>>()?;
    Ok(Page { items, next: page.next, total: page.total, unreadable: page.unreadable, bytes: page.bytes })
}

fn conditions(filter: &BeadFilter) -> Conditions {
    let mut conditions = Conditions::default();
    if let Some(at) = filter.ready_at {
        conditions.add_plain("b.ready = 1");
        conditions.add(NOT_DEFERRED, at.to_string());
    }
    conditions.equal("b.project_id", filter.project_id.as_deref());
    conditions.within("b.project_id", filter.within.as_deref());
    conditions.equal("b.status", filter.status.map(Status::as_str));
    conditions.equal("b.type", filter.bead_type.as_deref());
    conditions.equal("b.assigned_to", filter.assigned_to.as_deref());
    if let Some(priority) = filter.priority {
        conditions.add("b.priority = ?", i64::from(priority));
    }
    if let Some(tag) = &filter.tag {
        conditions.add("b.id IN (SELECT bead_id FROM bead_tags WHERE tag = ?)", tag.clone());
    }
    if let Some(parent) = &filter.parent {
        conditions.add(
            "b.id IN (SELECT bead_id FROM bead_dependencies WHERE depends_on = ? AND type = 'parent-child')",
            parent.clone(),
        );
    }
    match filter.text.as_deref().map(search::query) {
        None => {}
        Some(Some(words)) => conditions.add(search::MATCHES, words),
        // Nothing has no words.
        Some(None) => conditions.add_plain("0"),
    }
    conditions
}
