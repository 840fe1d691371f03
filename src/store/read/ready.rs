//! Ready beads that may be dispatched now, and the time of the next one.

use crate::base::error::StoreError;
use crate::base::table::{self, Table, get_optional_time};
use crate::tables::beads::NOT_DEFERRED;
use crate::tables::decisions;
use arbiter_core::bead::{Bead, CRITICAL, NEVER_DISPATCHED};
use arbiter_core::kernel::time::Timestamp;
use rusqlite::{Connection, params};

/// Selection of ready beads by their possible assignees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueFilter {
    pub project_id: String,
    /// Only those that ask for no role, or for one of these.
    pub roles: Vec<String>,
    /// Only those with all of these tags.
    pub tags: Vec<String>,
}

/// Returns the conditions of dispatching bead `b` at `?1`, for any assignee.
fn conditions() -> String {
    let never = NEVER_DISPATCHED.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ");
    let not_deferred = NOT_DEFERRED.replace('?', "?1");
    format!(
        "b.ready = 1 AND {not_deferred} AND (b.next_attempt_at IS NULL OR b.next_attempt_at <= ?1)
         AND b.type NOT IN ({never})"
    )
}

/// Returns the ready beads that may be dispatched at `now`, most urgent first. Beads without a required approval, or
/// assigned to an agent that is not free, are omitted. So they do not hide others.
pub(crate) fn due(
    connection: &Connection,
    filter: &DueFilter,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Bead>, StoreError> {
    let role = "SELECT 1 FROM bead_tags t WHERE t.bead_id = b.id AND t.tag >= 'role:' AND t.tag < 'role;'";
    let sql = format!(
        "SELECT {} FROM beads b WHERE {} AND b.project_id = ?2
         AND (b.priority > {CRITICAL} OR b.approval = 'given')
         AND (b.assigned_to IS NULL OR b.assigned_to IN (SELECT id FROM agents WHERE status = 'idle'))
         AND (NOT EXISTS ({role}) OR EXISTS ({role} AND t.tag IN (SELECT 'role:' || value FROM json_each(?3))))
         AND (?5 = '[]' OR NOT EXISTS (SELECT 1 FROM json_each(?5) w WHERE NOT EXISTS
             (SELECT 1 FROM bead_tags t WHERE t.bead_id = b.id AND t.tag = w.value)))
         ORDER BY b.priority, b.created_at, b.id LIMIT ?4",
        table::columns::<Bead>("b."),
        conditions(),
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let roles = table::json(&filter.roles);
    let values = params![now.to_string(), filter.project_id, roles, limit, table::json(&filter.tags)];
    let rows = statement.query_map(values, Bead::read)?;
    Ok(table::readable("beads", rows)?)
}

/// Critical beads that may be handed out as soon as a person has approved them, oldest first: of each project
/// as many as make `most` approvals together with those that are asked for already.
pub(crate) fn unapproved(
    connection: &Connection,
    now: Timestamp,
    most: u64,
) -> Result<Vec<Bead>, StoreError> {
    let missing = format!("b.ready = 1 AND b.priority = {CRITICAL} AND b.approval = 'missing'");
    let sql = format!(
        "SELECT id FROM projects p WHERE p.parked IS NULL AND p.status <> 'closed'
         AND EXISTS (SELECT 1 FROM beads b WHERE b.project_id = p.id AND {missing})"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let projects = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let sql = format!(
        "SELECT {} FROM beads b WHERE {} AND b.project_id = ?2 AND {missing} ORDER BY b.created_at, b.id LIMIT ?3",
        table::columns::<Bead>("b."),
        conditions(),
    );
    let mut found = Vec::new();
    for project in projects {
        let room = most.saturating_sub(decisions::pending_approvals(connection, &project)?);
        if room > 0 {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![now.to_string(), project, room], Bead::read)?;
            found.extend(table::readable("beads", rows)?);
        }
    }
    Ok(found)
}

/// The next time after `now` at which a ready bead's deferral or pause ends.
pub(crate) fn next_due(connection: &Connection, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT min(due) FROM (
                   SELECT min(not_before) AS due FROM beads WHERE ready = 1 AND not_before > ?1
                   UNION ALL
                   SELECT min(next_attempt_at) FROM beads WHERE ready = 1 AND next_attempt_at > ?1)";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([now.to_string()], |row| get_optional_time(row, 0))?)
}
