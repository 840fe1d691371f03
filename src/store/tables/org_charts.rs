//! Table of org charts, and the occupants of their positions.

use crate::base::error::StoreError;
use crate::base::table::{self, Table, get_json, get_time};
use arbiter_core::agent::Agent;
use arbiter_core::kernel::ids::AgentId;
use arbiter_core::project::Project;
use arbiter_core::project::org_chart::OrgChart;
use rusqlite::{Connection, OptionalExtension, params};

pub(crate) fn get(connection: &Connection, project: &str) -> Result<Option<OrgChart>, StoreError> {
    let Some(project) = table::get::<Project>(connection, project)? else { return Ok(None) };
    let sql = "SELECT positions, updated_at, revision FROM org_charts WHERE project_id = ?1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(OrgChart {
            project_id: project.id.clone(),
            positions: get_json(row, 0)?,
            updated_at: get_time(row, 1)?,
            revision: row.get(2)?,
        })
    };
    let stored = connection.prepare_cached(sql)?.query_row([project.id.as_str()], read).optional()?;
    Ok(Some(stored.unwrap_or_else(|| OrgChart::default_for(&project))))
}

pub(crate) fn members(connection: &Connection, project: &str) -> Result<Vec<Agent>, StoreError> {
    let sql = format!(
        "SELECT {} FROM agents WHERE project_id = ?1 ORDER BY created_at, id",
        table::columns::<Agent>("")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([project], Agent::read)?;
    Ok(table::readable("agents", rows)?)
}

pub(crate) fn agents_of_persona(connection: &Connection, names: &[String]) -> Result<Vec<Agent>, StoreError> {
    let sql = format!(
        "SELECT {} FROM agents WHERE persona_name IN (SELECT value FROM json_each(?1)) ORDER BY id",
        table::columns::<Agent>("")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![table::json(&names)], Agent::read)?;
    Ok(table::readable("agents", rows)?)
}

/// Stores a chart in the place of the one with the revision before.
pub(crate) fn put(connection: &Connection, chart: &OrgChart) -> Result<(), StoreError> {
    let project = chart.project_id.as_str();
    let stale = || StoreError::Stale { entity: "org chart", id: project.to_owned() };
    if get(connection, project)?.is_none_or(|stored| stored.revision + 1 != chart.revision) {
        return Err(stale());
    }
    let members = members(connection, project)?;
    for position in &chart.positions {
        chart.check_instance_limit(&position.role_name, &members)?;
    }
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO org_charts (project_id, positions, updated_at, revision)
             VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            project,
            table::json(&chart.positions),
            chart.updated_at.to_string(),
            table::integer(chart.revision)
        ])?;
    Ok(())
}

/// Refuses an agent that is one too many in its position, by the chart that is in force now.
pub(crate) fn check_instance_limit(connection: &Connection, agent: &AgentId) -> Result<(), StoreError> {
    let Some(agent) = table::get::<Agent>(connection, agent.as_str())? else { return Ok(()) };
    let Some(project) = &agent.project_id else { return Ok(()) };
    let Some(chart) = get(connection, project.as_str())? else { return Ok(()) };
    if let Some(position) = chart.position_of(&agent).filter(|position| position.max_instances > 0) {
        chart.check_instance_limit(&position.role_name, &members(connection, project.as_str())?)?;
    }
    Ok(())
}
