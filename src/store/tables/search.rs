//! Texts of beads, for search. The words of a query are looked for as beginnings of words, all of them.

use crate::base::error::StoreError;
use crate::base::unit_of_work::Write;
use arbiter_core::bead::Bead;
use rusqlite::{Connection, OptionalExtension, params};

/// The condition on `b.rowid` that a bead has these words.
pub(crate) const MATCHES: &str = "b.rowid IN (SELECT rowid FROM bead_texts WHERE bead_texts MATCH ?)";

/// Converts user input to a full-text query; none when it contains no word.
pub(crate) fn query(text: &str) -> Option<String> {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| format!("\"{word}\"*"))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// The texts of a bead's row, with its place in the index.
type Row = (i64, String, String, String);

fn row(connection: &Connection, id: &str) -> Result<Option<Row>, StoreError> {
    let sql = "SELECT rowid, title, description, acceptance_criteria FROM beads WHERE id = ?1";
    let found = connection
        .prepare_cached(sql)?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
    Ok(found.optional()?)
}

/// Takes a bead out of the index before its row changes or goes, if its texts do. Says whether it did.
pub(crate) fn unindex(connection: &Connection, write: &Write<Bead>) -> Result<bool, StoreError> {
    let (id, after) = match write {
        Write::Insert(_) => return Ok(true),
        Write::Update { row, .. } => (row.id.as_str(), Some(row)),
        Write::Delete { row } => (row.id.as_str(), None),
    };
    let Some((rowid, title, description, criteria)) = row(connection, id)? else { return Ok(false) };
    let is_unchanged = after.is_some_and(|after| {
        after.title == title && after.description == description && after.acceptance_criteria == criteria
    });
    if is_unchanged {
        return Ok(false);
    }
    connection
        .prepare_cached(
            "INSERT INTO bead_texts (bead_texts, rowid, title, description, acceptance_criteria)
             VALUES ('delete', ?1, ?2, ?3, ?4)",
        )?
        .execute(params![rowid, title, description, criteria])?;
    Ok(true)
}

/// Puts a bead into the index after its row was written.
pub(crate) fn index(connection: &Connection, bead: &Bead) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO bead_texts (rowid, title, description, acceptance_criteria)
             SELECT rowid, title, description, acceptance_criteria FROM beads WHERE id = ?1",
        )?
        .execute([bead.id.as_str()])?;
    Ok(())
}

/// Puts all beads with a greater place than `last_old` into the index. One statement for all of them: the index goes to
/// the disk with each statement.
pub(crate) fn index_new(connection: &Connection, last_old: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO bead_texts (rowid, title, description, acceptance_criteria)
             SELECT rowid, title, description, acceptance_criteria FROM beads WHERE rowid > ?1",
        )?
        .execute([last_old])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_text_becomes_a_query_of_words() {
        assert_eq!(query("wire the VAULT"), Some("\"wire\"* \"the\"* \"VAULT\"*".to_owned()));
        assert_eq!(query("a-b \"c\" OR (d*"), Some("\"a\"* \"b\"* \"c\"* \"OR\"* \"d\"*".to_owned()));
        assert_eq!(query(" -\"*( "), None);
    }
}
