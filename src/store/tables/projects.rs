//! The table of projects.

use crate::base::error::StoreError;
use crate::base::page::{self, Conditions, Listing, Page, PageRequest};
use crate::base::table::{
    self, Table, get_free_form, get_optional_time, get_time, integer, json, optional, parse, text, time,
};
use arbiter_core::decision::subject_digest::OpenWork;
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::project::{Project, Status};
use rusqlite::types::Value;
use rusqlite::{Connection, Row};

impl Table for Project {
    table::statements!();
    const NAME: &'static str = "projects";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "name",
        "git_repo",
        "branch",
        "beads_path",
        "bead_prefix",
        "max_parallel",
        "context",
        "status",
        "is_perpetual",
        "is_sticky",
        "created_at",
        "updated_at",
        "closed_at",
        "parked",
        "revision",
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            text(self.id.as_str()),
            text(&self.name),
            optional(self.git_repo.as_deref(), text),
            optional(self.branch.as_deref(), text),
            optional(self.beads_path.as_deref(), text),
            optional(self.bead_prefix.as_deref(), text),
            optional(self.max_parallel, |most| Value::Integer(most.into())),
            json(&self.context),
            text(self.status.as_str()),
            Value::Integer(self.is_perpetual.into()),
            Value::Integer(self.is_sticky.into()),
            time(self.created_at),
            time(self.updated_at),
            optional(self.closed_at, time),
            optional(self.parked.as_deref(), text),
            integer(self.revision),
        ]
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: ProjectId::from_trusted(row.get::<_, String>(0)?),
            name: row.get(1)?,
            git_repo: row.get(2)?,
            branch: row.get(3)?,
            beads_path: row.get(4)?,
            bead_prefix: row.get(5)?,
            max_parallel: row.get(6)?,
            context: get_free_form(row, 7)?,
            status: parse(row, 8, Status::parse)?,
            is_perpetual: row.get(9)?,
            is_sticky: row.get(10)?,
            created_at: get_time(row, 11)?,
            updated_at: get_time(row, 12)?,
            closed_at: get_optional_time(row, 13)?,
            parked: row.get(14)?,
            revision: row.get(15)?,
        })
    }
}

/// A page of projects by age.
pub(crate) fn list(
    connection: &Connection,
    status: Option<Status>,
    within: Option<&[String]>,
    request: &PageRequest,
) -> Result<Page<Project>, StoreError> {
    let mut conditions = Conditions::default();
    conditions.equal("status", status.map(Status::as_str));
    conditions.within("id", within);
    let columns = table::columns::<Project>("");
    let listing = Listing { from: "projects", columns: &columns, order: &["created_at", "id"] };
    page::read(connection, &listing, conditions, request, Project::read)
}

/// Returns the number of a project's beads by status.
pub(crate) fn bead_counts(connection: &Connection, project: &str) -> Result<Vec<(String, u64)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT status, count(*) FROM beads WHERE project_id = ?1 GROUP BY status ORDER BY 1",
    )?;
    let rows = statement.query_map([project], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns the identifying fields of a project's open beads.
pub(crate) fn open_work(connection: &Connection, project: &str) -> Result<OpenWork, StoreError> {
    let sql = "SELECT count(*), max(created_at || ' ' || id) FROM beads WHERE project_id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([project], |row| Ok(OpenWork { beads: row.get(0)?, newest: row.get(1)? }))?)
}
