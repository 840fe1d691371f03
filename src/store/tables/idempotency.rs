//! Answers to requests that carried an Idempotency-Key, kept so that a repeat gets the same one.

use crate::base::error::StoreError;
use crate::base::rows::{IdempotencyKey, KeptAnswer};
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

/// The answer that was given to this request.
pub(crate) fn get(connection: &Connection, key: &IdempotencyKey) -> Result<Option<KeptAnswer>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT body_digest, status, location, answer, created_at FROM idempotency
         WHERE token_id = ?1 AND route = ?2 AND key = ?3",
    )?;
    let found = statement.query_row([&key.token_id, &key.route, &key.key], |row| {
        Ok(KeptAnswer {
            request: key.clone(),
            body_digest: row.get(0)?,
            status: row.get(1)?,
            location: row.get(2)?,
            answer: row.get(3)?,
            created_at: crate::base::table::get_time(row, 4)?,
        })
    });
    Ok(found.optional()?)
}

const COLUMNS: &str = "token_id, route, key, body_digest, status, location, answer, created_at";

fn insert(connection: &Connection, verb: &str, kept: &KeptAnswer) -> Result<usize, StoreError> {
    let sql = format!("{verb} INTO idempotency ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    Ok(connection.prepare_cached(&sql)?.execute(params![
        kept.request.token_id,
        kept.request.route,
        kept.request.key,
        kept.body_digest,
        kept.status,
        kept.location,
        kept.answer,
        kept.created_at.to_string(),
    ])?)
}

/// Keeps a request with the change it made; a second one of the same key is refused. The request itself may have been
/// kept before its change, without an answer, as it is for one that is answered by a stream.
pub(crate) fn put(connection: &Connection, kept: &KeptAnswer) -> Result<(), StoreError> {
    match insert(connection, "INSERT OR IGNORE", kept)? {
        1 => Ok(()),
        _ if kept.status == 0 && get(connection, &kept.request)?.as_ref() == Some(kept) => Ok(()),
        _ => Err(Refusal::conflict(
            ProblemCode::RequestRepeated,
            "a request with this Idempotency-Key was carried out meanwhile",
        )
        .into()),
    }
}

/// Puts the answer to a request that was kept with its change, or to one that changed nothing.
pub(crate) fn complete(connection: &Connection, kept: &KeptAnswer) -> Result<(), StoreError> {
    insert(connection, "INSERT OR REPLACE", kept).map(drop)
}

/// Forgets answers given before a time.
pub(crate) fn prune(connection: &Connection, before: Timestamp) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM idempotency WHERE created_at < ?1")?
        .execute([before.to_string()])?;
    Ok(())
}
