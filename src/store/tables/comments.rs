//! Comments on beads and projects.

use crate::base::error::StoreError;
use crate::base::page::{self, Conditions, Listing, Page, PageRequest};
use crate::base::rows::Comment;
use crate::base::table::get_time;
use rusqlite::{Connection, params};

/// Target of a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommentTarget {
    Bead,
    Project,
}

impl CommentTarget {
    const fn table(self) -> (&'static str, &'static str) {
        match self {
            Self::Bead => ("bead_comments", "bead_id"),
            Self::Project => ("project_comments", "project_id"),
        }
    }
}

/// Stores a comment.
pub(crate) fn add(connection: &Connection, on: CommentTarget, comment: &Comment) -> Result<(), StoreError> {
    let (table, subject) = on.table();
    let sql = format!(
        "INSERT INTO {table} (id, {subject}, author_id, comment, created_at) VALUES (?1, ?2, ?3, ?4, ?5)"
    );
    connection.prepare_cached(&sql)?.execute(params![
        comment.id,
        comment.subject,
        comment.author_id,
        comment.text,
        comment.created_at.to_string(),
    ])?;
    Ok(())
}

/// A page of comments, oldest first.
pub(crate) fn list(
    connection: &Connection,
    on: CommentTarget,
    subject_id: &str,
    request: &PageRequest,
) -> Result<Page<Comment>, StoreError> {
    let (table, subject) = on.table();
    let mut conditions = Conditions::default();
    conditions.equal(subject, Some(subject_id));
    let columns = format!("id, {subject}, author_id, comment, created_at");
    let listing = Listing { from: table, columns: &columns, order: &["created_at", "id"] };
    page::read(connection, &listing, conditions, request, |row| {
        Ok(Comment {
            id: row.get(0)?,
            subject: row.get(1)?,
            author_id: row.get(2)?,
            text: row.get(3)?,
            created_at: get_time(row, 4)?,
        })
    })
}
