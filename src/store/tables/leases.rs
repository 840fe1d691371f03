//! The table of leases.

use crate::base::error::StoreError;
use crate::base::table::get_time;
use arbiter_core::kernel::ids::{AgentId, BeadId};
use arbiter_core::kernel::lease::Lease;
use rusqlite::{Connection, OptionalExtension, Row, params};

const COLUMNS: &str = "bead_id, agent_id, token_digest, ttl_sec, expires_at";

fn read(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease {
        bead_id: BeadId::from_trusted(row.get::<_, String>(0)?),
        agent_id: AgentId::from_trusted(row.get::<_, String>(1)?),
        token_digest: row.get(2)?,
        ttl_sec: row.get(3)?,
        expires_at: get_time(row, 4)?,
    })
}

/// The live lease of a bead.
pub(crate) fn get(connection: &Connection, bead: &str) -> Result<Option<Lease>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM leases WHERE bead_id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([bead], read).optional()?)
}

/// Every live lease.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Lease>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM leases ORDER BY bead_id"))?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Stores a new lease in place of any earlier one.
pub(crate) fn put(connection: &Connection, lease: &Lease) -> Result<(), StoreError> {
    let sql = format!("INSERT OR REPLACE INTO leases ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5)");
    connection.prepare_cached(&sql)?.execute(params![
        lease.bead_id.as_str(),
        lease.agent_id.as_str(),
        lease.token_digest,
        lease.ttl_sec,
        lease.expires_at.to_string(),
    ])?;
    Ok(())
}

/// Extends a lease if it is still the live one.
pub(crate) fn renew(connection: &Connection, lease: &Lease) -> Result<(), StoreError> {
    let changed = connection
        .prepare_cached("UPDATE leases SET expires_at = ?3 WHERE bead_id = ?1 AND token_digest = ?2")?
        .execute(params![lease.bead_id.as_str(), lease.token_digest, lease.expires_at.to_string()])?;
    if changed == 1 {
        Ok(())
    } else {
        Err(StoreError::Stale { entity: "lease", id: lease.bead_id.to_string() })
    }
}

/// Ends the lease of a bead, if it has one.
pub(crate) fn end(connection: &Connection, bead: &BeadId) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM leases WHERE bead_id = ?1")?.execute([bead.as_str()])?;
    Ok(())
}
