//! The ledger of calls to providers, and sums over it.
//!
//! A run whose calls are not in the ledger counts as one call of its own, so nothing is left out and nothing
//! is counted twice.

use crate::base::error::StoreError;
use crate::base::page::Conditions;
use crate::base::table::{get_time, integer, optional, parse, text, time};
use arbiter_core::budget::{BudgetScope, BudgetWindow};
use arbiter_core::kernel::call::{Call, ErrorKind, Kind, Outcome};
use arbiter_core::kernel::ids::{AgentId, BeadId, CallId, ProjectId, ProviderId, RunId, TokenId};
use arbiter_core::kernel::money::Usd;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::string_enum;
use rusqlite::{Connection, Row, params_from_iter};

string_enum! {
    /// Grouping of usage.
    pub enum GroupBy {
        Provider = "provider",
        Model = "model",
        Agent = "agent",
        Project = "project",
        Bead = "bead",
        Token = "token",
    }
}

string_enum! {
    /// Time slice of usage.
    pub enum Granularity {
        /// Each day, of UTC.
        Day = "day",
        /// Each month, of UTC.
        Month = "month",
        Total = "total",
    }
}

impl GroupBy {
    const fn column(self) -> &'static str {
        match self {
            Self::Provider => "provider_id",
            Self::Model => "model",
            Self::Agent => "agent_id",
            Self::Project => "project_id",
            Self::Bead => "bead_id",
            Self::Token => "token_id",
        }
    }
}

impl Granularity {
    /// Returns the length of the timestamp's prefix that names the day or the month.
    const fn prefix_len(self) -> u8 {
        match self {
            Self::Day => 10,
            Self::Month => 7,
            Self::Total => 0,
        }
    }
}

/// Filter of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// Only those that began then or later.
    pub from: Option<Timestamp>,
    /// Only those that began before.
    pub to: Option<Timestamp>,
    /// Only of this provider.
    pub provider_id: Option<String>,
    /// Only of this model.
    pub model: Option<String>,
    /// Only for this agent.
    pub agent_id: Option<String>,
    /// Only for this project.
    pub project_id: Option<String>,
    /// Only for this bead.
    pub bead_id: Option<String>,
    /// Only of this token.
    pub token_id: Option<String>,
    pub kind: Option<Kind>,
    /// Only those of these projects.
    pub within: Option<Vec<String>>,
}

/// Total usage of calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Of what; none: the calls that name none.
    pub key: Option<String>,
    /// In which day or month; none: all of the time.
    pub period: Option<String>,
    pub calls: u64,
    pub failed: u64,
    /// Times a provider was asked.
    pub attempts: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Cost in US dollars.
    pub cost_usd: f64,
    /// Time spent waiting, in milliseconds.
    pub latency_ms: u64,
}

const COLUMNS: &str =
    "id, at, provider_id, model, agent_id, project_id, bead_id, run_id, token_id, kind, outcome,
    error_kind, input_tokens, output_tokens, cost_usd, latency_ms, attempts, failover_from, failover_reason";

/// The ledger's lines, and a line for each ended run that has none.
const USAGE_ROWS: &str = "SELECT at, provider_id, model, agent_id, project_id, bead_id, token_id, kind, outcome,
        input_tokens, output_tokens, cost_usd, latency_ms, attempts FROM calls
    UNION ALL
    SELECT started_at, coalesce(provider_id, ''), coalesce(model, ''), agent_id, project_id, bead_id, token_id, kind,
        CASE status WHEN 'succeeded' THEN 'answered' WHEN 'failed' THEN 'failed' ELSE 'cancelled' END,
        input_tokens, output_tokens, cost_usd, latency_ms, max(steps, 1) FROM runs
    WHERE status <> 'running' AND (steps > 0 OR input_tokens > 0)
        AND NOT EXISTS (SELECT 1 FROM calls WHERE run_id = runs.id)";

/// Adds a line.
pub(crate) fn add(connection: &Connection, call: &Call) -> Result<(), StoreError> {
    let placeholders: Vec<String> = (1..=19).map(|n| format!("?{n}")).collect();
    let sql = format!("INSERT INTO calls ({COLUMNS}) VALUES ({})", placeholders.join(", "));
    connection.prepare_cached(&sql)?.execute(params_from_iter([
        text(call.id.as_str()),
        time(call.at),
        text(call.provider_id.as_str()),
        text(&call.model),
        optional(call.agent_id.as_ref().map(AgentId::as_str), text),
        optional(call.project_id.as_ref().map(ProjectId::as_str), text),
        optional(call.bead_id.as_ref().map(BeadId::as_str), text),
        optional(call.run_id.as_ref().map(RunId::as_str), text),
        optional(call.token_id.as_ref().map(TokenId::as_str), text),
        text(call.kind.as_str()),
        text(call.outcome.as_str()),
        optional(call.error_kind.map(ErrorKind::as_str), text),
        integer(call.input_tokens),
        integer(call.output_tokens),
        rusqlite::types::Value::Real(call.cost_usd),
        integer(call.latency_ms),
        integer(call.attempts.into()),
        optional(call.failover_from.as_ref().map(ProviderId::as_str), text),
        optional(call.failover_reason.as_deref(), text),
    ]))?;
    Ok(())
}

/// The lines of one run, oldest first.
pub(crate) fn of_run(connection: &Connection, run: &str) -> Result<Vec<Call>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM calls WHERE run_id = ?1 ORDER BY at, rowid");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([run], read_call)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read_call(row: &Row<'_>) -> rusqlite::Result<Call> {
    let id = |at: usize| row.get::<_, Option<String>>(at);
    Ok(Call {
        id: CallId::from_trusted(row.get::<_, String>(0)?),
        at: get_time(row, 1)?,
        provider_id: ProviderId::from_trusted(row.get::<_, String>(2)?),
        model: row.get(3)?,
        agent_id: id(4)?.map(AgentId::from_trusted),
        project_id: id(5)?.map(ProjectId::from_trusted),
        bead_id: id(6)?.map(BeadId::from_trusted),
        run_id: id(7)?.map(RunId::from_trusted),
        token_id: id(8)?.map(TokenId::from_trusted),
        kind: parse(row, 9, Kind::parse)?,
        outcome: parse(row, 10, Outcome::parse)?,
        error_kind: match id(11)? {
            Some(_) => Some(parse(row, 11, ErrorKind::parse)?),
            None => None,
        },
        input_tokens: row.get(12)?,
        output_tokens: row.get(13)?,
        cost_usd: row.get(14)?,
        latency_ms: row.get(15)?,
        attempts: row.get(16)?,
        failover_from: id(17)?.map(ProviderId::from_trusted),
        failover_reason: row.get(18)?,
    })
}

/// Returns the usage of calls, in order of time and then of cost, highest first.
pub(crate) fn usage(
    connection: &Connection,
    filter: &UsageFilter,
    group: GroupBy,
    granularity: Granularity,
) -> Result<Vec<Usage>, StoreError> {
    let mut conditions = Conditions::default();
    if let Some(from) = filter.from {
        conditions.add("at >= ?", from.to_string());
    }
    if let Some(to) = filter.to {
        conditions.add("at < ?", to.to_string());
    }
    conditions.equal("provider_id", filter.provider_id.as_deref());
    conditions.equal("model", filter.model.as_deref());
    conditions.equal("agent_id", filter.agent_id.as_deref());
    conditions.equal("project_id", filter.project_id.as_deref());
    conditions.equal("bead_id", filter.bead_id.as_deref());
    conditions.equal("token_id", filter.token_id.as_deref());
    conditions.equal("kind", filter.kind.map(Kind::as_str));
    conditions.within("project_id", filter.within.as_deref());
    let (clause, values) = conditions.into_parts();
    let sql = format!(
        "SELECT nullif({}, ''), nullif(substr(at, 1, {}), ''), count(*), sum(outcome = 'failed'), sum(attempts),
            sum(input_tokens), sum(output_tokens), sum(cost_usd), sum(latency_ms)
         FROM ({USAGE_ROWS}) WHERE {clause} GROUP BY 1, 2 ORDER BY 2, 8 DESC, 1",
        group.column(),
        granularity.prefix_len(),
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Usage> {
    Ok(Usage {
        key: row.get(0)?,
        period: row.get(1)?,
        calls: row.get(2)?,
        failed: row.get(3)?,
        attempts: row.get(4)?,
        input_tokens: row.get(5)?,
        output_tokens: row.get(6)?,
        cost_usd: row.get(7)?,
        latency_ms: row.get(8)?,
    })
}

/// Returns the cost of a scope's calls that began within a window.
pub(crate) fn spent(
    connection: &Connection,
    scope: &BudgetScope,
    window: BudgetWindow,
) -> Result<Usd, StoreError> {
    let mut conditions = Conditions::default();
    conditions.add("at >= ?", window.start.to_string());
    conditions.add("at < ?", window.end.to_string());
    match scope {
        BudgetScope::Total => {}
        BudgetScope::Project(id) => conditions.equal("project_id", Some(id.as_str())),
        BudgetScope::Agent(id) => conditions.equal("agent_id", Some(id.as_str())),
    }
    let (clause, values) = conditions.into_parts();
    let sql = format!("SELECT total(cost_usd) FROM ({USAGE_ROWS}) WHERE {clause}");
    let mut statement = connection.prepare_cached(&sql)?;
    let dollars: f64 = statement.query_row(params_from_iter(values), |row| row.get(0))?;
    Ok(Usd::from_dollars(dollars))
}

/// Deletes lines before a time.
pub(crate) fn prune(connection: &Connection, before: Timestamp) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM calls WHERE at < ?1")?.execute([before.to_string()])?;
    Ok(())
}
