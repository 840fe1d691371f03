//! Comments of an import. Comments are the same when author, time and text are, regardless of their ids.

use crate::base::error::StoreError;
use crate::write::import::{EmitFn, Import, ImportedComment};
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::BeadId;
use rusqlite::{Connection, params};
use serde_json::{Value, json};

/// Beginning of the id of a comment whose file has none.
const NAMELESS: &str = "comment";
/// Field that is kept for a comment without id, so that none is written.
pub const NO_ID: &str = "_no_id";

/// Author, time and text of a comment.
pub(crate) type CommentKey = (String, String, String);

fn key(comment: &ImportedComment) -> CommentKey {
    (comment.author_id.clone(), comment.created_at.to_string(), comment.text.clone())
}

/// Returns the keys of a bead's comments.
pub(crate) fn keys(connection: &Connection, bead: &BeadId) -> Result<Vec<CommentKey>, StoreError> {
    let sql = "SELECT author_id, created_at, comment FROM bead_comments WHERE bead_id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([bead.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns how many of the known comments are missing from a file.
pub(crate) fn missing(known: &[CommentKey], theirs: &[ImportedComment]) -> usize {
    let mut theirs: Vec<CommentKey> = theirs.iter().map(key).collect();
    let mut missing = 0;
    for one in known {
        match theirs.iter().position(|key| key == one) {
            Some(at) => drop(theirs.swap_remove(at)),
            None => missing += 1,
        }
    }
    missing
}

/// Adds the comments that the bead does not have as often, each with an event; returns their number.
pub(crate) fn add(
    import: &Import<'_>,
    bead: &BeadId,
    comments: &[ImportedComment],
    emit: &mut EmitFn<'_>,
) -> Result<usize, StoreError> {
    let mut added = 0;
    for comment in insert(import.connection, bead, comments)? {
        added += 1;
        let data = json!({"comment_id": comment.id, "author_id": comment.author_id, "comment": comment.text});
        emit(NewEvent::in_project(EventType::BeadCommented, &import.project, bead.as_str(), data).into())?;
    }
    Ok(added)
}

/// Inserts the comments that the bead does not have as often, and returns them with the ids that they got.
pub(crate) fn insert(
    connection: &Connection,
    bead: &BeadId,
    comments: &[ImportedComment],
) -> Result<Vec<ImportedComment>, StoreError> {
    if comments.is_empty() {
        return Ok(Vec::new());
    }
    let mut known = keys(connection, bead)?;
    let mut added = Vec::new();
    for comment in comments {
        if let Some(at) = known.iter().position(|known| *known == key(comment)) {
            known.swap_remove(at);
            continue;
        }
        let comment = with_free_id(connection, bead, comment.clone())?;
        let at = comment.created_at.to_string();
        connection
            .prepare_cached(
                "INSERT INTO bead_comments (id, bead_id, author_id, comment, created_at, kept)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![comment.id, bead.as_str(), comment.author_id, comment.text, at, comment.kept])?;
        added.push(comment);
    }
    Ok(added)
}

/// Gives a comment an id of its own if it has none, or one that another comment of the bead has.
fn with_free_id(
    connection: &Connection,
    bead: &BeadId,
    mut comment: ImportedComment,
) -> Result<ImportedComment, StoreError> {
    let mut taken =
        connection.prepare_cached("SELECT 1 FROM bead_comments WHERE bead_id = ?1 AND id = ?2")?;
    if !comment.id.is_empty() && !taken.exists([bead.as_str(), comment.id.as_str()])? {
        return Ok(comment);
    }
    let stem = if comment.id.is_empty() { NAMELESS } else { comment.id.as_str() };
    let mut number: u32 = 1;
    let free = loop {
        let id = format!("{stem}~{number}");
        if !taken.exists([bead.as_str(), id.as_str()])? {
            break id;
        }
        number += 1;
    };
    // The file keeps the id that it has; a number is kept already.
    let has_id = comment
        .kept
        .as_deref()
        .is_some_and(|kept| serde_json::from_str::<Value>(kept).is_ok_and(|kept| kept.get("id").is_some()));
    if !has_id {
        let field = match comment.id.as_str() {
            "" => format!("\"{NO_ID}\":true"),
            id => format!("\"id\":{}", Value::from(id)),
        };
        comment.kept = Some(match comment.kept.as_deref().and_then(|kept| kept.strip_prefix('{')) {
            Some("}") | None => format!("{{{field}}}"),
            Some(rest) => format!("{{{field},{rest}"),
        });
    }
    comment.id = free;
    Ok(comment)
}
