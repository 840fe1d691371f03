//! The table of agents.

use crate::base::error::StoreError;
use crate::base::page::{self, Conditions, Listing, Page, PageRequest};
use crate::base::table::{
    self, Table, get_free_form, get_optional_time, get_time, integer, json, optional, parse, text, time,
};
use arbiter_core::agent::{Agent, Kind, Status};
use arbiter_core::kernel::ids::{AgentId, BeadId, ProjectId, ProviderId};
use arbiter_core::kernel::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row};

impl Table for Agent {
    table::statements!();
    const NAME: &'static str = "agents";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "name",
        "description",
        "provider_id",
        "persona_name",
        "role",
        "project_id",
        "kind",
        "status",
        "status_reason",
        "current_bead",
        "config",
        "created_at",
        "updated_at",
        "last_active",
        "revision",
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            text(self.id.as_str()),
            text(&self.name),
            text(&self.description),
            optional(self.provider_id.as_ref(), |id| text(id.as_str())),
            optional(self.persona_name.as_deref(), text),
            optional(self.role.as_deref(), text),
            optional(self.project_id.as_ref(), |id| text(id.as_str())),
            text(self.kind.as_str()),
            text(self.status.as_str()),
            optional(self.status_reason.as_deref(), text),
            optional(self.current_bead.as_ref(), |id| text(id.as_str())),
            json(&self.config),
            time(self.created_at),
            time(self.updated_at),
            optional(self.last_active, time),
            integer(self.revision),
        ]
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: AgentId::from_trusted(row.get::<_, String>(0)?),
            name: row.get(1)?,
            description: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
            provider_id: row.get::<_, Option<String>>(3)?.map(ProviderId::from_trusted),
            persona_name: row.get(4)?,
            role: row.get(5)?,
            project_id: row.get::<_, Option<String>>(6)?.map(ProjectId::from_trusted),
            kind: parse(row, 7, Kind::parse)?,
            status: parse(row, 8, Status::parse)?,
            status_reason: row.get(9)?,
            current_bead: row.get::<_, Option<String>>(10)?.map(BeadId::from_trusted),
            config: get_free_form(row, 11)?,
            created_at: get_time(row, 12)?,
            updated_at: get_time(row, 13)?,
            last_active: get_optional_time(row, 14)?,
            revision: row.get(15)?,
        })
    }
}

/// Filter of agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentFilter {
    pub project_id: Option<String>,
    /// Only those of these projects, and those that work for every project.
    pub within: Option<Vec<String>>,
    /// Only in this state.
    pub status: Option<Status>,
}

/// A page of agents by age.
pub(crate) fn list(
    connection: &Connection,
    filter: &AgentFilter,
    request: &PageRequest,
) -> Result<Page<Agent>, StoreError> {
    let everywhere = |list: &Vec<String>| list.iter().cloned().chain([String::new()]).collect();
    let within: Option<Vec<String>> = filter.within.as_ref().map(everywhere);
    let mut conditions = Conditions::default();
    conditions.equal("project_id", filter.project_id.as_deref());
    // What has no project works for all of them.
    conditions.within("coalesce(project_id, '')", within.as_deref());
    conditions.equal("status", filter.status.map(Status::as_str));
    let columns = table::columns::<Agent>("");
    let listing = Listing { from: "agents", columns: &columns, order: &["created_at", "id"] };
    page::read(connection, &listing, conditions, request, Agent::read)
}

/// All agents that are started, or failed.
pub(crate) fn started(connection: &Connection) -> Result<Vec<Agent>, StoreError> {
    let sql = format!(
        "SELECT {} FROM agents WHERE status NOT IN ('inactive', 'shutdown') ORDER BY id",
        table::columns::<Agent>("")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([], Agent::read)?;
    Ok(table::readable("agents", rows)?)
}

/// The agents that use a provider.
pub(crate) fn of_provider(connection: &Connection, provider: &str) -> Result<Vec<Agent>, StoreError> {
    let sql =
        format!("SELECT {} FROM agents WHERE provider_id = ?1 ORDER BY id", table::columns::<Agent>(""));
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([provider], Agent::read)?;
    Ok(table::readable("agents", rows)?)
}

/// Notes that an agent did something.
pub(crate) fn set_last_active(
    connection: &Connection,
    id: &AgentId,
    at: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE agents SET last_active = ?2 WHERE id = ?1")?
        .execute([id.as_str(), &at.to_string()])?;
    Ok(())
}
