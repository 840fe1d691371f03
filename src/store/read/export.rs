//! Export of a project's beads with all fields of their file, in the order of their ids, from one snapshot.

use crate::base::error::StoreError;
use crate::base::table::{self, Table, get_time};
use crate::read::queries::snapshot;
use crate::store::Store;
use crate::tables::bead_files::{self, FileBase, FileMark};
use arbiter_core::bead::Bead;
use arbiter_core::decision::Decision;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::Connection;

/// A dependency for a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedEdge {
    pub depends_on: String,
    pub kind: String,
    pub created_at: Timestamp,
    pub created_by: String,
    pub gate: Option<String>,
    /// Unknown fields of its file, as a JSON object.
    pub kept: Option<String>,
}

/// A comment for a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedComment {
    pub id: String,
    pub author_id: String,
    pub text: String,
    pub created_at: Timestamp,
    /// Unknown fields of its file, as a JSON object.
    pub kept: Option<String>,
}

/// A bead for a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedBead {
    pub bead: Bead,
    pub edges: Vec<ExportedEdge>,
    /// Remarks, oldest first.
    pub comments: Vec<ExportedComment>,
    pub mark: Option<FileMark>,
    pub base: Option<FileBase>,
}

/// One thing that goes into a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Exported {
    Bead(Box<ExportedBead>),
    Decision(Box<Decision>),
    Line(String),
    End,
}

/// Receiver of a file's content; returns whether it wants more.
pub type ExportSink = Box<dyn FnMut(Exported) -> bool + Send>;

impl Store {
    /// Hands everything that a project's file tells to `sink`, on a thread of the store: pending decisions first, then
    /// beads by id, then other lines.
    pub async fn export(&self, project: String, mut sink: ExportSink) -> Result<(), StoreError> {
        self.readers.read(move |connection| snapshot(connection, |c| run(c, &project, &mut sink))).await
    }

    /// Of these ids, those of beads that were deleted here.
    pub async fn deleted_beads(&self, ids: Vec<String>) -> Result<Vec<String>, StoreError> {
        self.readers.read(move |connection| bead_files::deleted(connection, &ids)).await
    }

    /// Of these ids, those that no bead has or ever had.
    pub async fn unknown_beads(&self, ids: Vec<String>) -> Result<Vec<String>, StoreError> {
        self.readers.read(move |connection| bead_files::unknown(connection, &ids)).await
    }
}

fn run(connection: &Connection, project: &str, sink: &mut ExportSink) -> Result<(), StoreError> {
    let sql = format!(
        "SELECT {} FROM decisions WHERE project_id = ?1 AND status = 'pending' AND bead_id IS NOT NULL ORDER BY id",
        table::columns::<Decision>("")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    for decision in statement.query_map([project], Decision::read)? {
        if !sink(Exported::Decision(Box::new(decision?))) {
            return Ok(());
        }
    }
    let sql = format!("SELECT {} FROM beads WHERE project_id = ?1 ORDER BY id", table::columns::<Bead>(""));
    let mut statement = connection.prepare_cached(&sql)?;
    for bead in statement.query_map([project], Bead::read)? {
        // A bead that is left out would count as deleted, so the file stays as it is.
        let bead = bead.map_err(|error| match table::is_unreadable(&error) {
            true => {
                StoreError::Unreadable { table: "beads", id: project.to_owned(), reason: error.to_string() }
            }
            false => error.into(),
        })?;
        let id = bead.id.as_str();
        let (edges, comments, mark) =
            (edges(connection, id)?, comments(connection, id)?, bead_files::get(connection, id)?);
        let base = bead_files::get_base(connection, project, id)?;
        if !sink(Exported::Bead(Box::new(ExportedBead { bead, edges, comments, mark, base }))) {
            return Ok(());
        }
    }
    for line in bead_files::lines(connection, project)? {
        if !sink(Exported::Line(line)) {
            return Ok(());
        }
    }
    sink(Exported::End);
    Ok(())
}

fn edges(connection: &Connection, bead: &str) -> Result<Vec<ExportedEdge>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT depends_on, type, created_at, created_by, gate, kept FROM bead_dependencies
         WHERE bead_id = ?1 ORDER BY depends_on",
    )?;
    let rows = statement.query_map([bead], |row| {
        Ok(ExportedEdge {
            depends_on: row.get(0)?,
            kind: row.get(1)?,
            created_at: get_time(row, 2)?,
            created_by: row.get(3)?,
            gate: row.get(4)?,
            kept: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn comments(connection: &Connection, bead: &str) -> Result<Vec<ExportedComment>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, author_id, comment, created_at, kept FROM bead_comments
         WHERE bead_id = ?1 ORDER BY created_at, rowid",
    )?;
    let rows = statement.query_map([bead], |row| {
        Ok(ExportedComment {
            id: row.get(0)?,
            author_id: row.get(1)?,
            text: row.get(2)?,
            created_at: get_time(row, 3)?,
            kept: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
