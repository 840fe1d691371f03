//! Models that providers offered at their last heartbeat.

use crate::base::error::StoreError;
use crate::base::table::{get_json, json};
use arbiter_core::kernel::ids::ProviderId;
use arbiter_core::model::catalog::OfferedModel;
use rusqlite::{Connection, OptionalExtension, params};

/// Stores what a provider offers; nothing is written when that is what it offered before.
pub(crate) fn put(
    connection: &Connection,
    id: &ProviderId,
    models: &[OfferedModel],
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO offers (provider_id, models) SELECT id, ?2 FROM providers WHERE id = ?1
             ON CONFLICT (provider_id) DO UPDATE SET models = excluded.models WHERE models <> excluded.models",
        )?
        .execute(params![id.as_str(), json(&models)])?;
    Ok(())
}

/// Returns the models that a provider has reported; none before its first report.
pub(crate) fn of(connection: &Connection, id: &str) -> Result<Vec<OfferedModel>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT models FROM offers WHERE provider_id = ?1")?;
    let found = statement.query_row([id], |row| get_json(row, 0)).optional()?;
    Ok(found.unwrap_or_default())
}

/// Returns the models of every provider that has reported its offer.
pub(crate) fn all(connection: &Connection) -> Result<Vec<(ProviderId, Vec<OfferedModel>)>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT provider_id, models FROM offers ORDER BY provider_id")?;
    let rows = statement
        .query_map([], |row| Ok((ProviderId::from_trusted(row.get::<_, String>(0)?), get_json(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
