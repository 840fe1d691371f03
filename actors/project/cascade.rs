//! Deletion of a provider together with the agents that use it.
//!
//! The cascade needs both nouns, and providers know no agents.

use crate::agent::delete_agent;
use crate::caller::{Caller, Cascade};
use crate::conflict_retry::check_revision;
use crate::error::Error;
use crate::project::ProjectsHandle;
use crate::provider::own_key_id;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{KeyId, ProviderId};
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::provider::authorize;
use arbiter_store::{Change, StoreError, Write};
use serde_json::json;

/// The number of attempts of a deletion while heartbeats change the row in between.
const MAX_TRIES: u32 = 5;

impl ProjectsHandle {
    /// Deletes a provider and its key; with [`Cascade::Yes`] the agents that use it go with it.
    ///
    /// # Errors
    /// [`Error::Refused`] while agents use it; [`crate::VaultAccessError::Locked`] when its key cannot be deleted.
    pub async fn delete_provider(
        &self,
        caller: &Caller,
        id: &ProviderId,
        cascade: Cascade,
    ) -> Result<(), Error> {
        let (this, caller, id) = (self.clone(), caller.clone(), id.clone());
        let work = async move { this.delete_with_agents(&caller, &id, cascade).await };
        self.0.run_to_completion("the deletion of a provider", work).await
    }

    async fn delete_with_agents(
        &self,
        caller: &Caller,
        id: &ProviderId,
        cascade: Cascade,
    ) -> Result<(), Error> {
        for _ in 1..MAX_TRIES {
            match self.try_delete(caller, id, cascade).await {
                // A heartbeat or an agent's change came in between; a caller that named a revision is refused.
                Err(Error::Store(StoreError::Stale { .. })) if caller.if_match.is_none() => {}
                other => return other,
            }
        }
        self.try_delete(caller, id, cascade).await
    }

    async fn try_delete(&self, caller: &Caller, id: &ProviderId, cascade: Cascade) -> Result<(), Error> {
        let provider = self.0.providers.row(id).await?;
        authorize::manage(&caller.authority)?;
        check_revision(caller, &provider)?;
        let own_key_id = provider.key_id.clone().filter(|key| *key == own_key_id(id));
        let own_key_id = own_key_id.filter(|key| self.0.vault.0.open_vault.has_key(key.as_str()));
        let others = self.0.store.all_providers().await?;
        let needed = |key: &KeyId| others.iter().any(|o| o.id != *id && o.has_key_reference(key));
        // A key that another provider uses too stays.
        let own_key_id = own_key_id.filter(|key| !needed(key));
        if own_key_id.is_some() {
            self.0.vault.0.open_vault.snapshot().check_open()?;
        }
        let agents = self.0.store.agents_of_provider(id.to_string()).await?;
        if let (Cascade::No, Some(agent)) = (cascade, agents.first()) {
            let detail = format!("agent {} uses provider {id}; use cascade=true to delete it too", agent.id);
            return Err(Refusal::conflict(ProblemCode::InUse, detail).into());
        }
        let mut unit = caller.unit(self.0.clock.now(), "providers");
        for agent in &agents {
            delete_agent(&self.0.store, &mut unit, agent).await?;
        }
        let data = json!({"name": provider.name});
        unit.emit(NewEvent::of(EventType::ProviderDeleted, id.as_str(), data));
        unit.change(Change::Provider(Write::Delete { row: provider }));
        // The key ends in the commit that ends its provider.
        match own_key_id {
            Some(key) => self.0.vault.delete_with(unit, &key, Some(id.clone())).await?,
            None => drop(self.0.store.commit(unit).await?),
        }
        for agent in &agents {
            self.0.agents.forget(&agent.id);
        }
        self.0.providers.forget(id);
        self.0.limiters.remove(id);
        if !agents.is_empty() {
            self.0.token_cache.reload(&self.0).await?;
        }
        Ok(())
    }
}
