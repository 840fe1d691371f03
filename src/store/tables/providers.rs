//! The table of providers.

use crate::base::error::StoreError;
use crate::base::page::{self, Conditions, Listing, Page, PageRequest};
use crate::base::table::{
    self, Table, get_free_form, get_optional_time, get_time, integer, json, optional, parse, text, time,
};
use arbiter_core::kernel::ids::{KeyId, ProviderId};
use arbiter_core::provider::{Provider, ProviderType, Status};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};

impl Table for Provider {
    table::statements!();
    const NAME: &'static str = "providers";
    // `model` is the name in use, kept for readers of the file with other tools.
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "name",
        "type",
        "endpoint",
        "model",
        "configured_model",
        "selected_model",
        "selection_reason",
        "model_score",
        "selected_gpu",
        "description",
        "requires_key",
        "key_id",
        "max_concurrency",
        "context_window",
        "price_input_per_mtok",
        "price_output_per_mtok",
        "tags",
        "status",
        "status_reason",
        "created_at",
        "updated_at",
        "revision",
        "client_cert",
        "client_key_id",
        "ca_cert",
        "pool",
        "priority",
        "weight",
        "requests_per_minute",
        "tokens_per_minute",
        "selected_context_window",
        "selected_price_input",
        "selected_price_output",
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            text(self.id.as_str()),
            text(&self.name),
            text(self.provider_type.as_str()),
            text(&self.endpoint),
            optional(self.model(), text),
            optional(self.configured_model.as_deref(), text),
            optional(self.selected_model.as_deref(), text),
            optional(self.selection_reason.as_deref(), text),
            optional(self.model_score, Value::Real),
            optional(self.selected_gpu.as_deref(), text),
            text(&self.description),
            Value::Integer(self.requires_key.into()),
            optional(self.key_id.as_ref(), |id| text(id.as_str())),
            optional(self.max_concurrency, |n| Value::Integer(n.into())),
            optional(self.context_window, integer),
            optional(self.price_input_per_mtok, Value::Real),
            optional(self.price_output_per_mtok, Value::Real),
            json(&self.tags),
            text(self.status.as_str()),
            optional(self.status_reason.as_deref(), text),
            time(self.created_at),
            time(self.updated_at),
            integer(self.revision),
            optional(self.client_cert.as_deref(), text),
            optional(self.client_key_id.as_ref(), |id| text(id.as_str())),
            optional(self.ca_cert.as_deref(), text),
            optional(self.pool.as_deref(), text),
            Value::Integer(self.priority.into()),
            Value::Integer(self.weight.into()),
            optional(self.requests_per_minute, |n| Value::Integer(n.into())),
            optional(self.tokens_per_minute, integer),
            optional(self.selected_context_window, integer),
            optional(self.selected_price_input, Value::Real),
            optional(self.selected_price_output, Value::Real),
        ]
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: ProviderId::from_trusted(row.get::<_, String>(0)?),
            name: row.get(1)?,
            provider_type: parse(row, 2, ProviderType::parse)?,
            endpoint: row.get(3)?,
            configured_model: row.get(5)?,
            selected_model: row.get(6)?,
            selection_reason: row.get(7)?,
            model_score: row.get(8)?,
            selected_gpu: row.get(9)?,
            description: row.get::<_, Option<String>>(10)?.unwrap_or_default(),
            requires_key: row.get(11)?,
            key_id: row.get::<_, Option<String>>(12)?.map(KeyId::from_trusted),
            max_concurrency: row.get(13)?,
            context_window: row.get(14)?,
            price_input_per_mtok: row.get(15)?,
            price_output_per_mtok: row.get(16)?,
            tags: get_free_form(row, 17)?,
            status: parse(row, 18, Status::parse)?,
            status_reason: row.get(19)?,
            created_at: get_time(row, 20)?,
            updated_at: get_time(row, 21)?,
            revision: row.get(22)?,
            client_cert: row.get(23)?,
            client_key_id: row.get::<_, Option<String>>(24)?.map(KeyId::from_trusted),
            ca_cert: row.get(25)?,
            pool: row.get(26)?,
            priority: row.get(27)?,
            weight: row.get(28)?,
            requests_per_minute: row.get(29)?,
            tokens_per_minute: row.get(30)?,
            selected_context_window: row.get(31)?,
            selected_price_input: row.get(32)?,
            selected_price_output: row.get(33)?,
            // The telemetry columns follow in SELECT_ALL; a plain read leaves them out.
            last_heartbeat_at: None,
            last_heartbeat_latency_ms: None,
            last_heartbeat_error: None,
            latency_ewma_ms: None,
            failures: 0,
        })
    }
}

const TELEMETRY: &str =
    "last_heartbeat_at, last_heartbeat_latency_ms, last_heartbeat_error, failures, latency_ewma_ms";

fn read_with_telemetry(row: &Row<'_>) -> rusqlite::Result<Provider> {
    let first = Provider::COLUMNS.len();
    Ok(Provider {
        last_heartbeat_at: get_optional_time(row, first)?,
        last_heartbeat_latency_ms: row.get(first + 1)?,
        last_heartbeat_error: row.get(first + 2)?,
        failures: row.get(first + 3)?,
        latency_ewma_ms: row.get(first + 4)?,
        ..Provider::read(row)?
    })
}

fn all_columns() -> String {
    format!("{}, {TELEMETRY}", table::columns::<Provider>(""))
}

/// The provider with its measurements.
pub(crate) fn get(connection: &Connection, id: &str) -> Result<Option<Provider>, StoreError> {
    let sql = format!("SELECT {} FROM providers WHERE id = ?1", all_columns());
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query_map([id], read_with_telemetry)?;
    Ok(rows.next().transpose()?)
}

/// A page of providers by age.
pub(crate) fn list(connection: &Connection, request: &PageRequest) -> Result<Page<Provider>, StoreError> {
    let columns = all_columns();
    let listing = Listing { from: "providers", columns: &columns, order: &["created_at", "id"] };
    page::read(connection, &listing, Conditions::default(), request, read_with_telemetry)
}

/// Every provider.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Provider>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {} FROM providers ORDER BY id", all_columns()))?;
    let rows = statement.query_map([], read_with_telemetry)?;
    Ok(table::readable("providers", rows)?)
}

/// Stores the measurements of a beat.
pub(crate) fn set_telemetry(connection: &Connection, provider: &Provider) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE providers SET last_heartbeat_at = ?2, last_heartbeat_latency_ms = ?3,
             last_heartbeat_error = ?4, failures = ?5, latency_ewma_ms = ?6 WHERE id = ?1",
        )?
        .execute(params![
            provider.id.as_str(),
            optional(provider.last_heartbeat_at, time),
            optional(provider.last_heartbeat_latency_ms, integer),
            provider.last_heartbeat_error,
            provider.failures,
            provider.latency_ewma_ms,
        ])?;
    Ok(())
}

/// Stores failures in a row as calls found them.
pub(crate) fn set_failures(
    connection: &Connection,
    id: &ProviderId,
    failures: u32,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE providers SET failures = ?2 WHERE id = ?1")?
        .execute(params![id.as_str(), failures])?;
    Ok(())
}
