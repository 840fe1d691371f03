//! Last content of a project's file for its beads, and lines of it that are no beads.

use crate::base::error::StoreError;
use crate::base::table::get_time;
use arbiter_core::bead::file_fields::FileFields;
use arbiter_core::bead::merge::MergeBase;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

/// Last content of a file for a bead.
#[derive(Clone, Debug, PartialEq)]
pub struct FileMark {
    pub updated_at: Timestamp,
    pub revision: u64,
    pub seen: MergeBase,
    /// Parts of its line to write back unchanged, as a JSON object.
    pub kept: Option<String>,
}

/// A bead and its lines at the moment when both last agreed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileBase {
    /// Texts of its lines, joined by line feeds.
    pub line: String,
    pub bead: BaseBead,
}

/// The stored bead of a [`FileBase`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BaseBead {
    pub fields: FileFields,
    /// Number of its comments that the file has.
    pub comments: usize,
    /// Pending decisions about it that the file has.
    #[serde(default)]
    pub gates: Vec<String>,
    /// The line that this program replaced by the present one.
    #[serde(default)]
    pub previous: Option<String>,
    /// Time at which this program wrote the line; `None` if others did.
    #[serde(default)]
    pub written_at: Option<Timestamp>,
}

fn base(line: String, fields: &str) -> FileBase {
    // We wrote it ourselves.
    FileBase { line, bead: serde_json::from_str(fields).unwrap_or_default() }
}

/// Returns the base of a bead.
pub(crate) fn get_base(
    connection: &Connection,
    project: &str,
    id: &str,
) -> Result<Option<FileBase>, StoreError> {
    let sql = "SELECT line, fields FROM bead_file_bases WHERE project_id = ?1 AND id = ?2";
    let read = |row: &Row<'_>| Ok(base(row.get(0)?, row.get_ref(1)?.as_str()?));
    Ok(connection.prepare_cached(sql)?.query_row([project, id], read).optional()?)
}

/// Returns the bases of a project by id.
pub(crate) fn bases(connection: &Connection, project: &str) -> Result<Vec<(String, FileBase)>, StoreError> {
    let sql = "SELECT id, line, fields FROM bead_file_bases WHERE project_id = ?1 ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement
        .query_map([project], |row| Ok((row.get(0)?, base(row.get(1)?, row.get_ref(2)?.as_str()?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Sets or removes the base of a bead.
pub(crate) fn put_base(
    connection: &Connection,
    project: &str,
    id: &str,
    base: Option<&FileBase>,
) -> Result<(), StoreError> {
    let Some(base) = base else {
        let sql = "DELETE FROM bead_file_bases WHERE project_id = ?1 AND id = ?2";
        connection.prepare_cached(sql)?.execute([project, id])?;
        return Ok(());
    };
    // Maps with text keys always serialize.
    let fields = serde_json::to_string(&base.bead).unwrap_or_default();
    connection
        .prepare_cached(
            "INSERT INTO bead_file_bases (project_id, id, line, fields) SELECT ?1, ?2, ?3, ?4
             WHERE EXISTS (SELECT 1 FROM projects WHERE id = ?1)
             ON CONFLICT DO UPDATE SET line = ?3, fields = ?4",
        )?
        .execute([project, id, base.line.as_str(), fields.as_str()])?;
    Ok(())
}

/// Removes all bases of a project: its file is another one now.
pub(crate) fn forget_bases(connection: &Connection, project: &str) -> Result<(), StoreError> {
    for table in ["bead_file_bases", "bead_file_states", "bead_file_reports"] {
        connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE project_id = ?1"))?
            .execute([project])?;
    }
    Ok(())
}

/// Returns the report on a project's file, as JSON.
pub(crate) fn report(connection: &Connection, project: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT report FROM bead_file_reports WHERE project_id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([project], |row| row.get(0)).optional()?)
}

/// Returns the reports on all files: project and JSON.
pub(crate) fn reports(connection: &Connection) -> Result<Vec<(String, String)>, StoreError> {
    let sql = "SELECT project_id, report FROM bead_file_reports ORDER BY project_id";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Sets the report on a project's file.
pub(crate) fn put_report(connection: &Connection, project: &str, report: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO bead_file_reports (project_id, report) SELECT ?1, ?2
             WHERE EXISTS (SELECT 1 FROM projects WHERE id = ?1) ON CONFLICT DO UPDATE SET report = ?2",
        )?
        .execute([project, report])?;
    Ok(())
}

/// Returns the project that has a path, other than this one; the oldest if there are several.
pub(crate) fn path_owner(
    connection: &Connection,
    path: &str,
    other_than: &str,
) -> Result<Option<String>, StoreError> {
    let sql = "SELECT id FROM projects WHERE beads_path = ?1 AND id != ?2 ORDER BY created_at, id LIMIT 1";
    Ok(connection.prepare_cached(sql)?.query_row([path, other_than], |row| row.get(0)).optional()?)
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

/// Of these ids, those of beads that were deleted here.
pub(crate) fn deleted(connection: &Connection, ids: &[String]) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT 1 FROM retired_ids WHERE kind = 'bead' AND id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut deleted = Vec::new();
    for id in ids {
        if statement.exists([id])? {
            deleted.push(id.clone());
        }
    }
    Ok(deleted)
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

/// Returns the projects whose file is an older project's: the project, its path and the older project.
pub(crate) fn shared_paths(connection: &Connection) -> Result<Vec<(String, String, String)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, beads_path FROM projects WHERE beads_path IS NOT NULL ORDER BY created_at, id",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (mut owners, mut later) = (std::collections::HashMap::new(), Vec::new());
    for row in rows {
        let (id, path): (String, String) = row?;
        match owners.get(&path) {
            Some(owner) => later.push((id, path, String::clone(owner))),
            None => drop(owners.insert(path, id)),
        }
    }
    Ok(later)
}
