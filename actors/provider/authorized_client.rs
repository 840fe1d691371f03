//! The way to a provider: its client, and the one place where a key meets a request.

use crate::error::{Error, VaultAccessError};
use crate::provider::ProviderContext;
use crate::provider::call_failure::CallFailure;
use crate::settings::{PublicHttp, Settings};
use crate::vault::actor::KeyUse;
use arbiter_core::kernel::refusal::{Problems, Refusal};
use arbiter_core::provider::{Provider, ProviderType};
use arbiter_providers::{
    CallError, Client, ClientIdentity, Endpoint, EndpointPolicy, HttpPolicy, ModelInfo, Protocol,
    SocketPolicy, Timeouts, Tls, check_certificates,
};
use arbiter_vault::Scrubbed;
use secrecy::SecretString;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Purpose of a vault entry with the private key of a certificate, and of its use.
pub(crate) const TLS: &str = "tls";
/// Time that a call with a key may continue after the vault is locked; then the call is cancelled, and the key
/// dropped.
const CALL_AFTER_LOCK: Duration = Duration::from_secs(3);

/// A connected provider.
pub(crate) struct AuthorizedClient {
    pub(crate) provider: Provider,
    host: String,
    call_client: Client,
    heartbeat_client: Client,
}

/// Reads an endpoint by the configured rules.
pub(crate) fn endpoint(provider: &Provider, settings: &Settings) -> Result<Endpoint, Refusal> {
    let allow_public_http = match settings.public_http {
        PublicHttp::Allowed => HttpPolicy::Anywhere,
        PublicHttp::Refused => HttpPolicy::LocalOnly,
    };
    let sockets = match provider.provider_type {
        ProviderType::Local | ProviderType::Custom => SocketPolicy::Allowed,
        _ => SocketPolicy::Refused,
    };
    Endpoint::parse(&provider.endpoint, EndpointPolicy { allow_public_http, sockets })
        .map_err(|error| Refusal::field("endpoint", error.to_string()))
}

/// Checks what is to be connected to, and by which certificates.
pub(crate) fn check(provider: &Provider, settings: &Settings) -> Result<(), Refusal> {
    let target = endpoint(provider, settings)?;
    let mut problems = Problems::default();
    for (name, pem) in [("client_cert", &provider.client_cert), ("ca_cert", &provider.ca_cert)] {
        let Some(pem) = pem else { continue };
        if let Err(problem) = check_certificates(pem) {
            problems.require(false, name, problem.to_string());
        }
        problems.require(target.is_encrypted(), name, "must come with an https endpoint");
    }
    problems.finish()
}

/// A client for this endpoint by the configured limits, the whole of a call excepted.
pub(crate) fn client(
    provider: &Provider,
    target: Endpoint,
    identity: Option<&ClientIdentity>,
    settings: &Settings,
    whole_call: Duration,
) -> Result<Client, CallError> {
    let protocol = match provider.provider_type {
        ProviderType::Anthropic => Protocol::Anthropic,
        _ => Protocol::OpenAi,
    };
    let tls = Tls { identity: identity.cloned(), ca_cert: provider.ca_cert.clone() };
    let timeouts = Timeouts { whole_call, idle: settings.idle_timeout, ..Timeouts::default() };
    Client::with_protocol(target, timeouts, &tls, protocol)
}

impl AuthorizedClient {
    /// Connects for `holder`; the key of our certificate leaves the vault here and stays with the clients.
    pub(crate) async fn open(
        provider: Provider,
        shared: &Arc<ProviderContext>,
        holder: String,
    ) -> Result<Self, Error> {
        let settings = &shared.settings;
        let target = endpoint(&provider, settings)?;
        let identity = match provider.client_cert.clone().zip(provider.client_key_id.clone()) {
            Some((certificate, key_id)) => {
                let wanted = KeyUse { key_id, holder, host: target.host().to_owned(), purpose: TLS };
                let key = shared.vault.use_key(wanted).await?;
                Some(ClientIdentity { certificate, key })
            }
            None => None,
        };
        let client = |whole_call| {
            client(&provider, target.clone(), identity.as_ref(), settings, whole_call)
                .map_err(|error| Error::Provider(error.to_string()))
        };
        Ok(Self {
            host: target.host().to_owned(),
            call_client: client(settings.call_deadline)?,
            heartbeat_client: client(settings.heartbeat_timeout)?,
            provider,
        })
    }

    /// The provider's key, after its use by `holder` is in the log; `None` when it needs none.
    pub(crate) async fn key(
        &self,
        shared: &Arc<ProviderContext>,
        holder: &str,
        purpose: &'static str,
    ) -> Result<Option<SecretString>, Error> {
        let Some(key_id) = self.provider.key_id.clone().filter(|_| self.provider.requires_key) else {
            return Ok(None);
        };
        let (holder, host) = (holder.to_owned(), self.host.clone());
        let wanted = KeyUse { key_id, holder, host, purpose };
        shared.vault.use_key(wanted).await.map(Some)
    }

    /// Lends the client and the key to one call for `holder`; says whether a key went along. The call does not
    /// outlive the lock of the vault.
    pub(crate) async fn with_key<T>(
        &self,
        shared: &Arc<ProviderContext>,
        holder: &str,
        call: impl AsyncFnOnce(&Client, Option<&SecretString>) -> Result<T, CallError>,
    ) -> Result<(T, bool), CallFailure> {
        let next_lock = shared.open_vault.next_lock();
        let key = self.key(shared, holder, "chat").await?;
        let started = Instant::now();
        let provider = &self.provider.id;
        tracing::debug!(target: "integration", %provider, "call starts");
        let outcome = until_lock(call(&self.call_client, key.as_ref()), key.as_ref(), next_lock).await;
        let latency_ms = millis(started.elapsed());
        let error = outcome.as_ref().err().map(ToString::to_string);
        tracing::debug!(target: "integration", %provider, latency_ms, error, "call ends");
        Ok((outcome?, key.is_some()))
    }

    /// The models the provider offers, and how long the answer took in milliseconds.
    pub(crate) async fn models(
        &self,
        shared: &Arc<ProviderContext>,
        purpose: &'static str,
    ) -> (Result<Vec<ModelInfo>, CallFailure>, u64) {
        let next_lock = shared.open_vault.next_lock();
        let key = match self.key(shared, &format!("heartbeat:{}", self.provider.id), purpose).await {
            Ok(key) => key,
            Err(error) => return (Err(error.into()), 0),
        };
        let started = Instant::now();
        let call = self.heartbeat_client.list_models(key.as_ref());
        (until_lock(call, key.as_ref(), next_lock).await, millis(started.elapsed()))
    }
}

/// Ends when what was begun before a lock of the vault has to end.
pub(crate) async fn grace_after(lock: impl Future<Output = ()>) {
    lock.await;
    tokio::time::sleep(CALL_AFTER_LOCK).await;
}

/// A call that does not outlive the lock of the vault its key came from.
async fn until_lock<T>(
    call: impl Future<Output = Result<T, CallError>>,
    key: Option<&SecretString>,
    next_lock: impl Future<Output = ()>,
) -> Result<T, CallFailure> {
    if key.is_none() {
        return Ok(call.await?);
    }
    tokio::select! {
        outcome = Scrubbed::new(call) => Ok(outcome?),
        () = grace_after(next_lock) => Err(CallFailure::Error(VaultAccessError::Locked.into())),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
