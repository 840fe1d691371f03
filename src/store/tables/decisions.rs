//! The table of decisions.

use crate::base::error::StoreError;
use crate::base::page::{self, Conditions, Listing, Page, PageRequest};
use crate::base::table::{
    self, Table, get_free_form, get_optional_time, get_time, integer, json, optional, parse, text, time,
};
use crate::base::unit_of_work::Write;
use arbiter_core::decision::deadline::OnTimeout;
use arbiter_core::decision::{Decision, Purpose, Status};
use arbiter_core::kernel::ids::{BeadId, DecisionId, ProjectId};
use arbiter_core::kernel::refusal::Refusal;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row};

impl Table for Decision {
    table::statements!();
    const NAME: &'static str = "decisions";
    const RETIRES_IDS: bool = true;
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "project_id",
        "bead_id",
        "purpose",
        "question",
        "options",
        "recommendation",
        "requester_id",
        "decider_id",
        "decision",
        "rationale",
        "priority",
        "status",
        "deadline",
        "on_timeout",
        "escalated_at",
        "reminded",
        "subject_digest",
        "created_at",
        "updated_at",
        "decided_at",
        "revision",
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            text(self.id.as_str()),
            text(self.project_id.as_str()),
            optional(self.bead_id.as_ref(), |id| text(id.as_str())),
            text(self.purpose.as_str()),
            text(&self.question),
            json(&self.options),
            optional(self.recommendation.as_deref(), text),
            optional(self.requester_id.as_deref(), text),
            optional(self.decider_id.as_deref(), text),
            optional(self.decision.as_deref(), text),
            optional(self.rationale.as_deref(), text),
            Value::Integer(self.priority.into()),
            text(self.status.as_str()),
            optional(self.deadline, time),
            text(&self.on_timeout.to_string()),
            optional(self.escalated_at, time),
            Value::Integer(self.reminded.into()),
            optional(self.subject_digest.as_deref(), text),
            time(self.created_at),
            time(self.updated_at),
            optional(self.decided_at, time),
            integer(self.revision),
        ]
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: DecisionId::from_trusted(row.get::<_, String>(0)?),
            project_id: ProjectId::from_trusted(row.get::<_, String>(1)?),
            bead_id: row.get::<_, Option<String>>(2)?.map(BeadId::from_trusted),
            purpose: parse(row, 3, Purpose::parse)?,
            question: row.get(4)?,
            options: get_free_form(row, 5)?,
            recommendation: row.get(6)?,
            requester_id: row.get(7)?,
            decider_id: row.get(8)?,
            decision: row.get(9)?,
            rationale: row.get(10)?,
            priority: row.get(11)?,
            status: parse(row, 12, Status::parse)?,
            deadline: get_optional_time(row, 13)?,
            on_timeout: parse(row, 14, OnTimeout::parse)?,
            escalated_at: get_optional_time(row, 15)?,
            reminded: row.get(16)?,
            subject_digest: row.get(17)?,
            created_at: get_time(row, 18)?,
            updated_at: get_time(row, 19)?,
            decided_at: get_optional_time(row, 20)?,
            revision: row.get(21)?,
        })
    }
}

/// Filter of decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecisionFilter {
    pub project_id: Option<String>,
    /// Only those of these projects.
    pub within: Option<Vec<String>>,
    /// Only in this state.
    pub status: Option<Status>,
    /// Only about this bead.
    pub bead_id: Option<String>,
    /// Only of this priority.
    pub priority: Option<u8>,
}

/// A page of decisions by age.
pub(crate) fn list(
    connection: &Connection,
    filter: &DecisionFilter,
    request: &PageRequest,
) -> Result<Page<Decision>, StoreError> {
    let mut conditions = Conditions::default();
    conditions.equal("project_id", filter.project_id.as_deref());
    conditions.within("project_id", filter.within.as_deref());
    conditions.equal("status", filter.status.map(Status::as_str));
    conditions.equal("bead_id", filter.bead_id.as_deref());
    if let Some(priority) = filter.priority {
        conditions.add("priority = ?", i64::from(priority));
    }
    let columns = table::columns::<Decision>("");
    let listing = Listing { from: "decisions", columns: &columns, order: &["created_at", "id"] };
    page::read(connection, &listing, conditions, request, Decision::read)
}

/// The decisions about a bead, oldest first.
pub(crate) fn of_bead(connection: &Connection, bead: &str) -> Result<Vec<Decision>, StoreError> {
    let sql = format!(
        "SELECT {} FROM decisions WHERE bead_id = ?1 ORDER BY created_at, id",
        table::columns::<Decision>("")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([bead], Decision::read)?;
    Ok(table::readable("decisions", rows)?)
}

/// Maximum number of ended decisions in one prompt.
const MAX_ENDED_DECISIONS: u32 = 20;

/// Returns an agent's decisions in a project that ended since it last began to work, oldest first. Those about `bead`
/// are omitted, because the bead's own comments report them.
pub(crate) fn ended_for(
    connection: &Connection,
    requester: &str,
    project: &str,
    bead: &str,
) -> Result<Vec<Decision>, StoreError> {
    let sql = format!(
        "SELECT {} FROM decisions WHERE requester_id = ?1 AND project_id = ?2 AND status <> 'pending'
         AND (bead_id IS NULL OR bead_id <> ?3)
         AND decided_at > coalesce((SELECT max(started_at) FROM runs WHERE agent_id = ?1 AND kind = 'run'), '')
         ORDER BY decided_at, id LIMIT {MAX_ENDED_DECISIONS}",
        table::columns::<Decision>("")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([requester, project, bead], Decision::read)?;
    Ok(table::readable("decisions", rows)?)
}

/// The pending question whether a project is to be closed.
pub(crate) fn pending_close(connection: &Connection, project: &str) -> Result<Option<Decision>, StoreError> {
    let sql = format!(
        "SELECT {} FROM decisions WHERE status = 'pending' AND purpose = 'close' AND project_id = ?1",
        table::columns::<Decision>("")
    );
    Ok(connection.prepare_cached(&sql)?.query_row([project], Decision::read).optional()?)
}

/// Returns the open decisions of a project, oldest first.
pub(crate) fn pending_in(connection: &Connection, project: &str) -> Result<Vec<Decision>, StoreError> {
    let sql = format!(
        "SELECT {} FROM decisions WHERE status = 'pending' AND project_id = ?1 ORDER BY created_at, id",
        table::columns::<Decision>("")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([project], Decision::read)?;
    Ok(table::readable("decisions", rows)?)
}

/// Writes a decision. A new one is about what is there.
pub(crate) fn write(connection: &Connection, write: &Write<Decision>) -> Result<(), StoreError> {
    if let Write::Insert(decision) = write {
        let project = &decision.project_id;
        if !table::exists(connection, "projects", project.as_str())? {
            return Err(Refusal::field("project_id", format!("no project has the id {project}")).into());
        }
        if let Some(bead) = &decision.bead_id
            && !table::exists(connection, "beads", bead.as_str())?
        {
            return Err(Refusal::field("bead_id", format!("no bead has the id {bead}")).into());
        }
    }
    table::write(connection, write)
}

/// Refuses to let a bead go while a decision about it is pending: one that was asked for since its end was decided on.
pub(crate) fn check_no_pending_about(connection: &Connection, bead: &BeadId) -> Result<(), StoreError> {
    let mut pending =
        connection.prepare_cached("SELECT 1 FROM decisions WHERE bead_id = ?1 AND status = 'pending'")?;
    if !pending.exists([bead.as_str()])? {
        return Ok(());
    }
    Err(StoreError::Stale { entity: "decisions about bead", id: bead.to_string() })
}

/// Checks that a project has no open decisions.
pub(crate) fn check_no_pending_in(connection: &Connection, project: &ProjectId) -> Result<(), StoreError> {
    let mut pending =
        connection.prepare_cached("SELECT 1 FROM decisions WHERE project_id = ?1 AND status = 'pending'")?;
    if !pending.exists([project.as_str()])? {
        return Ok(());
    }
    Err(StoreError::Stale { entity: "decisions of project", id: project.to_string() })
}

/// Returns the ids of open decisions.
pub(crate) fn pending(connection: &Connection) -> Result<Vec<DecisionId>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id FROM decisions WHERE status = 'pending'")?;
    let rows = statement.query_map([], |row| Ok(DecisionId::from_trusted(row.get::<_, String>(0)?)))?;
    Ok(table::readable("decisions", rows)?)
}

/// Returns the number of a project's open approvals.
pub(crate) fn pending_approvals(connection: &Connection, project: &str) -> Result<u64, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT count(*) FROM decisions WHERE status = 'pending' AND purpose = 'approval' AND project_id = ?1",
        )?
        .query_row([project], |row| row.get(0))?)
}
