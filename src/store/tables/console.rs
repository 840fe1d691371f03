//! The table of the console's turns: a question and its answer.

use crate::base::error::StoreError;
use crate::base::page::{self, Conditions, Listing, Page, PageRequest};
use crate::base::rows::ConsoleTurn;
use crate::base::table::{get_time, integer, json};
use arbiter_core::kernel::time::Timestamp;
use rusqlite::{Connection, Row, params};

const COLUMNS: &str = "id, at, user, project_id, message, response, provider_id, provider_name, model, reason, \
    input_tokens, output_tokens, cost_usd, latency_ms, workflow_id, within";

fn read(row: &Row<'_>) -> rusqlite::Result<ConsoleTurn> {
    Ok(ConsoleTurn {
        id: row.get(0)?,
        at: get_time(row, 1)?,
        user: row.get(2)?,
        project_id: row.get(3)?,
        message: row.get(4)?,
        response: row.get(5)?,
        provider_id: row.get(6)?,
        provider_name: row.get(7)?,
        model: row.get(8)?,
        reason: row.get(9)?,
        input_tokens: row.get(10)?,
        output_tokens: row.get(11)?,
        cost_usd: row.get(12)?,
        latency_ms: row.get(13)?,
        workflow_id: row.get(14)?,
        // What cannot be read is not known.
        within: row.get::<_, Option<String>>(15)?.and_then(|list| serde_json::from_str(&list).ok()),
    })
}

/// Stores a turn.
pub(crate) fn add(connection: &Connection, turn: &ConsoleTurn) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO console_turns ({COLUMNS})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
    );
    connection.prepare_cached(&sql)?.execute(params![
        turn.id,
        turn.at.to_string(),
        turn.user,
        turn.project_id,
        turn.message,
        turn.response,
        turn.provider_id,
        turn.provider_name,
        turn.model,
        turn.reason,
        integer(turn.input_tokens),
        integer(turn.output_tokens),
        turn.cost_usd,
        integer(turn.latency_ms),
        turn.workflow_id,
        turn.within.as_ref().map(json),
    ])?;
    Ok(())
}

/// Condition on turns whose reach lies within the projects of the list `?`.
const REACHED: &str = "(within IS NOT NULL AND NOT EXISTS (SELECT 1 FROM json_each(within) AS reach \
    WHERE reach.value NOT IN (SELECT value FROM json_each(?))))";

/// A page of a user's turns within these projects, oldest first; `None`: all of the user's.
pub(crate) fn list(
    connection: &Connection,
    user: &str,
    within: Option<&[String]>,
    request: &PageRequest,
) -> Result<Page<ConsoleTurn>, StoreError> {
    let mut conditions = Conditions::default();
    conditions.equal("user", Some(user));
    if let Some(projects) = within {
        conditions.add(REACHED, json(&projects));
    }
    let listing = Listing { from: "console_turns", columns: COLUMNS, order: &["at", "id"] };
    page::read(connection, &listing, conditions, request, read)
}

/// The newest turns of a user within these projects, oldest first; `None`: of all of the user's.
pub(crate) fn newest(
    connection: &Connection,
    user: &str,
    within: Option<&[String]>,
    most: u32,
) -> Result<Vec<ConsoleTurn>, StoreError> {
    let reached = REACHED.replace('?', "?3");
    let sql = format!(
        "SELECT {COLUMNS} FROM console_turns WHERE user = ?1 AND (?3 IS NULL OR {reached})
         ORDER BY at DESC, id DESC LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![user, most, within.map(|list| json(&list))], read)?;
    let mut turns: Vec<ConsoleTurn> = rows.collect::<Result<_, _>>()?;
    turns.reverse();
    Ok(turns)
}

/// Deletes turns from before a time.
pub(crate) fn prune(connection: &Connection, before: Timestamp) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM console_turns WHERE at < ?1")?.execute([before.to_string()])?;
    Ok(())
}
