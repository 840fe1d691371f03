//! Provider calls by a process with keys but without a store: a worker on another machine, or this process for
//! calls through a Temporal server.
//!
//! Keeps one client per provider, built from its last description. A key is passed with each request and is not
//! kept.

use crate::provider::authorized_client::{TLS, client, endpoint};
use crate::settings::Settings;
use crate::vault::codec_keys::family;
use crate::vault::key_source::KeySource;
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::provider::Provider;
use arbiter_providers::{CallError, ChatAnswer, ChatRequest, Client, ClientIdentity};
use arbiter_vault::{Iterations, Scrubbed, Vault, VaultError};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use secrecy::SecretString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The most clients that are kept.
const CLIENTS: usize = 64;

/// Makes calls with keys of some source.
pub struct ProviderWorker {
    keys: Arc<dyn KeySource>,
    settings: Settings,
    clients: Mutex<Vec<(Provider, Client)>>,
}

/// Reason why a call was not attempted; another worker may make it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotAttempted(pub String);

impl ProviderWorker {
    /// Calls with these keys and by these rules for endpoints.
    pub fn new(keys: Arc<dyn KeySource>, settings: Settings) -> Self {
        Self { keys, settings, clients: Mutex::default() }
    }

    /// Makes a call.
    ///
    /// # Errors
    /// [`NotAttempted`] when this worker lacks a key or cannot connect at all; how the provider answered is no error.
    pub async fn execute(
        &self,
        provider: &Provider,
        request: &ChatRequest,
        timeout: Duration,
    ) -> Result<Result<ChatAnswer, CallError>, NotAttempted> {
        let target =
            endpoint(provider, &self.settings).map_err(|refusal| NotAttempted(refusal.to_string()))?;
        let host = target.host().to_owned();
        let key = match &provider.key_id {
            Some(id) if provider.requires_key => {
                Some(self.keys.key(id.clone(), host.clone(), "provider").await.map_err(NotAttempted)?)
            }
            _ => None,
        };
        let client = self.client(provider, &host, target).await?;
        let call = Scrubbed::new(client.chat(key.as_ref(), request));
        Ok(match tokio::time::timeout(timeout, call).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::timed_out(timeout)),
        })
    }

    async fn client(
        &self,
        provider: &Provider,
        host: &str,
        target: arbiter_providers::Endpoint,
    ) -> Result<Client, NotAttempted> {
        let known = {
            let clients = self.clients.lock();
            clients.iter().find(|(of, _)| has_same_connection(of, provider)).map(|(_, client)| client.clone())
        };
        if let Some(client) = known {
            return Ok(client);
        }
        let identity = match provider.client_cert.clone().zip(provider.client_key_id.clone()) {
            Some((certificate, id)) => {
                let key = self.keys.key(id, host.to_owned(), TLS).await.map_err(NotAttempted)?;
                Some(ClientIdentity { certificate, key })
            }
            None => None,
        };
        let whole_call = self.settings.call_deadline;
        let client = client(provider, target, identity.as_ref(), &self.settings, whole_call)
            .map_err(|error| NotAttempted(error.to_string()))?;
        let mut clients = self.clients.lock();
        clients.retain(|(of, _)| of.id != provider.id);
        if clients.len() >= CLIENTS {
            clients.remove(0);
        }
        clients.push((provider.clone(), client.clone()));
        Ok(client)
    }

    /// Forgets every connection, and with them what they have sent.
    pub fn disconnect(&self) {
        self.clients.lock().clear();
    }
}

fn has_same_connection(a: &Provider, b: &Provider) -> bool {
    a.id == b.id
        && a.endpoint == b.endpoint
        && a.provider_type == b.provider_type
        && a.client_cert == b.client_cert
        && a.client_key_id == b.client_key_id
        && a.ca_cert == b.ca_cert
}

/// A vault file of its own, without a server: what a worker on another machine has.
#[derive(Clone)]
pub struct WorkerVault(Arc<Mutex<Vault>>);

impl WorkerVault {
    /// Opens the key file of a directory; it must be there.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn open(directory: &Path, password: SecretString, iterations: u32) -> Result<Self, VaultError> {
        let path = directory.join("keys.json");
        let iterations = Iterations::try_from(iterations)?;
        let opening = move || {
            let mut vault = Vault::open(path, iterations)?;
            vault.unlock(password)?;
            Ok(Self(Arc::new(Mutex::new(vault))))
        };
        match tokio::task::spawn_blocking(opening).await {
            Ok(opened) => opened,
            Err(_) => Err(VaultError::Locked),
        }
    }

    /// The keys of a family, the newest first, as [`crate::VaultHandle::codec_keys`] has them.
    ///
    /// # Errors
    /// Words.
    pub async fn codec_keys(&self, name: &str) -> Result<Vec<(KeyId, SecretString)>, String> {
        let entries = self.0.lock().entries();
        let mut keys = Vec::new();
        for (_, id) in family(entries, name) {
            let value = self.get(id.clone(), name.to_owned()).await?;
            keys.push((id, value));
        }
        Ok(keys)
    }

    async fn get(&self, id: KeyId, host: String) -> Result<SecretString, String> {
        let vault = Arc::clone(&self.0);
        let getting = move || vault.lock().get(&id, Some(&host)).map_err(|e| e.to_string());
        tokio::task::spawn_blocking(getting).await.unwrap_or_else(|_| Err("the vault failed".to_owned()))
    }
}

impl KeySource for WorkerVault {
    fn key(
        &self,
        id: KeyId,
        host: String,
        _: &'static str,
    ) -> BoxFuture<'static, Result<SecretString, String>> {
        let vault = self.clone();
        Box::pin(async move { vault.get(id, host).await })
    }
}
