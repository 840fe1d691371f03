//! The table of API tokens: hashes only.

use crate::error::StoreError;
use crate::table::{get_optional_time, get_time, parse};
use arbiter_core::ids::TokenId;
use arbiter_core::refusal::Refusal;
use arbiter_core::token::{Role, Token};
use rusqlite::{Connection, params};

/// Every token.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Token>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, role, user, agent_id, digest, created_at, expires_at FROM tokens ORDER BY created_at, id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Token {
            id: TokenId::known(row.get::<_, String>(0)?),
            name: row.get(1)?,
            role: parse(row, 2, Role::parse)?,
            user: row.get(3)?,
            agent_id: row.get(4)?,
            digest: row.get(5)?,
            created_at: get_time(row, 6)?,
            expires_at: get_optional_time(row, 7)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Stores a new token.
pub(crate) fn put(connection: &Connection, token: &Token) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO tokens (id, name, role, user, agent_id, digest, created_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
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
        ])?;
    Ok(())
}

/// Deletes a token.
pub(crate) fn revoke(connection: &Connection, id: &TokenId) -> Result<(), StoreError> {
    let gone = connection.prepare_cached("DELETE FROM tokens WHERE id = ?1")?.execute([id.as_str()])?;
    if gone == 1 { Ok(()) } else { Err(Refusal::not_found("token", id.as_str()).into()) }
}
