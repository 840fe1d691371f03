//! Operations of the vault's actor on single entries, and the order of their two commits.
//!
//! A new value is a draft in the file first; the commit names it, together with all else that the request changes; then
//! the draft takes the place of its entry (`unfinished`). A deletion is committed to the log before the file changes, so
//! that none goes unrecorded.

use crate::error::Error;
use crate::runtime::random;
use crate::vault::VaultContext;
use crate::vault::actor::VaultActor;
use crate::vault::unfinished::{DRAFT, GENERATION};
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{KeyId, ProviderId};
use arbiter_core::kernel::lease::hex;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::provider::{Provider, authorize};
use arbiter_store::{Change, StoreError, Unit};
use arbiter_vault::{DraftChange, EntryInfo, Overwrite};
use secrecy::SecretString;
use serde_json::{Value, json};
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

    /// Changes a key and everything else in the unit: all of it, or nothing.
    pub(crate) async fn change(
        &mut self,
        mut unit: Unit,
        change: DraftChange,
        value: SecretString,
    ) -> Result<EntryInfo, Error> {
        self.require_open()?;
        self.recover_drafts().await?;
        let shared = Arc::clone(&self.context.shared);
        let change = self.over_orphan(change).await?;
        let (now, id) = (shared.clock.now(), change.id().clone());
        let before = shared.open_vault.snapshot().keys.get(id.as_str()).cloned();
        let name = hex(&random::bytes16());
        let drafting = shared
            .open_vault
            .work(&shared, move |vault| Ok((vault.draft(&name, change, &value, now)?, vault.generation())));
        let ((draft, after), generation) = drafting.await?;
        unit.events.insert(0, told(&draft, before.as_ref(), &after));
        unit.change(Change::RecordVaultGeneration(generation));
        shared.fault_injection.panic_if_armed("vault", "drafted");
        if let Err(error) = shared.store.commit(unit).await {
            self.roll_back(draft, &error).await;
            return Err(error.into());
        }
        shared.fault_injection.panic_if_armed("vault", "told");
        self.grants.retain(|grant, _| grant.key_id != id);
        self.finish_soon(draft).await;
        self.reset_idle_timer();
        if before.is_some() {
            // An idle connection keeps in its buffer what it sent last.
            shared.disconnect_providers();
        }
        // Providers that waited for the key get a heartbeat at once; without this list it comes in its time.
        for provider in shared.store.all_providers().await.unwrap_or_default() {
            if provider.has_key_reference(&id) {
                shared.beat_soon(&provider.id);
            }
        }
        Ok(after)
    }

    /// Lets a new key take the place of one that a deleted provider has left.
    async fn over_orphan(&self, change: DraftChange) -> Result<DraftChange, Error> {
        match change {
            DraftChange::Create { entry, over: Overwrite::Refused }
                if self.is_left_behind(entry.id.as_str()).await? =>
            {
                Ok(DraftChange::Create { entry, over: Overwrite::Allowed })
            }
            other => Ok(other),
        }
    }

    /// Removes a draft whose commit was refused. When the store's answer leaves open whether it holds, the draft stays:
    /// the log decides later.
    async fn roll_back(&self, draft: KeyId, error: &StoreError) {
        let is_refused = matches!(
            error,
            StoreError::Refused(_) | StoreError::Stale { .. } | StoreError::Busy | StoreError::Full
        );
        if !is_refused {
            return;
        }
        let (shared, id) = (&self.context.shared, draft.clone());
        if let Err(error) = shared.open_vault.work(shared, move |vault| vault.forget_draft(&id)).await {
            tracing::warn!(%error, %draft, "could not remove the draft of a refused change; a later change does it");
        }
    }

    /// Deletes a key, and commits everything else in the unit; a key that a provider needs stays, unless that is
    /// `owner`, which ends with this unit.
    pub(crate) async fn delete(
        &mut self,
        mut unit: Unit,
        id: KeyId,
        owner: Option<&ProviderId>,
    ) -> Result<(), Error> {
        self.require_open()?;
        self.recover_drafts().await?;
        let shared = Arc::clone(&self.context.shared);
        self.info(&id)?;
        let providers = shared.store.all_providers().await?;
        let needs = |provider: &&Provider| Some(&provider.id) != owner && provider.has_key_reference(&id);
        if let Some(provider) = providers.iter().find(needs) {
            let detail = format!("provider {} needs the key {id}", provider.id);
            return Err(Refusal::conflict(ProblemCode::InUse, detail).into());
        }
        unit.emit(NewEvent::of(EventType::KeyDeleted, id.as_str(), self.at_generation(json!({}))));
        self.commit(unit).await?;
        shared.fault_injection.panic_if_armed("vault", "deleted");
        self.remove(id).await
    }

    /// Removes a key whose deletion is in the log.
    pub(crate) async fn remove(&mut self, id: KeyId) -> Result<(), Error> {
        let shared = Arc::clone(&self.context.shared);
        self.grants.retain(|grant, _| grant.key_id != id);
        let writing = shared.open_vault.work(&shared, move |vault| {
            vault.delete(&id)?;
            Ok(vault.generation())
        });
        let generation = writing.await?;
        self.record_generation(generation).await;
        Ok(())
    }

    /// Adds to the data of an event the generation of the file before the write that the event tells of. A start that
    /// finds the file at this generation knows that the write never happened.
    pub(crate) fn at_generation(&self, mut data: Value) -> Value {
        data[GENERATION] = json!(self.context.shared.open_vault.snapshot().generation());
        data
    }

    fn info(&self, id: &KeyId) -> Result<EntryInfo, Error> {
        let found = self.context.shared.open_vault.snapshot().keys.get(id.as_str()).cloned();
        found.ok_or_else(|| Refusal::not_found("key", id.as_str()).into())
    }
}

/// The event of a drafted change of a key.
fn told(draft: &KeyId, before: Option<&EntryInfo>, after: &EntryInfo) -> NewEvent {
    let Some(before) = before else {
        let data = json!({
            "name": after.name, "purpose": after.purpose, "allowed_hosts": after.allowed_hosts, DRAFT: draft,
        });
        return NewEvent::of(EventType::KeyStored, after.id.as_str(), data);
    };
    let mut changes = json!({});
    if before.allowed_hosts != after.allowed_hosts {
        changes["allowed_hosts"] = json!({"old": before.allowed_hosts, "new": after.allowed_hosts});
    }
    let data = json!({"reason": "a new value", "changes": changes, DRAFT: draft});
    NewEvent::of(EventType::KeyUpdated, after.id.as_str(), data)
}
