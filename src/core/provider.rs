//! Providers: LLM endpoints, and what may be asked of them. How they are found well or ill is in
//! `provider_health`.

pub mod authorize;
pub mod breaker;
pub mod edit;
pub mod health;
pub mod rank;
pub mod rate_limit;
pub mod retry;

use crate::kernel::call::CallOutcome;
use crate::kernel::event_type::EventType;
use crate::kernel::ids::{KeyId, ProviderId, is_valid_id};
use crate::kernel::limits;
use crate::kernel::record::{FieldChanges, Record};
use crate::kernel::refusal::{Problems, Refusal};
use crate::kernel::state_machine::StateMachine;
use crate::kernel::time::Timestamp;
use crate::model::catalog::Catalog;
use serde::{Deserialize, Serialize};

pub use crate::provider::health::{HeartbeatResult, LATE_FACTOR, LATE_FLOOR_MS, UNHEALTHY_AFTER};

string_enum! {
    /// State of a provider in its lifecycle.
    pub enum Status {
        /// Not heard of yet.
        Pending = "pending",
        Active = "active",
        Degraded = "degraded",
        Unhealthy = "unhealthy",
        Disabled = "disabled",
    }
}

string_enum! {
    /// Event that moves a provider to another state.
    pub enum Trigger {
        Healthy = "be found well",
        Degraded = "be found weak",
        Unhealthy = "be found down",
        Disable = "disable",
        Enable = "enable",
    }
}

impl StateMachine for Status {
    type Trigger = Trigger;
    const ENTITY: &'static str = "provider";
    const TRANSITIONS: &'static [(Self, Trigger, Self)] = &[
        (Self::Pending, Trigger::Healthy, Self::Active),
        (Self::Pending, Trigger::Degraded, Self::Degraded),
        (Self::Pending, Trigger::Unhealthy, Self::Unhealthy),
        (Self::Active, Trigger::Degraded, Self::Degraded),
        (Self::Active, Trigger::Unhealthy, Self::Unhealthy),
        (Self::Degraded, Trigger::Healthy, Self::Active),
        (Self::Degraded, Trigger::Unhealthy, Self::Unhealthy),
        (Self::Unhealthy, Trigger::Healthy, Self::Active),
        (Self::Unhealthy, Trigger::Degraded, Self::Degraded),
        (Self::Pending, Trigger::Disable, Self::Disabled),
        (Self::Active, Trigger::Disable, Self::Disabled),
        (Self::Degraded, Trigger::Disable, Self::Disabled),
        (Self::Unhealthy, Trigger::Disable, Self::Disabled),
        (Self::Disabled, Trigger::Enable, Self::Pending),
    ];
}

string_enum! {
    /// Whose protocol a provider speaks.
    pub enum ProviderType {
        OpenAi = "openai",
        Anthropic = "anthropic",
        Vllm = "vllm",
        Ollama = "ollama",
        Local = "local",
        /// Anything that speaks OpenAI's chat completions.
        Custom = "custom",
    }
}

/// Default priority of a provider in its pool.
pub const DEFAULT_POOL_PRIORITY: u32 = 100;
/// The last place in a pool.
pub const MAX_POOL_PRIORITY: u32 = 1_000;
/// Default weight of a provider in its pool.
pub const DEFAULT_WEIGHT: u32 = 1;
/// The largest share.
pub const MAX_WEIGHT: u32 = 1_000;

const fn middle_priority() -> u32 {
    DEFAULT_POOL_PRIORITY
}

const fn one_share() -> u32 {
    DEFAULT_WEIGHT
}

/// A provider as the store holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    pub id: ProviderId,
    pub name: String,
    #[serde(rename = "type")]
    pub provider_type: ProviderType,
    /// Its URL; `/v1` is added when it has no path.
    pub endpoint: String,
    pub configured_model: Option<String>,
    pub selected_model: Option<String>,
    pub selection_reason: Option<String>,
    /// Quality score of its model, 0 to 1.
    pub model_score: Option<f64>,
    /// Class of GPU that the catalog names for the selected model; `None` for an unknown model.
    pub selected_gpu: Option<String>,
    /// Tokens that fit into one call of that model: the provider's word, else the catalogue's.
    #[serde(default)]
    pub selected_context_window: Option<u64>,
    /// The catalogue's price of a million tokens in, for that model, in US dollars.
    #[serde(default)]
    pub selected_price_input: Option<f64>,
    /// The catalogue's price of a million tokens out, for that model, in US dollars.
    #[serde(default)]
    pub selected_price_output: Option<f64>,
    pub description: String,
    pub requires_key: bool,
    pub key_id: Option<KeyId>,
    /// Our certificate for it with its chain, in PEM; public, unlike its key.
    pub client_cert: Option<String>,
    pub client_key_id: Option<KeyId>,
    /// Trusted certificate authority in PEM; no other is trusted if set.
    pub ca_cert: Option<String>,
    /// Pool whose members replace each other; none: no failover.
    #[serde(default)]
    pub pool: Option<String>,
    /// Its place in the pool: lower ones are asked first.
    #[serde(default = "middle_priority")]
    pub priority: u32,
    #[serde(default = "one_share")]
    pub weight: u32,
    /// The most calls at once; none: no limit of its own.
    pub max_concurrency: Option<u32>,
    /// The most calls that begin in a minute; none: no limit.
    #[serde(default)]
    pub requests_per_minute: Option<u32>,
    /// The most tokens in a minute, in and out together; none: no limit.
    #[serde(default)]
    pub tokens_per_minute: Option<u64>,
    /// Tokens that fit into one call, as the operator says; see [`Provider::context`].
    pub context_window: Option<u64>,
    /// Price of a million tokens in, as the operator says; see [`Provider::price_input`].
    pub price_input_per_mtok: Option<f64>,
    /// Price of a million tokens out, as the operator says; see [`Provider::price_output`].
    pub price_output_per_mtok: Option<f64>,
    pub tags: Vec<String>,
    pub status: Status,
    pub status_reason: Option<String>,
    /// Time of the last heartbeat (telemetry).
    pub last_heartbeat_at: Option<Timestamp>,
    /// Latency of the last heartbeat, in milliseconds (telemetry).
    pub last_heartbeat_latency_ms: Option<u64>,
    /// Error of the last heartbeat (telemetry).
    pub last_heartbeat_error: Option<String>,
    /// Moving average of heartbeat latency, weighted towards newer ones, in milliseconds (telemetry).
    #[serde(default)]
    pub latency_ewma_ms: Option<f64>,
    /// Failed beats and calls in a row (telemetry).
    pub failures: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub revision: u64,
}

impl Record for Provider {
    const ENTITY: &'static str = "provider";
    const CREATED: EventType = EventType::ProviderRegistered;
    const STATUS_CHANGED: &'static [EventType] = &[EventType::ProviderStatusChange];
    const UPDATED: EventType = EventType::ProviderUpdated;
    const TELEMETRY: &'static [&'static str] = &[
        "last_heartbeat_at",
        "last_heartbeat_latency_ms",
        "last_heartbeat_error",
        "latency_ewma_ms",
        "failures",
    ];

    fn id(&self) -> &str {
        self.id.as_str()
    }
    fn project(&self) -> Option<&str> {
        None
    }
    fn revision(&self) -> u64 {
        self.revision
    }
    fn status_event(&self) -> EventType {
        EventType::ProviderStatusChange
    }
    fn touch(&mut self, at: Timestamp) {
        self.revision += 1;
        self.updated_at = at;
    }
}

/// The longest certificate or chain in PEM, in bytes.
pub const MAX_PEM_BYTES: usize = 65_536;

/// Availability of a provider's secrets in the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    /// Readable now, or no secret is needed.
    Readable,
    Unreadable,
}

/// Command to a provider.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Take note of a beat.
    Heartbeat(HeartbeatResult),
    /// Take note of how a real call went.
    Observe(CallOutcome),
    Disable,
    Enable,
    /// Become what `after` says in its plain fields.
    Update(Box<Provider>),
}

impl Provider {
    /// The only test of "up": it answers, and its keys can be read.
    pub fn is_usable(&self, key: KeyAccess) -> bool {
        matches!(self.status, Status::Active | Status::Degraded)
            && (!self.has_vault_keys() || key == KeyAccess::Readable)
    }

    /// Explains to a client why the provider is not usable.
    pub fn unusable_reason(&self) -> String {
        let Self { id, status, .. } = self;
        match (status, &self.status_reason) {
            (Status::Active | Status::Degraded, _) => {
                format!("provider {id} cannot be called now: its key cannot be read")
            }
            (_, None) => format!("provider {id} cannot be called now: it is {status}"),
            (_, Some(reason)) => format!("provider {id} cannot be called now: it is {status}, {reason}"),
        }
    }

    /// Returns whether a call needs anything of the vault.
    pub fn has_vault_keys(&self) -> bool {
        self.keys().next().is_some()
    }

    /// The vault's entries that a call needs: its key and the key of our certificate.
    pub fn keys(&self) -> impl Iterator<Item = &KeyId> {
        let key = self.key_id.as_ref().filter(|_| self.requires_key);
        key.into_iter().chain(&self.client_key_id)
    }

    /// Returns whether this entry of the vault is in its fields, needed at the moment or not.
    pub fn has_key_reference(&self, id: &KeyId) -> bool {
        [&self.key_id, &self.client_key_id].into_iter().flatten().any(|named| named == id)
    }

    /// The model that calls use: the selected one, else the configured one.
    pub fn model(&self) -> Option<&str> {
        self.selected_model.as_deref().or(self.configured_model.as_deref())
    }

    /// Tokens that fit into one call: the operator's word, else the provider's, else the catalogue's.
    pub fn context(&self) -> Option<u64> {
        self.context_window.or(self.selected_context_window)
    }

    /// Price of a million tokens in, in US dollars: the operator's word, else the catalogue's.
    pub fn price_input(&self) -> Option<f64> {
        self.price_input_per_mtok.or(self.selected_price_input)
    }

    /// Price of a million tokens out, in US dollars: the operator's word, else the catalogue's.
    pub fn price_output(&self) -> Option<f64> {
        self.price_output_per_mtok.or(self.selected_price_output)
    }

    /// Returns the field changes that a command causes, or the reason to refuse it. A heartbeat chooses the model by
    /// the catalogue.
    pub fn decide(&self, command: &Command, catalog: &Catalog) -> Result<Vec<FieldChanges>, Refusal> {
        let after = match command {
            Command::Heartbeat(heartbeat) => self.after_heartbeat(heartbeat, catalog),
            Command::Observe(outcome) => self.after_call(outcome),
            Command::Disable => self.after_switch(Trigger::Disable)?,
            Command::Enable => self.after_switch(Trigger::Enable)?,
            Command::Update(wanted) => wanted.as_ref().clone(),
        };
        let reason = after.status_reason.as_deref();
        let change = FieldChanges::between(self, &after, reason);
        Ok(if change.is_noop() { vec![] } else { vec![change] })
    }

    fn after_switch(&self, trigger: Trigger) -> Result<Self, Refusal> {
        let status = self.status.step(self.id.as_str(), trigger)?;
        Ok(Self { status, status_reason: None, ..self.clone() })
    }
}

/// Checks a provider's own fields; the endpoint is checked where the client is built.
pub fn check(provider: &Provider) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    problems.require(
        limits::is_name_length(&provider.name),
        "name",
        limits::must_have_chars(&limits::NAME_CHARS),
    );
    problems.require(
        provider.description.len() <= limits::MAX_DESCRIPTION,
        "description",
        limits::must_fit(limits::MAX_DESCRIPTION),
    );
    problems.require(provider.max_concurrency != Some(0), "max_concurrency", "must be at least 1");
    problems.require(provider.requests_per_minute != Some(0), "requests_per_minute", "must be at least 1");
    problems.require(provider.tokens_per_minute != Some(0), "tokens_per_minute", "must be at least 1");
    problems.require(provider.context_window != Some(0), "context_window", "must be at least 1");
    problems.require(
        provider.priority <= MAX_POOL_PRIORITY,
        "priority",
        limits::must_be_between(&(0..=MAX_POOL_PRIORITY)),
    );
    problems.require(
        (1..=MAX_WEIGHT).contains(&provider.weight),
        "weight",
        limits::must_be_between(&(1..=MAX_WEIGHT)),
    );
    let pool_ok = provider.pool.as_deref().is_none_or(is_valid_id);
    problems.require(pool_ok, "pool", "must match ^[a-z0-9][a-z0-9._-]{0,63}$");
    let price_ok = |price: Option<f64>| price.is_none_or(|p| p.is_finite() && p >= 0.0);
    problems.require(price_ok(provider.price_input_per_mtok), "price_input_per_mtok", "must be 0 or more");
    problems.require(price_ok(provider.price_output_per_mtok), "price_output_per_mtok", "must be 0 or more");
    let keyed = !provider.requires_key || provider.key_id.is_some();
    problems.require(keyed, "requires_key", "must come with an api_key or a key_id");
    for (name, pem) in [("client_cert", &provider.client_cert), ("ca_cert", &provider.ca_cert)] {
        let fits = pem.as_ref().is_none_or(|pem| pem.len() <= MAX_PEM_BYTES);
        problems.require(fits, name, limits::must_fit(MAX_PEM_BYTES));
    }
    let (cert, key) = (provider.client_cert.is_some(), provider.client_key_id.is_some());
    problems.require(
        key || !cert,
        "client_cert",
        "must come with client_key_id, the private key of the certificate",
    );
    problems.require(cert || !key, "client_key_id", "must come with client_cert, the certificate of the key");
    problems.finish()
}

#[cfg(test)]
pub(crate) mod tests;
