//! The table of file locks.

use crate::base::error::StoreError;
use crate::base::page::{self, Conditions, Listing, Page, PageRequest};
use crate::base::table::get_time;
use arbiter_core::kernel::ids::{BeadId, ProjectId};
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::project::file_lock::FileLock;
use rusqlite::{Connection, Row, params};

const COLUMNS: &str = "project_id, path, agent_id, bead_id, ttl_sec, acquired_at, expires_at";

/// Filter of file locks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileLockFilter {
    pub project_id: Option<String>,
    /// Only those of these projects.
    pub within: Option<Vec<String>>,
    pub agent_id: Option<String>,
    /// Only those for this bead.
    pub bead_id: Option<String>,
    /// Only those that have not run out at this time.
    pub live_at: Option<Timestamp>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<FileLock> {
    Ok(FileLock {
        project_id: ProjectId::from_trusted(row.get::<_, String>(0)?),
        path: row.get(1)?,
        agent_id: row.get(2)?,
        bead_id: row.get::<_, Option<String>>(3)?.map(BeadId::from_trusted),
        ttl_sec: row.get(4)?,
        acquired_at: get_time(row, 5)?,
        expires_at: get_time(row, 6)?,
    })
}

/// A page of locks by project and path.
pub(crate) fn list(
    connection: &Connection,
    filter: &FileLockFilter,
    request: &PageRequest,
) -> Result<Page<FileLock>, StoreError> {
    let mut conditions = Conditions::default();
    conditions.equal("project_id", filter.project_id.as_deref());
    conditions.within("project_id", filter.within.as_deref());
    conditions.equal("agent_id", filter.agent_id.as_deref());
    conditions.equal("bead_id", filter.bead_id.as_deref());
    if let Some(at) = filter.live_at {
        conditions.add("expires_at > ?", at.to_string());
    }
    let listing = Listing { from: "file_locks", columns: COLUMNS, order: &["project_id", "path"] };
    page::read(connection, &listing, conditions, request, read)
}

/// Every lock of a project by path, those that have run out as well.
pub(crate) fn of_project(connection: &Connection, project: &str) -> Result<Vec<FileLock>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM file_locks WHERE project_id = ?1 ORDER BY path");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([project], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Every lock for a bead.
pub(crate) fn of_bead(connection: &Connection, bead: &str) -> Result<Vec<FileLock>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM file_locks WHERE bead_id = ?1 ORDER BY path");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([bead], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The projects that have any.
pub(crate) fn projects(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT DISTINCT project_id FROM file_locks ORDER BY 1")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn stale(lock: &FileLock) -> StoreError {
    StoreError::Stale { entity: "file lock", id: lock.path.clone() }
}

/// Takes a free file lock, for a bead that the lock's holder holds.
pub(crate) fn take(connection: &Connection, lock: &FileLock) -> Result<(), StoreError> {
    if let Some(bead) = &lock.bead_id {
        let sql = "SELECT 1 FROM beads WHERE id = ?1 AND status = 'in_progress' AND assigned_to = ?2";
        if !connection.prepare_cached(sql)?.exists([bead.as_str(), &lock.agent_id])? {
            return Err(stale(lock));
        }
    }
    let sql = format!("INSERT OR IGNORE INTO file_locks ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
    let added = connection.prepare_cached(&sql)?.execute(params![
        lock.project_id.as_str(),
        lock.path,
        lock.agent_id,
        lock.bead_id.as_ref().map(BeadId::as_str),
        lock.ttl_sec,
        lock.acquired_at.to_string(),
        lock.expires_at.to_string(),
    ])?;
    if added == 1 { Ok(()) } else { Err(stale(lock)) }
}

/// Lets a lock last longer if it is still the same one.
pub(crate) fn renew(connection: &Connection, lock: &FileLock) -> Result<(), StoreError> {
    let changed = connection
        .prepare_cached(
            "UPDATE file_locks SET ttl_sec = ?4, expires_at = ?5
             WHERE project_id = ?1 AND path = ?2 AND acquired_at = ?3 AND agent_id = ?6 AND bead_id IS ?7",
        )?
        .execute(params![
            lock.project_id.as_str(),
            lock.path,
            lock.acquired_at.to_string(),
            lock.ttl_sec,
            lock.expires_at.to_string(),
            lock.agent_id,
            lock.bead_id.as_ref().map(BeadId::as_str),
        ])?;
    if changed == 1 { Ok(()) } else { Err(stale(lock)) }
}

/// Ends a lock if it is still the one that was read, and was not renewed since.
pub(crate) fn release(connection: &Connection, lock: &FileLock) -> Result<(), StoreError> {
    let gone = connection
        .prepare_cached(
            "DELETE FROM file_locks WHERE project_id = ?1 AND path = ?2 AND acquired_at = ?3
             AND expires_at = ?4 AND agent_id = ?5",
        )?
        .execute(params![
            lock.project_id.as_str(),
            lock.path,
            lock.acquired_at.to_string(),
            lock.expires_at.to_string(),
            lock.agent_id,
        ])?;
    if gone == 1 { Ok(()) } else { Err(stale(lock)) }
}

/// Ends all locks for a bead if their number is as read, since each one has an event.
pub(crate) fn release_of(connection: &Connection, bead: &BeadId, expected: usize) -> Result<(), StoreError> {
    let gone =
        connection.prepare_cached("DELETE FROM file_locks WHERE bead_id = ?1")?.execute([bead.as_str()])?;
    if gone == expected {
        return Ok(());
    }
    Err(StoreError::Stale { entity: "file locks of bead", id: bead.to_string() })
}
