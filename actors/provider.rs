//! Providers as others reach them: registering, changing, deleting, calling.
//!
//! What a provider's actor does with it is in `provider_actor`.

use crate::agent::delete_agent;
use crate::caller::{Caller, Cascade};
use crate::entropy;
use crate::fault::{Fault, VaultFault};
use crate::heartbeat::HeartbeatsHandle;
use crate::provider_actor::{Command, Wish};
use crate::provider_link::{CallFailure, Link, TLS, check};
use crate::shared::Shared;
use crate::vault::VaultHandle;
use arbiter_core::event::NewEvent;
use arbiter_core::event_type::EventType;
use arbiter_core::ids::{KeyId, ProviderId};
use arbiter_core::provider::{Beat, Provider};
use arbiter_core::provider_change::{NewProvider, ProviderPatch};
use arbiter_core::refusal::Refusal;
use arbiter_core::vault::Status as VaultStatus;
use arbiter_providers::ModelInfo;
use arbiter_store::{Change, Write};
use arbiter_vault::NewEntry;
use secrecy::SecretString;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::oneshot;

/// How others reach providers.
#[derive(Clone)]
pub struct ProvidersHandle(pub(crate) Arc<Shared>);

pub(crate) type Answer<T> = oneshot::Sender<Result<T, Fault>>;

impl ProvidersHandle {
    /// Registers a provider. A key that comes along goes into the vault, and only there. The first
    /// heartbeat follows at once.
    ///
    /// # Errors
    /// [`VaultFault::Locked`] when there is a key and the vault is locked; [`Fault::Refused`] for wrong
    /// fields or a taken id. Nothing is stored then.
    pub async fn register(
        &self,
        caller: &Caller,
        new: NewProvider,
        api_key: Option<SecretString>,
    ) -> Result<Provider, Fault> {
        let id = match &new.id {
            Some(text) => ProviderId::chosen(text).map_err(|e| Refusal::field("id", e.to_string()))?,
            None => ProviderId::from_random(entropy::bytes16()),
        };
        let key_id = api_key.as_ref().map(|_| KeyId::known(format!("key_{id}")));
        let requires_key = if api_key.is_some() { Some(true) } else { new.requires_key };
        let provider = NewProvider { requires_key, ..new }.build(id, key_id.clone(), self.0.clock.now())?;
        check(&provider, &self.0.settings)?;
        self.check_key(&provider, api_key.is_some())?;
        self.check_client_key(provider.client_key_id.as_ref()).await?;
        if self.0.store.provider(provider.id.to_string()).await?.is_some() {
            return Err(Refusal::Exists { entity: "provider", id: provider.id.to_string() }.into());
        }
        // The vault first: a row whose key is missing would be worse than a key without a row.
        let vault = VaultHandle(Arc::clone(&self.0));
        if let Some((id, value)) = key_id.clone().zip(api_key) {
            vault.store(caller, key_entry(&provider, id), value).await?;
        }
        let mut unit = caller.unit(self.0.clock.now(), "providers");
        unit.create(&provider, Change::Provider);
        if let Err(error) = self.0.store.commit(unit).await {
            if let Some(id) = &key_id {
                // Best effort: what stays is reported as a key without a provider.
                let _ = vault.delete(caller, id).await;
            }
            return Err(error.into());
        }
        HeartbeatsHandle(Arc::clone(&self.0)).wake(&provider.id);
        Ok(provider)
    }

    fn check_key(&self, provider: &Provider, brings_key: bool) -> Result<(), Fault> {
        match &provider.key_id {
            Some(_) if brings_key => match self.0.vault_place.sight().status {
                VaultStatus::Unlocked => Ok(()),
                _ => Err(VaultFault::Locked.into()),
            },
            Some(id) if !self.0.vault_place.knows(id.as_str()) => {
                Err(Refusal::field("key_id", format!("the vault has no key {id}")).into())
            }
            _ => Ok(()),
        }
    }

    /// Whether this entry of the vault, if one is named, can hold the private key of a certificate.
    async fn check_client_key(&self, wanted: Option<&KeyId>) -> Result<(), Fault> {
        let Some(id) = wanted else { return Ok(()) };
        let entries = VaultHandle(Arc::clone(&self.0)).entries().await?;
        let detail = match entries.iter().find(|entry| entry.id == *id) {
            Some(entry) if entry.purpose == TLS => return Ok(()),
            Some(entry) => format!("the key {id} is for {:?}, not for {TLS:?}", entry.purpose),
            None => format!("the vault has no key {id}"),
        };
        Err(Refusal::field("client_key_id", detail).into())
    }

    /// Changes a provider; running agents use it as it is from now on.
    ///
    /// # Errors
    /// As [`ProvidersHandle::register`], and [`Fault::Refused`] for another revision than the caller's.
    pub async fn update(
        &self,
        caller: &Caller,
        id: &ProviderId,
        patch: ProviderPatch,
        api_key: Option<SecretString>,
    ) -> Result<Provider, Fault> {
        let vault = VaultHandle(Arc::clone(&self.0));
        let before = self.row(id).await?;
        let client_key = patch.client_key_id.clone().flatten().map(KeyId::known);
        self.check_client_key(client_key.as_ref()).await?;
        let mut patch = patch;
        let mut rotate = None;
        if let Some(value) = api_key {
            if self.0.vault_place.sight().status != VaultStatus::Unlocked {
                return Err(VaultFault::Locked.into());
            }
            match before.key_id.clone().filter(|key| self.0.vault_place.knows(key.as_str())) {
                // Rotation: the row first, then the value.
                Some(key) => rotate = Some((key, value)),
                None => {
                    let key = KeyId::known(format!("key_{id}"));
                    let entry = key_entry(&before, key.clone());
                    vault.store(caller, entry, value).await?;
                    patch.key_id = Some(Some(key.to_string()));
                    patch.requires_key = Some(true);
                }
            }
        }
        if let Some(Some(key)) = &patch.key_id
            && !self.0.vault_place.knows(key)
        {
            return Err(Refusal::field("key_id", format!("the vault has no key {key}")).into());
        }
        let after = self.change(caller, id, Wish::Update(Box::new(patch))).await?;
        if let Some((key, value)) = rotate {
            vault.replace(caller, &key, value).await?;
        }
        HeartbeatsHandle(Arc::clone(&self.0)).beat_soon(id);
        Ok(after)
    }

    /// Switches a provider on; its next heartbeat says how it is.
    ///
    /// # Errors
    /// [`Fault::Refused`] unless it is disabled.
    pub async fn enable(&self, caller: &Caller, id: &ProviderId) -> Result<Provider, Fault> {
        let provider = self.change(caller, id, Wish::Enable).await?;
        HeartbeatsHandle(Arc::clone(&self.0)).beat_soon(id);
        Ok(provider)
    }

    /// Switches a provider off; no heartbeat changes that.
    ///
    /// # Errors
    /// [`Fault::Refused`] when it is disabled already.
    pub async fn disable(&self, caller: &Caller, id: &ProviderId) -> Result<Provider, Fault> {
        self.change(caller, id, Wish::Disable).await
    }

    /// Asks a provider how it is, now.
    ///
    /// # Errors
    /// [`Fault::Refused`] when it is disabled, [`VaultFault::Locked`] when its key cannot be read.
    pub async fn heartbeat(&self, id: &ProviderId) -> Result<Provider, Fault> {
        self.row(id).await?;
        HeartbeatsHandle(Arc::clone(&self.0)).beat(id).await
    }

    /// The models a provider offers now.
    ///
    /// # Errors
    /// [`Fault::Provider`] when it does not answer.
    pub async fn models(&self, id: &ProviderId) -> Result<Vec<ModelInfo>, Fault> {
        let link = self.link(id, format!("heartbeat:{id}")).await?;
        let (outcome, _) = link.models(&self.0, "models").await;
        outcome.map_err(|failure| match failure {
            CallFailure::Fault(fault) => fault,
            CallFailure::Call(error) => Fault::Provider(error.to_string()),
        })
    }

    /// A provider's key, for whoever calls it in this process; the use is in the log before this returns.
    /// `None` when the provider needs none.
    ///
    /// # Errors
    /// [`VaultFault::Locked`]; [`Fault::Refused`] for an unknown provider.
    pub async fn key(&self, caller: &Caller, id: &ProviderId) -> Result<Option<SecretString>, Fault> {
        let link = self.link(id, caller.name.clone()).await?;
        link.key(&self.0, &caller.name, "library").await
    }

    /// Deletes a provider and its key; with [`Cascade::Yes`] the agents that use it go with it.
    ///
    /// # Errors
    /// [`Fault::Refused`] while agents use it; [`VaultFault::Locked`] when its key cannot be deleted.
    pub async fn delete(&self, caller: &Caller, id: &ProviderId, cascade: Cascade) -> Result<(), Fault> {
        let provider = self.row(id).await?;
        crate::commit::check_revision(caller, &provider)?;
        let own_key = provider.key_id.clone().filter(|key| key.as_str() == format!("key_{id}"));
        if own_key.is_some() && self.0.vault_place.sight().status != VaultStatus::Unlocked {
            return Err(VaultFault::Locked.into());
        }
        let agents = self.0.store.agents_of_provider(id.to_string()).await?;
        if let (Cascade::No, Some(agent)) = (cascade, agents.first()) {
            let detail = format!("agent {} uses provider {id}; use cascade=true to delete it too", agent.id);
            return Err(Refusal::conflict("in-use", detail).into());
        }
        let mut unit = caller.unit(self.0.clock.now(), "providers");
        for agent in &agents {
            delete_agent(&self.0, &mut unit, agent).await?;
        }
        let data = json!({"name": provider.name});
        unit.tell(NewEvent::of(EventType::ProviderDeleted, id.as_str(), data));
        unit.change(Change::Provider(Write::Delete { row: provider }));
        self.0.store.commit(unit).await?;
        if !agents.is_empty() {
            self.0.token_cache.load(&self.0).await?;
        }
        for agent in &agents {
            self.0.runs.abort_all(&agent.id);
            self.0.agents.remove(agent.id.as_str());
        }
        self.0.heartbeats.remove(id.as_str());
        self.0.providers.remove(id.as_str());
        if let Some(key) = own_key {
            VaultHandle(Arc::clone(&self.0)).delete(caller, &key).await?;
        }
        Ok(())
    }

    /// The way to a provider; `holder` uses the key of our certificate for it, if the way has to be made.
    pub(crate) async fn link(&self, id: &ProviderId, holder: String) -> Result<Arc<Link>, Fault> {
        self.0.providers.ask(&self.0, id.as_str(), |answer| Command::Link { holder, answer }).await
    }

    /// Takes note of a heartbeat.
    pub(crate) async fn note_beat(&self, id: &ProviderId, beat: Beat) -> Result<Provider, Fault> {
        self.0.providers.ask(&self.0, id.as_str(), |answer| Command::Beat { beat, answer }).await
    }

    /// Closes every connection, so that none that carried a key stays open.
    pub(crate) fn disconnect_all(&self) {
        self.0.providers.tell_all(|| Command::Disconnect);
    }

    async fn row(&self, id: &ProviderId) -> Result<Provider, Fault> {
        let found = self.0.store.provider(id.to_string()).await?;
        found.ok_or_else(|| Refusal::not_found("provider", id.as_str()).into())
    }

    async fn change(&self, caller: &Caller, id: &ProviderId, wish: Wish) -> Result<Provider, Fault> {
        let caller = caller.clone();
        self.0.providers.ask(&self.0, id.as_str(), |answer| Command::Change { caller, wish, answer }).await
    }
}

fn key_entry(provider: &Provider, id: KeyId) -> NewEntry {
    NewEntry {
        id,
        name: provider.name.clone(),
        description: format!("API Key for {}", provider.name),
        purpose: "provider".to_owned(),
        allowed_hosts: vec![],
    }
}
