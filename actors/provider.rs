//! Providers: the handle by which they are registered, changed and called.
//!
//! `provider/actor.rs` is the actor of one provider: it keeps the connected client and records health.
//! `heartbeat` is an actor of its own, so that a provider that hangs holds up no other command. A key meets a request
//! in `authorized_client`, or in `worker` when calls go through a Temporal server.

pub(crate) mod actor;
pub(crate) mod authorized_client;
pub(crate) mod breakers;
pub(crate) mod cache;
pub(crate) mod call_failure;
pub(crate) mod heartbeat;
pub(crate) mod key_rights;
pub(crate) mod socket_rights;
pub(crate) mod worker;

use crate::caller::Caller;
use crate::conflict_retry::{MAX_TRIES, check_revision, is_stale};
use crate::error::Error;
use crate::provider::actor::{Command, ProviderActor, ProviderRequest};
use crate::provider::authorized_client::{AuthorizedClient, TLS, check, endpoint};
use crate::provider::breakers::Breakers;
use crate::provider::cache::CachedProvider;
use crate::provider::cache::ProviderCache;
use crate::provider::heartbeat::{HeartbeatActor, HeartbeatsHandle};
use crate::runtime::random;
use crate::runtime::registry::{Affinity, IdlePolicy, Registry};
use crate::services::{Services, deref_to_services};
use crate::vault::VaultHandle;
use crate::vault::entries::PROVIDER_KEY;
use crate::vault::open_vault::OpenVault;
use arbiter_core::kernel::call::CallOutcome;
use arbiter_core::kernel::ids::{KeyId, ProviderId};
use arbiter_core::kernel::key_text;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::model::catalog::{Catalog, OfferedModel};
use arbiter_core::provider::authorize::ApiKey;
use arbiter_core::provider::edit::{Enabled, NewProvider, ProviderPatch};
use arbiter_core::provider::{HeartbeatResult, Provider};
use arbiter_store::Change;
use arbiter_vault::{DraftChange, NewEntry, Overwrite};
use secrecy::{ExposeSecret, SecretString};
use std::sync::{Arc, Weak};

/// Purpose of keys for provider calls.
const PROVIDER: &str = "provider";
/// The work that is reported when it fails.
const CHANGE: &str = "a change of a provider";

/// The parts that providers and their heartbeats use.
pub(crate) struct ProviderContext {
    pub(crate) services: Arc<Services>,
    pub(crate) vault: VaultHandle,
    pub(crate) open_vault: Arc<OpenVault>,
    pub(crate) breakers: Arc<Breakers>,
    pub(crate) provider_cache: ProviderCache,
    pub(crate) providers: Registry<ProviderActor>,
    pub(crate) heartbeats: Registry<HeartbeatActor>,
}

deref_to_services!(ProviderContext);

impl ProviderContext {
    pub(crate) fn new(services: Arc<Services>, vault: VaultHandle) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            services,
            open_vault: Arc::clone(&vault.0.open_vault),
            vault,
            breakers: Arc::default(),
            provider_cache: ProviderCache::default(),
            providers: Registry::new(Weak::clone(own), Affinity::Entities, IdlePolicy::Retire),
            heartbeats: Registry::new(Weak::clone(own), Affinity::Entities, IdlePolicy::Retire),
        })
    }
}

/// Handle of the providers' actors.
#[derive(Clone)]
pub struct ProvidersHandle(pub(crate) Arc<ProviderContext>);

impl ProvidersHandle {
    /// Registers a provider. A key that comes along goes into the vault, and only there. The first
    /// heartbeat follows at once.
    ///
    /// # Errors
    /// [`crate::VaultAccessError::Locked`] when there is a key and the vault is locked; [`Error::Refused`] for wrong
    /// fields, a taken id or a key that the caller may not name. Nothing is stored then.
    pub async fn register(
        &self,
        caller: &Caller,
        new: NewProvider,
        api_key: Option<SecretString>,
    ) -> Result<Provider, Error> {
        let (this, caller) = (self.clone(), caller.clone());
        let work = async move { this.add(&caller, new, api_key).await };
        self.0.run_to_completion("the registration of a provider", work).await
    }

    async fn add(
        &self,
        caller: &Caller,
        new: NewProvider,
        api_key: Option<SecretString>,
    ) -> Result<Provider, Error> {
        key_rights::check_new(&self.0, caller, &new)?;
        socket_rights::check_endpoint(&self.0, caller, Some(&new.endpoint), None).await?;
        let id = match &new.id {
            Some(text) => ProviderId::parse(text).map_err(|e| Refusal::field("id", e.to_string()))?,
            None => ProviderId::from_random(random::bytes16()),
        };
        check_key_text(api_key.as_ref())?;
        let key_id = api_key.as_ref().map(|_| own_key_id(&id));
        let requires_key = if api_key.is_some() { Some(true) } else { new.requires_key };
        let provider = NewProvider { requires_key, ..new }.build(id, key_id.clone(), self.0.clock.now())?;
        check(&provider, &self.0.settings)?;
        let target = endpoint(&provider, &self.0.settings)?;
        match (&key_id, &provider.key_id) {
            (Some(_), _) => self.0.open_vault.snapshot().check_open()?,
            (None, Some(named)) => self.check_key(named)?,
            (None, None) => {}
        }
        self.check_client_key(provider.client_key_id.as_ref()).await?;
        if self.0.store.provider(provider.id.to_string()).await?.is_some() {
            return Err(Refusal::Exists { entity: "provider", id: provider.id.to_string() }.into());
        }
        let mut unit = caller.unit(self.0.clock.now(), "providers");
        unit.create(&provider, Change::Provider);
        if let Some((id, value)) = key_id.zip(api_key) {
            self.check_client_key_host(&provider, target.host())?;
            let entry = key_entry(&provider, id, target.host());
            let change = DraftChange::Create { entry, over: Overwrite::Refused };
            self.0.vault.change_with(unit, change, value).await?;
        } else {
            self.0.open_vault.check_binding(&provider)?;
            self.0.store.commit(unit).await?;
            // With a key the vault has it beat.
            HeartbeatsHandle(Arc::clone(&self.0)).beat_soon(&provider.id);
        }
        self.0.provider_cache.invalidate();
        Ok(provider)
    }

    fn check_key(&self, key: &KeyId) -> Result<(), Refusal> {
        match self.0.open_vault.snapshot().keys.get(key.as_str()) {
            Some(entry) if entry.purpose == PROVIDER => Ok(()),
            Some(entry) => {
                let detail = format!("the key {key} is for {:?}, not for {PROVIDER:?}", entry.purpose);
                Err(Refusal::field("key_id", detail))
            }
            None => Err(Refusal::field("key_id", format!("the vault has no key {key}"))),
        }
    }

    /// Refuses a host to which the key of the provider's certificate may not go.
    fn check_client_key_host(&self, provider: &Provider, host: &str) -> Result<(), Error> {
        match &provider.client_key_id {
            Some(key) => Ok(self.0.open_vault.snapshot().check_host(key, host)?),
            None => Ok(()),
        }
    }

    async fn check_patched_client_key(&self, patch: &ProviderPatch) -> Result<(), Error> {
        let client_key = patch.client_key_id.clone().flatten().map(KeyId::from_trusted);
        self.check_client_key(client_key.as_ref()).await
    }

    /// Returns whether this entry of the vault, if one is named, can hold the private key of a certificate.
    async fn check_client_key(&self, wanted: Option<&KeyId>) -> Result<(), Error> {
        let Some(id) = wanted else { return Ok(()) };
        let entries = self.0.vault.entries();
        let detail = match entries.iter().find(|entry| entry.id == *id) {
            Some(entry) if entry.purpose == TLS => return Ok(()),
            Some(entry) => format!("the key {id} is for {:?}, not for {TLS:?}", entry.purpose),
            None => format!("the vault has no key {id}"),
        };
        Err(Refusal::field("client_key_id", detail).into())
    }

    /// Changes a provider's fields, its key and switches it on or off, in one commit. Running agents use it as it is from
    /// now on.
    ///
    /// # Errors
    /// As [`ProvidersHandle::register`], and [`Error::Refused`] for another revision than the caller's.
    pub async fn update(
        &self,
        caller: &Caller,
        id: &ProviderId,
        patch: ProviderPatch,
        switch: Option<Enabled>,
        api_key: Option<SecretString>,
    ) -> Result<Provider, Error> {
        check_key_text(api_key.as_ref())?;
        let (this, caller, id) = (self.clone(), caller.clone(), id.clone());
        let work = async move { this.edit(&caller, &id, patch, switch, api_key).await };
        self.0.run_to_completion(CHANGE, work).await
    }

    async fn edit(
        &self,
        caller: &Caller,
        id: &ProviderId,
        patch: ProviderPatch,
        switch: Option<Enabled>,
        api_key: Option<SecretString>,
    ) -> Result<Provider, Error> {
        let after = match api_key {
            Some(value) => {
                let mut outcome = self.rekey(caller, id, &patch, switch, &value).await;
                for _ in 1..MAX_TRIES {
                    if !is_stale(&outcome) {
                        break;
                    }
                    outcome = self.rekey(caller, id, &patch, switch, &value).await;
                }
                outcome?
            }
            None => {
                // A provider that is not there is said before a key that is not.
                let before = self.row(id).await?;
                key_rights::check_change(&self.0, caller, &before, &patch, ApiKey::Absent)?;
                socket_rights::check_endpoint(
                    &self.0,
                    caller,
                    patch.endpoint.as_deref(),
                    Some(&before.endpoint),
                )
                .await?;
                self.check_patched_client_key(&patch).await?;
                if let Some(Some(key)) = &patch.key_id {
                    self.check_key(&KeyId::from_trusted(key.as_str()))?;
                }
                let after = self.change(caller, id, ProviderRequest::Edit(Box::new(patch), switch)).await?;
                HeartbeatsHandle(Arc::clone(&self.0)).beat_soon(id);
                after
            }
        };
        Ok(after)
    }

    /// Changes a provider that brings a new key along: bound to where the provider is afterwards. Row and key are one
    /// unit.
    async fn rekey(
        &self,
        caller: &Caller,
        id: &ProviderId,
        patch: &ProviderPatch,
        switch: Option<Enabled>,
        value: &SecretString,
    ) -> Result<Provider, Error> {
        let place = &self.0.open_vault;
        let before = self.row(id).await?;
        key_rights::check_change(&self.0, caller, &before, patch, ApiKey::Given)?;
        socket_rights::check_endpoint(&self.0, caller, patch.endpoint.as_deref(), Some(&before.endpoint))
            .await?;
        self.check_patched_client_key(patch).await?;
        check_revision(caller, &before)?;
        place.snapshot().check_open()?;
        if let Some(Some(key)) = &patch.key_id
            && place.has_key(key)
        {
            self.check_key(&KeyId::from_trusted(key.as_str()))?;
        }
        let named = patch.key_id.clone().flatten().map(KeyId::from_trusted).or_else(|| before.key_id.clone());
        let key = named.filter(|key| place.has_key(key.as_str())).unwrap_or_else(|| own_key_id(id));
        let patch = ProviderPatch {
            key_id: Some(Some(key.to_string())),
            requires_key: patch.requires_key.or(Some(true)),
            ..patch.clone()
        };
        let mut unit = caller.unit(self.0.clock.now(), "providers");
        let after = actor::apply(&before, Some(&patch), switch, &self.0.settings, &mut unit)?;
        let host = endpoint(&after, &self.0.settings)?.host().to_owned();
        self.check_client_key_host(&after, &host)?;
        let change = if place.has_key(key.as_str()) {
            let others = self.0.store.all_providers().await?;
            let shared = others.iter().any(|other| other.id != *id && other.has_key_reference(&key));
            if shared {
                // The others go on sending it where they are, so its hosts are not this provider's to change.
                place.snapshot().check_host(&key, &host)?;
            }
            DraftChange::Replace { id: key, allowed_hosts: (!shared).then(|| vec![host]) }
        } else {
            DraftChange::Create { entry: key_entry(&after, key, &host), over: Overwrite::Refused }
        };
        self.0.vault.change_with(unit, change, value.clone()).await?;
        self.0.provider_cache.invalidate();
        Ok(after)
    }

    /// Switches a provider on; its next heartbeat says how it is.
    ///
    /// # Errors
    /// [`Error::Refused`] unless it is disabled.
    pub async fn enable(&self, caller: &Caller, id: &ProviderId) -> Result<Provider, Error> {
        let (this, caller, id) = (self.clone(), caller.clone(), id.clone());
        let work = async move {
            let provider = this.change(&caller, &id, ProviderRequest::Enable).await?;
            HeartbeatsHandle(Arc::clone(&this.0)).beat_soon(&id);
            Ok(provider)
        };
        self.0.run_to_completion(CHANGE, work).await
    }

    /// Switches a provider off; no heartbeat changes that.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is disabled already.
    pub async fn disable(&self, caller: &Caller, id: &ProviderId) -> Result<Provider, Error> {
        self.change(caller, id, ProviderRequest::Disable).await
    }

    /// Asks a provider how it is, now.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is disabled, [`crate::VaultAccessError::Locked`] when its key cannot be read.
    pub async fn heartbeat(&self, id: &ProviderId) -> Result<Provider, Error> {
        self.row(id).await?;
        HeartbeatsHandle(Arc::clone(&self.0)).heartbeat(id).await
    }

    /// Sends a heartbeat for an external timer.
    ///
    /// # Errors
    /// As [`ProvidersHandle::heartbeat`].
    pub async fn heartbeat_scheduled(&self, id: &ProviderId) -> Result<Provider, Error> {
        self.row(id).await?;
        HeartbeatsHandle(Arc::clone(&self.0)).beat_scheduled(id).await
    }

    /// Selects the model of a provider again, from its current offer.
    ///
    /// # Errors
    /// As [`ProvidersHandle::heartbeat`], and [`Error::Provider`] when it does not answer.
    pub async fn negotiate(&self, id: &ProviderId) -> Result<Provider, Error> {
        let provider = self.heartbeat(id).await?;
        match &provider.last_heartbeat_error {
            Some(error) => Err(Error::Provider(error.clone())),
            None => Ok(provider),
        }
    }

    /// The models that are known, the best first.
    pub fn catalogue(&self) -> &Catalog {
        &self.0.settings.catalogue
    }

    /// The models that a provider offered at its last heartbeat. Reading them uses no key and calls nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown provider.
    pub async fn models(&self, id: &ProviderId) -> Result<Vec<OfferedModel>, Error> {
        self.row(id).await?;
        Ok(self.0.store.offered_models(id.to_string()).await?)
    }

    /// Returns a provider's key for a call in this process; its use is in the log before this returns.
    /// `None` when the provider needs none.
    ///
    /// # Errors
    /// [`crate::VaultAccessError::Locked`]; [`Error::Refused`] for an unknown provider.
    pub async fn key(&self, caller: &Caller, id: &ProviderId) -> Result<Option<SecretString>, Error> {
        self.row(id).await?;
        let authorized_client = self.authorized_client(id, caller.name.clone()).await?;
        authorized_client.key(&self.0, &caller.name, "library").await
    }

    /// The way to a provider; `holder` uses the key of our certificate for it, if the way has to be made.
    pub(crate) async fn authorized_client(
        &self,
        id: &ProviderId,
        holder: String,
    ) -> Result<Arc<AuthorizedClient>, Error> {
        self.0.providers.ask_queued(id.as_str(), |answer| Command::AuthorizedClient { holder, answer }).await
    }

    /// Takes note of a heartbeat.
    pub(crate) async fn record_heartbeat(
        &self,
        id: &ProviderId,
        heartbeat: HeartbeatResult,
    ) -> Result<Provider, Error> {
        self.0.providers.ask(id.as_str(), |answer| Command::Heartbeat { heartbeat, answer }).await
    }

    /// Takes note of how a real call went, by and by. Nothing is written of a success that clears no strike.
    pub fn observe(&self, id: &ProviderId, outcome: CallOutcome) {
        self.0.providers.tell(id.as_str(), Command::Observe(outcome));
    }

    /// Returns every provider from the cache.
    pub(crate) async fn cached(&self) -> Result<Arc<[CachedProvider]>, Error> {
        self.0.provider_cache.all(&self.0.store).await
    }

    /// Returns the usable providers, the best first.
    pub(crate) async fn usable(&self) -> Result<Vec<CachedProvider>, Error> {
        self.0.provider_cache.usable(&self.0.store, &self.0.open_vault).await
    }

    /// Closes every connection to a provider.
    pub(crate) fn disconnect_all(&self) {
        self.0.providers.tell_all(|| Command::Disconnect);
    }

    /// Lets go of the actors and cached rows of a deleted provider.
    pub(crate) fn forget(&self, id: &ProviderId) {
        self.0.heartbeats.remove(id.as_str());
        self.0.providers.remove(id.as_str());
        self.0.provider_cache.invalidate();
    }

    pub(crate) async fn row(&self, id: &ProviderId) -> Result<Provider, Error> {
        let found = self.0.store.provider(id.to_string()).await?;
        found.ok_or_else(|| Refusal::not_found("provider", id.as_str()).into())
    }

    async fn change(
        &self,
        caller: &Caller,
        id: &ProviderId,
        request: ProviderRequest,
    ) -> Result<Provider, Error> {
        // An actor is started for a provider that exists, and for no other.
        self.row(id).await?;
        let caller = caller.clone();
        self.0.providers.ask(id.as_str(), |answer| Command::Change { caller, request, answer }).await
    }
}

/// Returns the id of a key that was given together with its provider.
pub(crate) fn own_key_id(id: &ProviderId) -> KeyId {
    KeyId::from_trusted(format!("{PROVIDER_KEY}{id}"))
}

/// Refuses a key that no header can carry.
fn check_key_text(api_key: Option<&SecretString>) -> Result<(), Refusal> {
    match api_key.and_then(|key| key_text::problem(key.expose_secret())) {
        Some(problem) => Err(Refusal::field("api_key", problem)),
        None => Ok(()),
    }
}

fn key_entry(provider: &Provider, id: KeyId, host: &str) -> NewEntry {
    NewEntry {
        id,
        name: provider.name.clone(),
        description: format!("API Key for {}", provider.name),
        purpose: PROVIDER.to_owned(),
        allowed_hosts: vec![host.to_owned()],
    }
}
