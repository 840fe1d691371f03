//! The rules by which stored columns were computed.

use crate::base::error::StoreError;
use arbiter_core::bead::readiness::ConditionalMode;
use arbiter_core::kernel::ids::BeadId;
use rusqlite::{Connection, OptionalExtension, params};

const CONDITIONAL: &str = "conditional-blocks";

/// Returns the meaning of `conditional-blocks` in this database.
pub(crate) fn conditional(connection: &Connection) -> Result<ConditionalMode, StoreError> {
    let word: Option<String> = connection
        .prepare_cached("SELECT value FROM rules WHERE name = ?1")?
        .query_row([CONDITIONAL], |row| row.get(0))
        .optional()?;
    Ok(word.and_then(|word| ConditionalMode::parse(&word)).unwrap_or(ConditionalMode::Blocks))
}

/// From now on `conditional-blocks` means this.
pub(crate) fn put(connection: &Connection, conditional: ConditionalMode) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO rules (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2",
        )?
        .execute(params![CONDITIONAL, conditional.as_str()])?;
    Ok(())
}

/// The beads whose readiness follows from that rule.
pub(crate) fn affected(connection: &Connection) -> Result<Vec<BeadId>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT DISTINCT bead_id FROM bead_dependencies WHERE type = ?1")?;
    let rows =
        statement.query_map([CONDITIONAL], |row| Ok(BeadId::from_trusted(row.get::<_, String>(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
