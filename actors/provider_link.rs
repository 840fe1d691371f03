//! The way to a provider: its client, its limits, and the one place where a key meets a request.

use crate::fault::Fault;
use crate::settings::{PublicHttp, Settings};
use crate::shared::Shared;
use crate::vault::VaultHandle;
use crate::vault_actor::KeyUse;
use arbiter_core::provider::Provider;
use arbiter_core::refusal::Refusal;
use arbiter_core::run::cost_usd;
use arbiter_providers::{
    CallError, ChatAnswer, ChatRequest, Client, Endpoint, EndpointPolicy, HttpPolicy, ModelInfo, Timeouts,
};
use secrecy::SecretString;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A connected provider.
pub(crate) struct Link {
    /// The row it was made from.
    pub(crate) provider: Provider,
    host: String,
    calls: Client,
    beats: Client,
    permits: Option<Arc<Semaphore>>,
}

/// What a call gave.
pub(crate) struct Completion {
    /// The answer.
    pub(crate) answer: ChatAnswer,
    /// How long it took, in milliseconds.
    pub(crate) latency_ms: u64,
    /// What it cost, in US dollars.
    pub(crate) cost_usd: f64,
    /// Whether a key went along: 1 or 0.
    pub(crate) key_uses: u32,
}

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallFailure {
    /// The provider did not answer as it should.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It was not even asked.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Reads an endpoint by the configured rules.
pub(crate) fn endpoint(text: &str, settings: &Settings) -> Result<Endpoint, Refusal> {
    let allow_public_http = match settings.public_http {
        PublicHttp::Allowed => HttpPolicy::Anywhere,
        PublicHttp::Refused => HttpPolicy::LocalOnly,
    };
    Endpoint::parse(text, EndpointPolicy { allow_public_http })
        .map_err(|error| Refusal::field("endpoint", error.to_string()))
}

/// The host of a stored endpoint, whatever the rules say of it now; none when it cannot be read.
pub(crate) fn host_of(text: &str) -> Option<String> {
    let anywhere = EndpointPolicy { allow_public_http: HttpPolicy::Anywhere };
    Endpoint::parse(text, anywhere).ok().map(|endpoint| endpoint.host().to_owned())
}

impl Link {
    pub(crate) fn open(provider: Provider, settings: &Settings) -> Result<Self, Fault> {
        let target = endpoint(&provider.endpoint, settings)?;
        let client = |whole_call: Duration| {
            let timeouts = Timeouts { whole_call, idle: settings.idle_timeout, ..Timeouts::default() };
            Client::new(target.clone(), timeouts).map_err(|error| Fault::Provider(error.to_string()))
        };
        Ok(Self {
            host: target.host().to_owned(),
            calls: client(settings.call_deadline)?,
            beats: client(settings.heartbeat_timeout)?,
            permits: provider
                .max_concurrency
                .map(|most| Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(usize::MAX)))),
            provider,
        })
    }

    /// The provider's key, after its use by `holder` is in the log; `None` when it needs none.
    pub(crate) async fn key(
        &self,
        shared: &Arc<Shared>,
        holder: &str,
        purpose: &'static str,
    ) -> Result<Option<SecretString>, Fault> {
        let Some(key_id) = self.provider.key_id.clone().filter(|_| self.provider.requires_key) else {
            return Ok(None);
        };
        let (holder, host) = (holder.to_owned(), self.host.clone());
        let wanted = KeyUse { key_id, holder, host, purpose };
        VaultHandle(Arc::clone(shared)).use_key(wanted).await.map(Some)
    }

    /// Calls the provider for `holder`.
    pub(crate) async fn chat(
        &self,
        shared: &Arc<Shared>,
        holder: &str,
        request: &ChatRequest,
    ) -> Result<Completion, CallFailure> {
        let _permit = match &self.permits {
            // The semaphore is never closed; without it there is no limit to keep.
            Some(permits) => Arc::clone(permits).acquire_owned().await.ok(),
            None => None,
        };
        let key = self.key(shared, holder, "chat").await?;
        let started = Instant::now();
        tracing::debug!(target: "integration", provider = %self.provider.id, model = request.model, "call starts");
        let outcome = self.calls.chat(key.as_ref(), request).await;
        let latency_ms = millis(started.elapsed());
        let error = outcome.as_ref().err().map(ToString::to_string);
        tracing::debug!(target: "integration", provider = %self.provider.id, latency_ms, error, "call ends");
        let answer = outcome?;
        let (usage, price) = (answer.usage, &self.provider);
        let cost = cost_usd(
            usage.input_tokens,
            usage.output_tokens,
            price.price_input_per_mtok,
            price.price_output_per_mtok,
        );
        Ok(Completion { answer, latency_ms, cost_usd: cost, key_uses: u32::from(key.is_some()) })
    }

    /// The models the provider offers, and how long the answer took in milliseconds.
    pub(crate) async fn models(
        &self,
        shared: &Arc<Shared>,
        purpose: &'static str,
    ) -> (Result<Vec<ModelInfo>, CallFailure>, u64) {
        let key = match self.key(shared, &format!("heartbeat:{}", self.provider.id), purpose).await {
            Ok(key) => key,
            Err(fault) => return (Err(fault.into()), 0),
        };
        let started = Instant::now();
        let outcome = self.beats.list_models(key.as_ref()).await;
        (outcome.map_err(CallFailure::from), millis(started.elapsed()))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
