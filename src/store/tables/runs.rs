//! The table of runs.

use crate::base::error::StoreError;
use crate::base::page::{self, Conditions, Listing, Page, PageRequest};
use crate::base::table;
use crate::base::table::{get_free_form, get_optional_time, get_time, integer, json, optional, parse, time};
use arbiter_core::kernel::call::Kind;
use arbiter_core::kernel::ids::{AgentId, BeadId, ProjectId, ProviderId, RunId, TokenId};
use arbiter_core::kernel::run::{Run, Status};
use arbiter_core::kernel::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

const COLUMNS: &str = "id, kind, bead_id, agent_id, project_id, token_id, provider_id, model, status, outcome, prompt, answer,
    error, messages, steps, key_uses, input_tokens, output_tokens, cost_usd, latency_ms, started_at, finished_at";

fn read(row: &Row<'_>) -> rusqlite::Result<Run> {
    let id = |at: usize| row.get::<_, Option<String>>(at);
    Ok(Run {
        id: RunId::from_trusted(row.get::<_, String>(0)?),
        kind: parse(row, 1, Kind::parse)?,
        bead_id: id(2)?.map(BeadId::from_trusted),
        agent_id: id(3)?.map(AgentId::from_trusted),
        project_id: id(4)?.map(ProjectId::from_trusted),
        token_id: id(5)?.map(TokenId::from_trusted),
        provider_id: id(6)?.map(ProviderId::from_trusted),
        model: row.get(7)?,
        status: parse(row, 8, Status::parse)?,
        outcome: row.get(9)?,
        prompt: row.get(10)?,
        answer: row.get(11)?,
        error: row.get(12)?,
        messages: get_free_form(row, 13)?,
        steps: row.get(14)?,
        key_uses: row.get(15)?,
        input_tokens: row.get(16)?,
        output_tokens: row.get(17)?,
        cost_usd: row.get(18)?,
        latency_ms: row.get(19)?,
        started_at: get_time(row, 20)?,
        finished_at: get_optional_time(row, 21)?,
    })
}

/// Filter of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only on this bead.
    pub bead_id: Option<String>,
    /// Only of this agent.
    pub agent_id: Option<String>,
    /// Only of this project.
    pub project_id: Option<String>,
    /// Only those of these projects.
    pub within: Option<Vec<String>>,
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only in this state.
    pub status: Option<Status>,
}

/// The run with this id.
pub(crate) fn get(connection: &Connection, id: &str) -> Result<Option<Run>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM runs WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id], read).optional()?)
}

/// A page of runs by age.
pub(crate) fn list(
    connection: &Connection,
    filter: &RunFilter,
    request: &PageRequest,
) -> Result<Page<Run>, StoreError> {
    let mut conditions = Conditions::default();
    conditions.equal("bead_id", filter.bead_id.as_deref());
    conditions.equal("agent_id", filter.agent_id.as_deref());
    conditions.equal("project_id", filter.project_id.as_deref());
    conditions.within("project_id", filter.within.as_deref());
    conditions.equal("kind", filter.kind.map(Kind::as_str));
    conditions.equal("status", filter.status.map(Status::as_str));
    let listing = Listing { from: "runs", columns: COLUMNS, order: &["started_at", "id"] };
    page::read(connection, &listing, conditions, request, read)
}

/// Every run that has not ended.
pub(crate) fn running(connection: &Connection) -> Result<Vec<Run>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM runs WHERE status = 'running' ORDER BY id");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([], read)?;
    Ok(table::readable("runs", rows)?)
}

/// Stores a run that begins, or one that has ended already.
pub(crate) fn start(connection: &Connection, run: &Run) -> Result<(), StoreError> {
    let placeholders: Vec<String> = (1..=22).map(|n| format!("?{n}")).collect();
    let sql = format!("INSERT INTO runs ({COLUMNS}) VALUES ({})", placeholders.join(", "));
    connection.prepare_cached(&sql)?.execute(params![
        run.id.as_str(),
        run.kind.as_str(),
        run.bead_id.as_ref().map(BeadId::as_str),
        run.agent_id.as_ref().map(AgentId::as_str),
        run.project_id.as_ref().map(ProjectId::as_str),
        run.token_id.as_ref().map(TokenId::as_str),
        run.provider_id.as_ref().map(ProviderId::as_str),
        run.model,
        run.status.as_str(),
        run.outcome,
        run.prompt,
        run.answer,
        run.error,
        json(&run.messages),
        run.steps,
        run.key_uses,
        integer(run.input_tokens),
        integer(run.output_tokens),
        run.cost_usd,
        integer(run.latency_ms),
        time(run.started_at),
        optional(run.finished_at, time),
    ])?;
    Ok(())
}

/// Stores how a run ended; a run ends once.
pub(crate) fn finish(connection: &Connection, run: &Run) -> Result<(), StoreError> {
    let changed = connection
        .prepare_cached(
            "UPDATE runs SET provider_id = ?2, model = ?3, status = ?4, outcome = ?5, prompt = ?6, answer = ?7,
             error = ?8, messages = ?9, steps = ?10, key_uses = ?11, input_tokens = ?12, output_tokens = ?13,
             cost_usd = ?14, latency_ms = ?15, finished_at = ?16 WHERE id = ?1 AND status = 'running'",
        )?
        .execute(params![
            run.id.as_str(),
            run.provider_id.as_ref().map(ProviderId::as_str),
            run.model,
            run.status.as_str(),
            run.outcome,
            run.prompt,
            run.answer,
            run.error,
            json(&run.messages),
            run.steps,
            run.key_uses,
            integer(run.input_tokens),
            integer(run.output_tokens),
            run.cost_usd,
            integer(run.latency_ms),
            optional(run.finished_at, time),
        ])?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Stale { entity: "run", id: run.id.to_string() }) }
}

/// Deletes runs that ended before a time; those of open beads stay until their bead ends.
pub(crate) fn prune(connection: &Connection, before: Timestamp) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM runs WHERE status <> 'running' AND started_at < ?1
             AND (bead_id IS NULL OR bead_id NOT IN (SELECT id FROM beads WHERE status <> 'closed'))",
        )?
        .execute([before.to_string()])?;
    Ok(())
}
