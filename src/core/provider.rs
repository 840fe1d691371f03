//! Providers: LLM endpoints, their health and how beats change it.

use crate::event_type::EventType;
use crate::ids::{KeyId, ProviderId};
use crate::machine::Machine;
use crate::record::{Happening, Record};
use crate::refusal::{Problems, Refusal};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

words! {
    /// How a provider is.
    pub enum Status {
        /// Not heard of yet.
        Pending = "pending",
        /// It answers.
        Active = "active",
        /// It answers late, or missed a beat.
        Degraded = "degraded",
        /// It does not answer.
        Unhealthy = "unhealthy",
        /// The operator switched it off.
        Disabled = "disabled",
    }
}

words! {
    /// What moves a provider.
    pub enum Trigger {
        /// A beat found it well.
        Well = "be found well",
        /// A beat found it slow, or one or two beats failed.
        Weak = "be found weak",
        /// Beats failed.
        Fail = "be found down",
        /// The operator's word.
        Disable = "disable",
        /// The operator's word.
        Enable = "enable",
    }
}

impl Machine for Status {
    type Trigger = Trigger;
    const ENTITY: &'static str = "provider";
    const TRANSITIONS: &'static [(Self, Trigger, Self)] = &[
        (Self::Pending, Trigger::Well, Self::Active),
        (Self::Pending, Trigger::Weak, Self::Degraded),
        (Self::Pending, Trigger::Fail, Self::Unhealthy),
        (Self::Active, Trigger::Weak, Self::Degraded),
        (Self::Active, Trigger::Fail, Self::Unhealthy),
        (Self::Degraded, Trigger::Well, Self::Active),
        (Self::Degraded, Trigger::Fail, Self::Unhealthy),
        (Self::Unhealthy, Trigger::Well, Self::Active),
        (Self::Unhealthy, Trigger::Weak, Self::Degraded),
        (Self::Pending, Trigger::Disable, Self::Disabled),
        (Self::Active, Trigger::Disable, Self::Disabled),
        (Self::Degraded, Trigger::Disable, Self::Disabled),
        (Self::Unhealthy, Trigger::Disable, Self::Disabled),
        (Self::Disabled, Trigger::Enable, Self::Pending),
    ];
}

words! {
    /// Whose protocol a provider speaks.
    pub enum ProviderType {
        /// OpenAI.
        OpenAi = "openai",
        /// Anthropic.
        Anthropic = "anthropic",
        /// vLLM.
        Vllm = "vllm",
        /// Ollama.
        Ollama = "ollama",
        /// A model on this machine.
        Local = "local",
        /// Anything that speaks OpenAI's chat completions.
        Custom = "custom",
    }
}

/// Failed beats in a row that make a provider unhealthy.
pub const STRIKES: u32 = 3;
/// A beat that takes this many times the median of its history is late.
pub const LATE_FACTOR: u64 = 5;
/// A beat below this is never late, whatever the median, in milliseconds.
pub const LATE_FLOOR_MS: u64 = 500;

/// A provider as the store holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    /// Its id.
    pub id: ProviderId,
    /// Its name.
    pub name: String,
    /// Whose protocol it speaks.
    #[serde(rename = "type")]
    pub provider_type: ProviderType,
    /// Its URL; `/v1` is added when it has no path.
    pub endpoint: String,
    /// The model that was asked for.
    pub configured_model: Option<String>,
    /// The model that calls use.
    pub selected_model: Option<String>,
    /// Why that one.
    pub selection_reason: Option<String>,
    /// How good it is, 0 to 1.
    pub model_score: Option<f64>,
    /// The GPU it wants.
    pub selected_gpu: Option<String>,
    /// What it is for.
    pub description: String,
    /// Whether calls carry a key.
    pub requires_key: bool,
    /// The vault's entry with that key.
    pub key_id: Option<KeyId>,
    /// Our certificate for it with its chain, in PEM; public, unlike its key.
    pub client_cert: Option<String>,
    /// The vault's entry with the private key of that certificate.
    pub client_key_id: Option<KeyId>,
    /// Whom it may have its own certificate from, in PEM; nobody else is trusted then.
    pub ca_cert: Option<String>,
    /// The most calls at once; none: no limit of its own.
    pub max_concurrency: Option<u32>,
    /// Tokens that fit into one call.
    pub context_window: Option<u64>,
    /// Price of a million tokens in, in US dollars.
    pub price_input_per_mtok: Option<f64>,
    /// Price of a million tokens out, in US dollars.
    pub price_output_per_mtok: Option<f64>,
    /// Labels.
    pub tags: Vec<String>,
    /// How it is.
    pub status: Status,
    /// Why, when that needs saying.
    pub status_reason: Option<String>,
    /// When it was last asked (telemetry).
    pub last_heartbeat_at: Option<Timestamp>,
    /// How long the answer took, in milliseconds (telemetry).
    pub last_heartbeat_latency_ms: Option<u64>,
    /// What went wrong (telemetry).
    pub last_heartbeat_error: Option<String>,
    /// Failed beats in a row (telemetry).
    pub failures: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// How many events have shaped it.
    pub revision: u64,
}

impl Record for Provider {
    const ENTITY: &'static str = "provider";
    const CREATED: EventType = EventType::ProviderRegistered;
    const STATUS_CHANGED: &'static [EventType] = &[EventType::ProviderStatusChange];
    const UPDATED: EventType = EventType::ProviderUpdated;
    const TELEMETRY: &'static [&'static str] =
        &["last_heartbeat_at", "last_heartbeat_latency_ms", "last_heartbeat_error", "failures"];

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

/// Whether what a provider needs of the vault can be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    /// It can, or none is needed.
    Readable,
    /// The vault is locked or has no such entry.
    Unreadable,
}

/// What one beat found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// It answered, with these models.
    Answered {
        /// How long it took, in milliseconds.
        latency_ms: u64,
        /// The median of earlier beats, if there were any.
        median_ms: Option<u64>,
        /// What it offers.
        models: Vec<String>,
    },
    /// It did not.
    Failed {
        /// What went wrong.
        error: String,
        /// How long that took, in milliseconds.
        latency_ms: u64,
    },
}

/// What can be asked of a provider.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Take note of a beat.
    Beat(Beat),
    /// Switch it off.
    Disable,
    /// Switch it on.
    Enable,
    /// Become what `after` says in its plain fields.
    Update(Box<Provider>),
}

impl Provider {
    /// The only test of "up": it answers, and its keys can be read.
    pub fn is_usable(&self, key: KeyAccess) -> bool {
        matches!(self.status, Status::Active | Status::Degraded)
            && (!self.needs_vault() || key == KeyAccess::Readable)
    }

    /// Whether a call needs anything of the vault.
    pub fn needs_vault(&self) -> bool {
        self.keys().next().is_some()
    }

    /// The vault's entries that a call needs: its key and the key of our certificate.
    pub fn keys(&self) -> impl Iterator<Item = &KeyId> {
        let key = self.key_id.as_ref().filter(|_| self.requires_key);
        key.into_iter().chain(&self.client_key_id)
    }

    /// Whether this entry of the vault is in its fields, needed at the moment or not.
    pub fn names_key(&self, id: &KeyId) -> bool {
        [&self.key_id, &self.client_key_id].into_iter().flatten().any(|named| named == id)
    }

    /// The model that calls use: the selected one, else the configured one.
    pub fn model(&self) -> Option<&str> {
        self.selected_model.as_deref().or(self.configured_model.as_deref())
    }

    /// What a beat says of the provider, by the rule of three strikes.
    pub fn verdict(&self, beat: &Beat) -> Trigger {
        match beat {
            Beat::Answered { latency_ms, median_ms, .. } => {
                let late = median_ms.is_some_and(|median| {
                    *latency_ms > (median.saturating_mul(LATE_FACTOR)).max(LATE_FLOOR_MS)
                });
                if late { Trigger::Weak } else { Trigger::Well }
            }
            Beat::Failed { .. } => {
                let first = self.status == Status::Pending;
                let down = self.status == Status::Unhealthy;
                if first || down || self.failures + 1 >= STRIKES { Trigger::Fail } else { Trigger::Weak }
            }
        }
    }

    /// The row with the measurements of a beat; no event tells of those.
    #[must_use]
    pub fn measured(&self, beat: &Beat, now: Timestamp) -> Self {
        let mut after = self.clone();
        after.last_heartbeat_at = Some(now);
        match beat {
            Beat::Answered { latency_ms, .. } => {
                after.last_heartbeat_latency_ms = Some(*latency_ms);
                after.last_heartbeat_error = None;
                after.failures = 0;
            }
            Beat::Failed { error, latency_ms } => {
                after.last_heartbeat_latency_ms = Some(*latency_ms);
                after.last_heartbeat_error = Some(error.clone());
                after.failures = self.failures.saturating_add(1);
            }
        }
        after
    }

    /// What a command makes of the provider.
    pub fn decide(&self, command: &Command) -> Result<Vec<Happening>, Refusal> {
        let mut after = self.clone();
        match command {
            Command::Beat(beat) => {
                if self.status == Status::Disabled {
                    return Ok(vec![]);
                }
                // A verdict without an arrow is a provider that stays as it is.
                after.status = self.status.after(self.verdict(beat)).unwrap_or(self.status);
                after.status_reason = match beat {
                    Beat::Failed { error, .. } => Some(error.clone()),
                    Beat::Answered { .. } if after.status == Status::Degraded => {
                        Some("slow to answer".into())
                    }
                    Beat::Answered { models, .. } => {
                        after.select_model(models);
                        None
                    }
                };
                if after.status == self.status {
                    after.status_reason.clone_from(&self.status_reason);
                }
            }
            Command::Disable => {
                after.status = self.status.step(self.id.as_str(), Trigger::Disable)?;
                after.status_reason = None;
            }
            Command::Enable => {
                after.status = self.status.step(self.id.as_str(), Trigger::Enable)?;
                after.status_reason = None;
            }
            Command::Update(wanted) => after = wanted.as_ref().clone(),
        }
        let reason = after.status_reason.as_deref();
        let change = Happening::between(self, &after, reason);
        Ok(if change.is_nothing() { vec![] } else { vec![change] })
    }

    fn select_model(&mut self, offered: &[String]) {
        let wanted = self.configured_model.as_ref();
        let (model, reason) = match (wanted.filter(|w| offered.contains(w)), offered.first()) {
            (Some(wanted), _) => (wanted.clone(), "the configured model is offered"),
            (None, Some(first)) => (first.clone(), "the first model offered"),
            (None, None) => return,
        };
        if self.selected_model.as_ref() != Some(&model) {
            self.selected_model = Some(model);
            self.selection_reason = Some(reason.to_owned());
        }
    }
}

/// Checks a provider's plain fields; the endpoint is checked by whoever connects to it.
pub fn check(provider: &Provider) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    problems.require((1..=200).contains(&provider.name.chars().count()), "name", "has 1 to 200 characters");
    problems.require(provider.description.len() <= 65_536, "description", "is longer than 65536 bytes");
    problems.require(provider.max_concurrency != Some(0), "max_concurrency", "is at least 1");
    let price_ok = |price: Option<f64>| price.is_none_or(|p| p.is_finite() && p >= 0.0);
    problems.require(price_ok(provider.price_input_per_mtok), "price_input_per_mtok", "is 0 or more");
    problems.require(price_ok(provider.price_output_per_mtok), "price_output_per_mtok", "is 0 or more");
    let keyed = !provider.requires_key || provider.key_id.is_some();
    problems.require(keyed, "requires_key", "needs an api_key or a key_id");
    for (name, pem) in [("client_cert", &provider.client_cert), ("ca_cert", &provider.ca_cert)] {
        let fits = pem.as_ref().is_none_or(|pem| pem.len() <= MAX_PEM_BYTES);
        problems.require(fits, name, "is longer than 65536 bytes");
    }
    let (cert, key) = (provider.client_cert.is_some(), provider.client_key_id.is_some());
    problems.require(key || !cert, "client_cert", "needs a client_key_id, the key that belongs to it");
    problems.require(cert || !key, "client_key_id", "needs a client_cert, the certificate it belongs to");
    problems.finish()
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;
