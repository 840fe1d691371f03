//! Operations of the vault's actor on single entries, and the order of their two commits.
//!
//! A create writes the file first: a row without its key would be worse than a key without its row, which
//! is reported. What replaces or deletes tells first, so that nothing that was there changes unrecorded.

use crate::caller::Caller;
use crate::error::Error;
use crate::vault::VaultContext;
use crate::vault::actor::VaultActor;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::provider::authorize;
use arbiter_store::{Change, StoreError, Unit};
use arbiter_vault::{EntryInfo, NewEntry};
use secrecy::SecretString;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Prefix of the id of a provider's key; the provider's id follows.
pub(crate) const PROVIDER_KEY: &str = authorize::OWN_KEY;

/// Keys named and meant for a provider that does not exist, and used by no other.
pub(crate) async fn orphans(shared: &VaultContext) -> Result<Vec<String>, Error> {
    let candidates: Vec<String> = {
        let snapshot = shared.open_vault.snapshot();
        let keys = snapshot.keys.iter();
        keys.filter(|(id, entry)| id.starts_with(PROVIDER_KEY) && entry.purpose == "provider")
            .map(|(id, _)| id.clone())
            .collect()
    };
    if candidates.is_empty() {
        return Ok(candidates);
    }
    let providers = shared.store.all_providers().await?;
    let own = providers.iter().map(|provider| format!("{PROVIDER_KEY}{}", provider.id));
    let named = providers.iter().flat_map(|provider| provider.keys().map(ToString::to_string));
    let wanted: BTreeSet<String> = own.chain(named).collect();
    Ok(candidates.into_iter().filter(|id| !wanted.contains(id)).collect())
}

impl VaultActor {
    pub(crate) async fn warn_of_orphans(&self) {
        match orphans(&self.context.shared).await {
            Ok(ids) if ids.is_empty() => {}
            Ok(ids) => tracing::warn!(keys = ids.join(", "), "no provider exists for these keys"),
            Err(error) => tracing::warn!(%error, "keys could not be compared with the providers"),
        }
    }

    pub(crate) async fn store(
        &mut self,
        mut unit: Unit,
        entry: NewEntry,
        value: SecretString,
    ) -> Result<EntryInfo, Error> {
        self.require_open()?;
        let shared = Arc::clone(&self.context.shared);
        let (now, id) = (shared.clock.now(), entry.id.clone());
        let writing = shared.open_vault.work(&shared, move |vault| {
            vault.create(entry, value, now)?;
            Ok(vault.generation())
        });
        let generation = writing.await?;
        let stored = self.info(&id)?;
        let data =
            json!({"name": stored.name, "purpose": stored.purpose, "allowed_hosts": stored.allowed_hosts});
        unit.events.insert(0, NewEvent::of(EventType::KeyStored, id.as_str(), data));
        unit.change(Change::RecordVaultGeneration(generation));
        if let Err(error) = shared.store.commit(unit).await {
            self.roll_back(id, &error).await;
            return Err(error.into());
        }
        self.reset_idle_timer();
        // Providers that waited for the key get a heartbeat at once.
        for provider in shared.store.all_providers().await? {
            if provider.has_key_reference(&id) {
                shared.beat_soon(&provider.id);
            }
        }
        Ok(stored)
    }

    /// Removes an entry whose commit was refused. When the store's answer leaves open whether it holds, the
    /// entry stays: it can be reported, a lost key cannot.
    async fn roll_back(&self, id: KeyId, error: &StoreError) {
        let refused = matches!(
            error,
            StoreError::Refused(_) | StoreError::Stale { .. } | StoreError::Busy | StoreError::Full
        );
        if !refused {
            return;
        }
        let (shared, key) = (&self.context.shared, id.clone());
        if let Err(error) = shared.open_vault.work(shared, move |vault| vault.delete(&key)).await {
            tracing::warn!(%error, key = %id, "a key stays that nothing tells of");
        }
    }

    pub(crate) async fn replace(
        &mut self,
        caller: &Caller,
        id: KeyId,
        value: SecretString,
        allowed_hosts: Option<Vec<String>>,
    ) -> Result<EntryInfo, Error> {
        self.require_open()?;
        let shared = Arc::clone(&self.context.shared);
        let before = self.info(&id)?;
        let mut changes = json!({});
        if let Some(hosts) = &allowed_hosts
            && *hosts != before.allowed_hosts
        {
            changes["allowed_hosts"] = json!({"old": before.allowed_hosts, "new": hosts});
        }
        let mut unit = self.unit(caller);
        let data = json!({"reason": "a new value", "changes": changes});
        unit.emit(NewEvent::of(EventType::KeyUpdated, id.as_str(), data));
        self.commit(unit).await?;
        self.grants.retain(|grant, _| grant.key_id != id);
        let (now, key) = (shared.clock.now(), id.clone());
        let writing = shared.open_vault.work(&shared, move |vault| {
            match &allowed_hosts {
                Some(hosts) => vault.rebind(&key, value, hosts, now)?,
                None => vault.replace(&key, value, now)?,
            }
            Ok(vault.generation())
        });
        let generation = writing.await?;
        // An idle connection keeps in its buffer what it sent last.
        shared.disconnect_providers();
        self.record_generation(generation).await;
        self.reset_idle_timer();
        self.info(&id)
    }

    pub(crate) async fn delete(&mut self, caller: &Caller, id: KeyId) -> Result<(), Error> {
        self.require_open()?;
        let shared = Arc::clone(&self.context.shared);
        self.info(&id)?;
        let providers = shared.store.all_providers().await?;
        if let Some(provider) = providers.iter().find(|provider| provider.has_key_reference(&id)) {
            let detail = format!("provider {} needs the key {id}", provider.id);
            return Err(Refusal::conflict(ProblemCode::InUse, detail).into());
        }
        let mut unit = self.unit(caller);
        unit.emit(NewEvent::of(EventType::KeyDeleted, id.as_str(), json!({})));
        self.commit(unit).await?;
        self.grants.retain(|grant, _| grant.key_id != id);
        let writing = shared.open_vault.work(&shared, move |vault| {
            vault.delete(&id)?;
            Ok(vault.generation())
        });
        let generation = writing.await?;
        self.record_generation(generation).await;
        Ok(())
    }

    fn info(&self, id: &KeyId) -> Result<EntryInfo, Error> {
        let found = self.context.shared.open_vault.snapshot().keys.get(id.as_str()).cloned();
        found.ok_or_else(|| Refusal::not_found("key", id.as_str()).into())
    }
}
