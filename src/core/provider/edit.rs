//! Client input for providers: new providers and patches. The key itself is never part of them.

use crate::kernel::ids::{KeyId, ProviderId};
use crate::kernel::initial_status::InitialStatus;
use crate::kernel::record::set_if_some;
use crate::kernel::refusal::Refusal;
use crate::kernel::time::Timestamp;
use crate::provider::{DEFAULT_POOL_PRIORITY, DEFAULT_WEIGHT, Provider, ProviderType, Status, check};

/// Switch of a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enabled {
    #[default]
    Yes,
    No,
}

/// Request to create a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct NewProvider {
    /// A chosen id, or none.
    pub id: Option<String>,
    pub name: String,
    pub provider_type: ProviderType,
    pub endpoint: String,
    pub configured_model: Option<String>,
    pub description: String,
    /// True if calls carry a key; by default, whether one is named.
    pub requires_key: Option<bool>,
    pub key_id: Option<String>,
    /// Our certificate for it, in PEM.
    pub client_cert: Option<String>,
    pub client_key_id: Option<String>,
    /// Trusted certificate authority, in PEM.
    pub ca_cert: Option<String>,
    pub pool: Option<String>,
    /// Its place in the pool; the middle by default.
    pub priority: Option<u32>,
    /// Its share among those of the same place; 1 by default.
    pub weight: Option<u32>,
    pub max_concurrency: Option<u32>,
    pub requests_per_minute: Option<u32>,
    pub tokens_per_minute: Option<u64>,
    /// Tokens that fit into one call.
    pub context_window: Option<u64>,
    /// Price of a million tokens in, in US dollars.
    pub price_input_per_mtok: Option<f64>,
    /// Price of a million tokens out, in US dollars.
    pub price_output_per_mtok: Option<f64>,
    pub tags: Vec<String>,
    /// `active`: heartbeats begin at once.
    pub status: InitialStatus,
}

impl NewProvider {
    /// A provider with nothing but what is required.
    pub fn named(name: impl Into<String>, provider_type: ProviderType, endpoint: impl Into<String>) -> Self {
        Self {
            id: None,
            name: name.into(),
            provider_type,
            endpoint: endpoint.into(),
            configured_model: None,
            description: String::new(),
            requires_key: None,
            key_id: None,
            client_cert: None,
            client_key_id: None,
            ca_cert: None,
            pool: None,
            priority: None,
            weight: None,
            max_concurrency: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            context_window: None,
            price_input_per_mtok: None,
            price_output_per_mtok: None,
            tags: vec![],
            status: InitialStatus::Active,
        }
    }

    /// The provider as it will be stored; `key_id` is the vault's entry when a key came along.
    pub fn build(&self, id: ProviderId, key_id: Option<KeyId>, now: Timestamp) -> Result<Provider, Refusal> {
        let key_id = key_id.or_else(|| self.key_id.clone().map(KeyId::from_trusted));
        let provider = Provider {
            id,
            name: self.name.clone(),
            provider_type: self.provider_type,
            endpoint: self.endpoint.clone(),
            configured_model: self.configured_model.clone(),
            selected_model: None,
            selection_reason: None,
            model_score: None,
            selected_gpu: None,
            selected_context_window: None,
            selected_price_input: None,
            selected_price_output: None,
            description: self.description.clone(),
            requires_key: self.requires_key.unwrap_or(key_id.is_some()),
            key_id,
            client_cert: self.client_cert.clone(),
            client_key_id: self.client_key_id.clone().map(KeyId::from_trusted),
            ca_cert: self.ca_cert.clone(),
            pool: self.pool.clone(),
            priority: self.priority.unwrap_or(DEFAULT_POOL_PRIORITY),
            weight: self.weight.unwrap_or(DEFAULT_WEIGHT),
            max_concurrency: self.max_concurrency,
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            context_window: self.context_window,
            price_input_per_mtok: self.price_input_per_mtok,
            price_output_per_mtok: self.price_output_per_mtok,
            tags: self.tags.clone(),
            status: match self.status {
                InitialStatus::Active => Status::Pending,
                InitialStatus::Inactive => Status::Disabled,
            },
            status_reason: None,
            last_heartbeat_at: None,
            last_heartbeat_latency_ms: None,
            last_heartbeat_error: None,
            latency_ewma_ms: None,
            failures: 0,
            created_at: now,
            updated_at: now,
            revision: 1,
        };
        check(&provider)?;
        Ok(provider)
    }
}

/// Fields of a provider that are to change; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderPatch {
    pub name: Option<String>,
    pub provider_type: Option<ProviderType>,
    pub endpoint: Option<String>,
    pub configured_model: Option<Option<String>>,
    pub description: Option<String>,
    pub requires_key: Option<bool>,
    pub key_id: Option<Option<String>>,
    /// Our certificate for it, in PEM.
    pub client_cert: Option<Option<String>>,
    pub client_key_id: Option<Option<String>>,
    /// Trusted certificate authority, in PEM.
    pub ca_cert: Option<Option<String>>,
    pub pool: Option<Option<String>>,
    pub priority: Option<u32>,
    pub weight: Option<u32>,
    pub max_concurrency: Option<Option<u32>>,
    pub requests_per_minute: Option<Option<u32>>,
    pub tokens_per_minute: Option<Option<u64>>,
    /// Tokens that fit into one call.
    pub context_window: Option<Option<u64>>,
    /// Price of a million tokens in.
    pub price_input_per_mtok: Option<Option<f64>>,
    /// Price of a million tokens out.
    pub price_output_per_mtok: Option<Option<f64>>,
    pub tags: Option<Vec<String>>,
}

impl ProviderPatch {
    /// The provider as the patch wants it. A changed model is selected anew by the next beat.
    pub fn apply(&self, provider: &Provider) -> Result<Provider, Refusal> {
        let mut after = provider.clone();
        let patch = self.clone();
        set_if_some(&mut after.name, patch.name);
        set_if_some(&mut after.provider_type, patch.provider_type);
        set_if_some(&mut after.endpoint, patch.endpoint);
        set_if_some(&mut after.configured_model, patch.configured_model);
        set_if_some(&mut after.description, patch.description);
        set_if_some(&mut after.requires_key, patch.requires_key);
        set_if_some(&mut after.key_id, patch.key_id.map(|id| id.map(KeyId::from_trusted)));
        set_if_some(&mut after.client_cert, patch.client_cert);
        set_if_some(&mut after.client_key_id, patch.client_key_id.map(|id| id.map(KeyId::from_trusted)));
        set_if_some(&mut after.ca_cert, patch.ca_cert);
        set_if_some(&mut after.pool, patch.pool);
        set_if_some(&mut after.priority, patch.priority);
        set_if_some(&mut after.weight, patch.weight);
        set_if_some(&mut after.max_concurrency, patch.max_concurrency);
        set_if_some(&mut after.requests_per_minute, patch.requests_per_minute);
        set_if_some(&mut after.tokens_per_minute, patch.tokens_per_minute);
        set_if_some(&mut after.context_window, patch.context_window);
        set_if_some(&mut after.price_input_per_mtok, patch.price_input_per_mtok);
        set_if_some(&mut after.price_output_per_mtok, patch.price_output_per_mtok);
        set_if_some(&mut after.tags, patch.tags);
        if after.configured_model != provider.configured_model || after.endpoint != provider.endpoint {
            after.selected_model = None;
            after.selection_reason = None;
            (after.model_score, after.selected_gpu, after.selected_context_window) = (None, None, None);
            (after.selected_price_input, after.selected_price_output) = (None, None);
        }
        check(&after)?;
        Ok(after)
    }
}
