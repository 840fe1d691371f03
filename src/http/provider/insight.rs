//! Providers as they are shown, with what they offer and how they have been.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::wire::page::PAGE;
use crate::http::wire::schema::{maybe_time, time, word};
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::kernel::ids::{KeyId, ProviderId};
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::model::catalog::OfferedModel;
use arbiter_core::provider::{Provider, ProviderType, Status};
use arbiter_store::Heartbeat;
use schemars::JsonSchema;
use serde::Serialize;

/// A provider.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProviderView {
    /// Its id.
    pub id: String,
    /// Its name.
    name: String,
    /// Whose protocol it speaks.
    #[serde(rename = "type")]
    #[schemars(schema_with = "word::<ProviderType>")]
    provider_type: ProviderType,
    /// Its URL.
    endpoint: String,
    /// The model that calls use: the selected one, else the configured one.
    model: Option<String>,
    /// Requested model.
    configured_model: Option<String>,
    /// The model that was chosen of what it offers.
    selected_model: Option<String>,
    /// Reason for the selection of the model.
    selection_reason: Option<String>,
    /// Score of the selected model, 0 to 1.
    model_score: Option<f64>,
    /// Class of GPU that the catalog names for the selected model; null for a model that it does not know. It says
    /// nothing about the GPU that the provider has.
    selected_gpu: Option<String>,
    /// Purpose.
    description: String,
    /// True if calls carry a key.
    requires_key: bool,
    /// The entry of the vault with that key.
    key_id: Option<String>,
    /// Our certificate for it with its chain, in PEM.
    client_cert: Option<String>,
    /// The entry of the vault with the private key of that certificate.
    client_key_id: Option<String>,
    /// CA of the provider's certificate, in PEM; the web's authorities by default.
    ca_cert: Option<String>,
    /// Failover pool of the provider; null: none.
    pool: Option<String>,
    /// Priority in the pool: lower values are called first.
    priority: u32,
    /// Weight among the providers of the same priority.
    weight: u32,
    /// The most calls at one time.
    max_concurrency: Option<u32>,
    /// The most calls that begin in a minute.
    requests_per_minute: Option<u32>,
    /// The most tokens in a minute, in and out together.
    tokens_per_minute: Option<u64>,
    /// Tokens that fit into one call: what was set, else the provider's word, else the catalogue's.
    context_window: Option<u64>,
    /// Price of a million tokens in, in US dollars: what was set, else the catalogue's.
    price_input_per_mtok: Option<f64>,
    /// Price of a million tokens out, in US dollars: what was set, else the catalogue's.
    price_output_per_mtok: Option<f64>,
    /// Words to find it by.
    tags: Vec<String>,
    /// Current status.
    #[schemars(schema_with = "word::<Status>")]
    status: Status,
    /// Reason for the status, if there is one.
    status_reason: Option<String>,
    /// Time of the last heartbeat.
    #[schemars(schema_with = "maybe_time")]
    last_heartbeat_at: Option<Timestamp>,
    /// Latency of the last heartbeat, in milliseconds.
    last_heartbeat_latency_ms: Option<u64>,
    /// Exponentially weighted average latency, in milliseconds.
    latency_ewma_ms: Option<f64>,
    /// Error of the last heartbeat, if any.
    last_heartbeat_error: Option<String>,
    /// Time of registration.
    #[schemars(schema_with = "time")]
    created_at: Timestamp,
    /// Time of the last change.
    #[schemars(schema_with = "time")]
    updated_at: Timestamp,
    /// Its revision.
    pub revision: u64,
}

impl From<Provider> for ProviderView {
    fn from(provider: Provider) -> Self {
        Self {
            model: provider.model().map(str::to_owned),
            context_window: provider.context(),
            price_input_per_mtok: provider.price_input(),
            price_output_per_mtok: provider.price_output(),
            id: provider.id.as_str().to_owned(),
            name: provider.name,
            provider_type: provider.provider_type,
            endpoint: provider.endpoint,
            configured_model: provider.configured_model,
            selected_model: provider.selected_model,
            selection_reason: provider.selection_reason,
            model_score: provider.model_score,
            selected_gpu: provider.selected_gpu,
            description: provider.description,
            requires_key: provider.requires_key,
            key_id: provider.key_id.as_ref().map(KeyId::to_string),
            client_cert: provider.client_cert,
            client_key_id: provider.client_key_id.as_ref().map(KeyId::to_string),
            ca_cert: provider.ca_cert,
            pool: provider.pool,
            priority: provider.priority,
            weight: provider.weight,
            max_concurrency: provider.max_concurrency,
            requests_per_minute: provider.requests_per_minute,
            tokens_per_minute: provider.tokens_per_minute,
            tags: provider.tags,
            status: provider.status,
            status_reason: provider.status_reason,
            last_heartbeat_at: provider.last_heartbeat_at,
            last_heartbeat_latency_ms: provider.last_heartbeat_latency_ms,
            latency_ewma_ms: provider.latency_ewma_ms,
            last_heartbeat_error: provider.last_heartbeat_error,
            created_at: provider.created_at,
            updated_at: provider.updated_at,
            revision: provider.revision,
        }
    }
}

/// A model that a provider offers.
#[derive(Debug, Serialize, JsonSchema)]
struct ModelView {
    /// The provider's name of it.
    id: String,
    /// Token limit of prompt and answer together, if the provider reports it.
    context_window: Option<u64>,
}

impl From<OfferedModel> for ModelView {
    fn from(model: OfferedModel) -> Self {
        Self { id: model.id, context_window: model.context_window }
    }
}

/// One beat of a provider.
#[derive(Debug, Serialize, JsonSchema)]
struct HeartbeatView {
    /// Time of the heartbeat.
    #[schemars(schema_with = "time")]
    at: Timestamp,
    /// Duration, in milliseconds.
    latency_ms: u64,
    /// Error, if any.
    error: Option<String>,
}

impl From<Heartbeat> for HeartbeatView {
    fn from(heartbeat: Heartbeat) -> Self {
        Self { at: heartbeat.at, latency_ms: heartbeat.latency_ms, error: heartbeat.error }
    }
}

/// Endpoints for a provider's models and heartbeats.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/providers/{id}/models", models)
            .scope(ProjectScope::Unscoped)
            .summary("The models that a provider offered at its last heartbeat")
            .answers::<Vec<ModelView>>(200),
        Endpoint::get("/api/v1/providers/{id}/heartbeats", heartbeats)
            .scope(ProjectScope::Unscoped)
            .query(PAGE)
            .summary("A provider's beats, newest first")
            .answers::<Vec<HeartbeatView>>(200),
    ]
}

async fn models(request: ApiRequest) -> Result<Reply, ApiError> {
    let offered = request.handles().providers.models(&ProviderId::from_trusted(request.param("id"))).await?;
    Reply::json(&offered.into_iter().map(ModelView::from).collect::<Vec<_>>())
}

async fn heartbeats(request: ApiRequest) -> Result<Reply, ApiError> {
    let (id, store) = (request.param("id"), &request.handles().store);
    if store.provider(id.to_owned()).await?.is_none() {
        return Err(ApiError::not_found("provider", id));
    }
    let page = store.heartbeats(id.to_owned(), request.page()?).await?;
    Reply::page::<_, HeartbeatView>(request.page_link(), page)
}
