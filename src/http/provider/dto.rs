//! Request bodies of a provider: a whole provider, or the fields to change.

use crate::http::wire::schema::word;
use crate::http::wire::serde_fields::{Secret, nullable, present};
use arbiter_core::kernel::initial_status::InitialStatus;
use arbiter_core::provider::edit::{NewProvider, ProviderPatch};
use arbiter_core::provider::{DEFAULT_POOL_PRIORITY, DEFAULT_WEIGHT, ProviderType};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;

/// A switch in the seed's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SwitchWord {
    /// Active; the next heartbeat decides the status.
    Active,
    /// Switched off.
    Inactive,
}

/// A provider to be registered.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProviderBody {
    /// Its id; else one is made.
    #[serde(default)]
    pub id: Option<String>,
    /// Its name.
    name: String,
    /// Whose protocol it speaks.
    #[serde(rename = "type")]
    #[schemars(schema_with = "word::<ProviderType>")]
    provider_type: ProviderType,
    /// Its URL; `/v1` is added when it has no path.
    endpoint: String,
    /// The model to use; else the best it offers.
    #[serde(default)]
    model: Option<String>,
    /// Purpose.
    #[serde(default)]
    description: String,
    /// Its key; it goes to the vault and is never shown.
    #[serde(default)]
    api_key: Option<Secret>,
    /// True if calls carry a key; by default, whether there is one.
    #[serde(default)]
    requires_key: Option<bool>,
    /// An entry of the vault that holds its key.
    #[serde(default)]
    key_id: Option<String>,
    /// Our certificate for it with its chain, in PEM; needs `client_key_id`.
    #[serde(default)]
    client_cert: Option<String>,
    /// The entry of the vault, of purpose `tls`, that holds the private key of that certificate.
    #[serde(default)]
    client_key_id: Option<String>,
    /// The CA of the provider's own certificate, or that one itself, in PEM; no other is trusted for it then.
    #[serde(default)]
    ca_cert: Option<String>,
    /// Failover pool of the provider; none by default.
    #[serde(default)]
    pool: Option<String>,
    /// Priority in the pool, 0 to 1000: lower values are called first; 100 by default.
    #[serde(default)]
    priority: Option<u32>,
    /// Weight among the providers of the same priority, 1 to 1000; 1 by default.
    #[serde(default)]
    weight: Option<u32>,
    /// The most calls at one time.
    #[serde(default)]
    max_concurrency: Option<u32>,
    /// The most calls that begin in a minute.
    #[serde(default)]
    requests_per_minute: Option<u32>,
    /// The most tokens in a minute, in and out together.
    #[serde(default)]
    tokens_per_minute: Option<u64>,
    /// Tokens that fit into one call.
    #[serde(default)]
    context_window: Option<u64>,
    /// Price of a million tokens in, in US dollars.
    #[serde(default)]
    price_input_per_mtok: Option<f64>,
    /// Price of a million tokens out, in US dollars.
    #[serde(default)]
    price_output_per_mtok: Option<f64>,
    /// Words to find it by.
    #[serde(default)]
    tags: Vec<String>,
    /// Initial status; `active` by default.
    #[serde(default)]
    status: Option<SwitchWord>,
}

/// Fields of a provider that are to change.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderPatchBody {
    /// Its name.
    #[serde(deserialize_with = "present")]
    name: Option<String>,
    /// Whose protocol it speaks.
    #[serde(rename = "type", deserialize_with = "present")]
    #[schemars(schema_with = "word::<ProviderType>")]
    provider_type: Option<ProviderType>,
    /// Its URL.
    #[serde(deserialize_with = "present")]
    endpoint: Option<String>,
    /// The model to use; null: the best it offers.
    #[serde(deserialize_with = "nullable")]
    model: Option<Option<String>>,
    /// Purpose.
    #[serde(deserialize_with = "present")]
    description: Option<String>,
    /// Its new key.
    #[serde(deserialize_with = "present")]
    api_key: Option<Secret>,
    /// True if calls carry a key.
    #[serde(deserialize_with = "present")]
    requires_key: Option<bool>,
    /// An entry of the vault that holds its key.
    #[serde(deserialize_with = "nullable")]
    key_id: Option<Option<String>>,
    /// Our certificate for it with its chain, in PEM; null: none.
    #[serde(deserialize_with = "nullable")]
    client_cert: Option<Option<String>>,
    /// The entry of the vault, of purpose `tls`, that holds the private key of that certificate.
    #[serde(deserialize_with = "nullable")]
    client_key_id: Option<Option<String>>,
    /// The CA of the provider's own certificate, in PEM; null: those of the web.
    #[serde(deserialize_with = "nullable")]
    ca_cert: Option<Option<String>>,
    /// The pool whose members stand in for each other; null: none.
    #[serde(deserialize_with = "nullable")]
    pool: Option<Option<String>>,
    /// Priority in the pool, 0 to 1000: lower values are called first.
    #[serde(deserialize_with = "present")]
    priority: Option<u32>,
    /// Weight among the providers of the same priority, 1 to 1000.
    #[serde(deserialize_with = "present")]
    weight: Option<u32>,
    /// The most calls at one time.
    #[serde(deserialize_with = "nullable")]
    max_concurrency: Option<Option<u32>>,
    /// The most calls that begin in a minute.
    #[serde(deserialize_with = "nullable")]
    requests_per_minute: Option<Option<u32>>,
    /// The most tokens in a minute, in and out together.
    #[serde(deserialize_with = "nullable")]
    tokens_per_minute: Option<Option<u64>>,
    /// Tokens that fit into one call.
    #[serde(deserialize_with = "nullable")]
    context_window: Option<Option<u64>>,
    /// Price of a million tokens in, in US dollars.
    #[serde(deserialize_with = "nullable")]
    price_input_per_mtok: Option<Option<f64>>,
    /// Price of a million tokens out, in US dollars.
    #[serde(deserialize_with = "nullable")]
    price_output_per_mtok: Option<Option<f64>>,
    /// Words to find it by.
    #[serde(deserialize_with = "present")]
    tags: Option<Vec<String>>,
    /// `active` enables it, `inactive` disables it.
    #[serde(deserialize_with = "present")]
    status: Option<SwitchWord>,
}

impl NewProviderBody {
    /// The provider that is wanted, and its key if one came along.
    pub fn into_new(self) -> (NewProvider, Option<SecretString>) {
        let new = NewProvider {
            id: self.id,
            name: self.name,
            provider_type: self.provider_type,
            endpoint: self.endpoint,
            configured_model: self.model,
            description: self.description,
            requires_key: self.requires_key,
            key_id: self.key_id,
            client_cert: self.client_cert,
            client_key_id: self.client_key_id,
            ca_cert: self.ca_cert,
            pool: self.pool,
            priority: self.priority,
            weight: self.weight,
            max_concurrency: self.max_concurrency,
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            context_window: self.context_window,
            price_input_per_mtok: self.price_input_per_mtok,
            price_output_per_mtok: self.price_output_per_mtok,
            tags: self.tags,
            status: match self.status {
                Some(SwitchWord::Inactive) => InitialStatus::Inactive,
                Some(SwitchWord::Active) | None => InitialStatus::Active,
            },
        };
        (new, self.api_key.map(|secret| secret.0))
    }

    /// Converts the provider to a patch of all fields.
    pub fn into_patch(self) -> ProviderPatchBody {
        ProviderPatchBody {
            name: Some(self.name),
            provider_type: Some(self.provider_type),
            endpoint: Some(self.endpoint),
            model: Some(self.model),
            description: Some(self.description),
            requires_key: self.requires_key,
            // A key is not part of what a client reads back, so its absence does not take it away.
            key_id: self.key_id.map(Some),
            api_key: self.api_key,
            client_cert: Some(self.client_cert),
            client_key_id: Some(self.client_key_id),
            ca_cert: Some(self.ca_cert),
            pool: Some(self.pool),
            priority: Some(self.priority.unwrap_or(DEFAULT_POOL_PRIORITY)),
            weight: Some(self.weight.unwrap_or(DEFAULT_WEIGHT)),
            max_concurrency: Some(self.max_concurrency),
            requests_per_minute: Some(self.requests_per_minute),
            tokens_per_minute: Some(self.tokens_per_minute),
            context_window: Some(self.context_window),
            price_input_per_mtok: Some(self.price_input_per_mtok),
            price_output_per_mtok: Some(self.price_output_per_mtok),
            tags: Some(self.tags),
            status: self.status,
        }
    }
}

impl ProviderPatchBody {
    /// The fields that are to change, whether it is to be switched, and its new key.
    pub fn into_parts(self) -> (ProviderPatch, Option<SwitchWord>, Option<SecretString>) {
        let patch = ProviderPatch {
            name: self.name,
            provider_type: self.provider_type,
            endpoint: self.endpoint,
            configured_model: self.model,
            description: self.description,
            requires_key: self.requires_key,
            key_id: self.key_id,
            client_cert: self.client_cert,
            client_key_id: self.client_key_id,
            ca_cert: self.ca_cert,
            pool: self.pool,
            priority: self.priority,
            weight: self.weight,
            max_concurrency: self.max_concurrency,
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            context_window: self.context_window,
            price_input_per_mtok: self.price_input_per_mtok,
            price_output_per_mtok: self.price_output_per_mtok,
            tags: self.tags,
        };
        (patch, self.status, self.api_key.map(|secret| secret.0))
    }
}
