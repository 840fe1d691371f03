//! The tables of API tokens and browser sessions: hashes only.

use crate::base::error::StoreError;
use crate::base::table;
use crate::base::table::{get_optional_time, get_time, parse};
use arbiter_core::kernel::ids::TokenId;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::token::{Proof, Role, Session, Token};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

/// Every token.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Token>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, role, user, agent_id, digest, created_at, expires_at, projects, proof, last_used_at
         FROM tokens ORDER BY created_at, id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Token {
            id: TokenId::from_trusted(row.get::<_, String>(0)?),
            name: row.get(1)?,
            role: parse(row, 2, Role::parse)?,
            user: row.get(3)?,
            agent_id: row.get(4)?,
            digest: row.get(5)?,
            created_at: get_time(row, 6)?,
            expires_at: get_optional_time(row, 7)?,
            projects: get_list(row, 8)?,
            proof: parse(row, 9, Proof::parse)?,
            last_used_at: get_optional_time(row, 10)?,
        })
    })?;
    Ok(table::readable("tokens", rows)?)
}

fn get_list(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Vec<String>>> {
    let text: Option<String> = row.get(index)?;
    let list = text.map(|text| serde_json::from_str(&text)).transpose();
    list.map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

/// Stores a new token.
pub(crate) fn put(connection: &Connection, token: &Token) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO tokens (id, name, role, user, agent_id, digest, created_at, expires_at, projects, proof)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            token.id.as_str(),
            token.name,
            token.role.as_str(),
            token.user,
            token.agent_id,
            token.digest,
            token.created_at.to_string(),
            token.expires_at.map(|at| at.to_string()),
            token.projects.as_ref().map(|list| serde_json::json!(list).to_string()),
            token.proof.as_str(),
        ])?;
    Ok(())
}

/// Deletes a token, and with it its sessions.
pub(crate) fn revoke(connection: &Connection, id: &TokenId) -> Result<(), StoreError> {
    let gone = connection.prepare_cached("DELETE FROM tokens WHERE id = ?1")?.execute([id.as_str()])?;
    if gone == 1 { Ok(()) } else { Err(Refusal::not_found("token", id.as_str()).into()) }
}

/// Takes note of a token's use. One that was revoked meanwhile has none.
pub(crate) fn used(connection: &Connection, id: &TokenId, at: Timestamp) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE tokens SET last_used_at = ?2 WHERE id = ?1")?
        .execute(params![id.as_str(), at.to_string()])?;
    Ok(())
}

/// Every session, oldest first.
pub(crate) fn sessions(connection: &Connection) -> Result<Vec<Session>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT digest, token_id, created_at, expires_at FROM sessions ORDER BY created_at, digest",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Session {
            digest: row.get(0)?,
            token_id: TokenId::from_trusted(row.get::<_, String>(1)?),
            created_at: get_time(row, 2)?,
            expires_at: get_time(row, 3)?,
        })
    })?;
    Ok(table::readable("sessions", rows)?)
}

/// Stores a new session; of those of its token only the `most` newest stay.
pub(crate) fn begin_session(connection: &Connection, session: &Session, most: u32) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO sessions (digest, token_id, created_at, expires_at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            session.digest,
            session.token_id.as_str(),
            session.created_at.to_string(),
            session.expires_at.to_string(),
        ])?;
    connection
        .prepare_cached(
            "DELETE FROM sessions WHERE token_id = ?1 AND digest NOT IN
             (SELECT digest FROM sessions WHERE token_id = ?1 ORDER BY created_at DESC, digest LIMIT ?2)",
        )?
        .execute(params![session.token_id.as_str(), most])?;
    Ok(())
}

/// Ends a session; one that has ended already is no error.
pub(crate) fn end_session(connection: &Connection, digest: &str) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM sessions WHERE digest = ?1")?.execute([digest])?;
    Ok(())
}

/// Deletes the sessions that ended before `at`.
pub(crate) fn prune_sessions(connection: &Connection, at: Timestamp) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM sessions WHERE expires_at < ?1")?.execute([at.to_string()])?;
    Ok(())
}
