//! Last content of a project's file for its beads, and lines of it that are no beads.

use crate::base::error::StoreError;
use crate::base::table::get_time;
use arbiter_core::bead::merge::MergeBase;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Last content of a file for a bead.
#[derive(Clone, Debug, PartialEq)]
pub struct FileMark {
    pub updated_at: Timestamp,
    pub revision: u64,
    pub seen: MergeBase,
    /// Parts of its line to write back unchanged, as a JSON object.
    pub kept: Option<String>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<FileMark> {
    let seen: Option<String> = row.get(2)?;
    Ok(FileMark {
        updated_at: get_time(row, 0)?,
        revision: row.get(1)?,
        // We wrote it ourselves.
        seen: seen.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
        kept: row.get(3)?,
    })
}

/// The mark of a bead.
pub(crate) fn get(connection: &Connection, bead: &str) -> Result<Option<FileMark>, StoreError> {
    let sql = "SELECT updated_at, revision, seen, kept FROM bead_files WHERE bead_id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([bead], read).optional()?)
}

/// Sets the mark of a bead.
pub(crate) fn put(connection: &Connection, bead: &str, mark: &FileMark) -> Result<(), StoreError> {
    let seen =
        (mark.seen != MergeBase::default()).then(|| serde_json::to_string(&mark.seen).unwrap_or_default());
    connection
        .prepare_cached(
            "INSERT INTO bead_files (bead_id, updated_at, revision, seen, kept) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET updated_at = ?2, revision = ?3, seen = ?4, kept = ?5",
        )?
        .execute(params![bead, mark.updated_at.to_string(), mark.revision, seen, mark.kept])?;
    Ok(())
}

/// Sets what was written of a bead, leaving what was kept of its line.
pub(crate) fn written(
    connection: &Connection,
    bead: &str,
    updated_at: Timestamp,
    revision: u64,
    seen: &MergeBase,
) -> Result<(), StoreError> {
    let seen = (*seen != MergeBase::default()).then(|| serde_json::to_string(seen).unwrap_or_default());
    connection
        .prepare_cached(
            "INSERT INTO bead_files (bead_id, updated_at, revision, seen)
             SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM beads WHERE id = ?1)
             ON CONFLICT DO UPDATE SET updated_at = ?2, revision = ?3, seen = ?4",
        )?
        .execute(params![bead, updated_at.to_string(), revision, seen])?;
    Ok(())
}

/// Keeps a line that is no bead; says whether it is new.
pub(crate) fn keep_line(connection: &Connection, project: &str, line: &str) -> Result<bool, StoreError> {
    let added = connection
        .prepare_cached("INSERT OR IGNORE INTO bead_file_lines (project_id, line) VALUES (?1, ?2)")?
        .execute([project, line])?;
    Ok(added == 1)
}

/// The kept lines of a project.
pub(crate) fn lines(connection: &Connection, project: &str) -> Result<Vec<String>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT line FROM bead_file_lines WHERE project_id = ?1 ORDER BY line")?;
    let rows = statement.query_map([project], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Of these ids, those that are no beads here and never were: what a file knows and we do not.
pub(crate) fn unknown(connection: &Connection, ids: &[String]) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM beads WHERE id = ?1)
             OR EXISTS (SELECT 1 FROM retired_ids WHERE kind = 'bead' AND id = ?1)",
    )?;
    let mut unknown = Vec::new();
    for id in ids {
        if !statement.exists([id])? {
            unknown.push(id.clone());
        }
    }
    Ok(unknown)
}

/// The digest of a project's file as it was last read or written.
pub(crate) fn digest(connection: &Connection, project: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT digest FROM bead_file_states WHERE project_id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([project], |row| row.get(0)).optional()?)
}

/// Sets it.
pub(crate) fn put_digest(connection: &Connection, project: &str, digest: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO bead_file_states (project_id, digest) SELECT ?1, ?2
             WHERE EXISTS (SELECT 1 FROM projects WHERE id = ?1) ON CONFLICT DO UPDATE SET digest = ?2",
        )?
        .execute([project, digest])?;
    Ok(())
}

/// The projects that have files of beads.
pub(crate) fn projects(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM projects WHERE beads_path IS NOT NULL ORDER BY id")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
