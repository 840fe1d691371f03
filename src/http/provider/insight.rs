//! Providers as they are shown, with what they offer and how they have been.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::wire::page::PAGE;
use crate::http::wire::schema::{maybe_time, time, word};
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::kernel::ids::{KeyId, ProviderId};
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::provider::{Provider, ProviderType, Status};
use arbiter_providers::ModelInfo;
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
    /// The model that was asked for.
    configured_model: Option<String>,
    /// The model that was chosen of what it offers.
    selected_model: Option<String>,
    /// Why that one.
    selection_reason: Option<String>,
    /// How good that one is, 0 to 1.
    model_score: Option<f64>,
    /// The GPU that one wants.
    selected_gpu: Option<String>,
    /// What it is for.
    description: String,
    /// True if calls carry a key.
    requires_key: bool,
    /// The entry of the vault with that key.
    key_id: Option<String>,
    /// Our certificate for it with its chain, in PEM.
    client_cert: Option<String>,
    /// The entry of the vault with the private key of that certificate.
    client_key_id: Option<String>,
    /// The CA of its own certificate, in PEM; none: those of the web.
    ca_cert: Option<String>,
    /// The pool whose members stand in for each other; null: nobody stands in for it.
    pool: Option<String>,
    /// Its place in the pool: lower ones are asked first.
    priority: u32,
    /// Its share of the calls among those of the same place.
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
    /// How it is.
    #[schemars(schema_with = "word::<Status>")]
    status: Status,
    /// Why, when that needs saying.
    status_reason: Option<String>,
    /// When it was last asked.
    #[schemars(schema_with = "maybe_time")]
    last_heartbeat_at: Option<Timestamp>,
    /// How long the answer took, in milliseconds.
    last_heartbeat_latency_ms: Option<u64>,
    /// How long answers take, the newer ones weighing more, in milliseconds.
    latency_ewma_ms: Option<f64>,
    /// What went wrong.
    last_heartbeat_error: Option<String>,
    /// When it was registered.
    #[schemars(schema_with = "time")]
    created_at: Timestamp,
    /// When it last changed.
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
    /// How many tokens prompt and answer may have together, where the provider tells.
    context_window: Option<u64>,
}

impl From<ModelInfo> for ModelView {
    fn from(model: ModelInfo) -> Self {
        Self { id: model.id, context_window: model.context_window }
    }
}

/// One beat of a provider.
#[derive(Debug, Serialize, JsonSchema)]
struct HeartbeatView {
    /// When.
    #[schemars(schema_with = "time")]
    at: Timestamp,
    /// How long it took, in milliseconds.
    latency_ms: u64,
    /// What went wrong.
    error: Option<String>,
}

impl From<Heartbeat> for HeartbeatView {
    fn from(heartbeat: Heartbeat) -> Self {
        Self { at: heartbeat.at, latency_ms: heartbeat.latency_ms, error: heartbeat.error }
    }
}

/// What a provider offers and how it has been.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/providers/{id}/models", models)
            .scope(ProjectScope::Unscoped)
            .summary("The models a provider offers, asked now")
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
