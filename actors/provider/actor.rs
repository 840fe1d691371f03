//! The actor of one provider: its health by the rule of three strikes, its client, its changes.
//!
//! Owns the client (connections, limits, our certificate's key), made anew when the row changes. Talks to the
//! store and the vault. Restart: at once; the client is made anew when it is wanted.

use crate::caller::Caller;
use crate::conflict_retry::{check_revision, until_fresh};
use crate::error::Fault;
use crate::provider::Answer;
use crate::provider::authorized_client::{Link, check};
use crate::runtime::cell::{Role, Scope};
use arbiter_core::kernel::call::CallOutcome;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::provider::edit::ProviderPatch;
use arbiter_core::provider::{self, Beat, Provider};
use arbiter_store::{Change, Heartbeat, Unit};
use std::sync::Arc;

/// What a caller wants of a provider.
pub(crate) enum Wish {
    Update(Box<ProviderPatch>),
    /// An update that is followed by a new value of the key, bound to where the provider is then.
    Rekey(Box<ProviderPatch>),
    Enable,
    Disable,
}

/// What a provider can be told.
pub(crate) enum Command {
    Change { caller: Caller, wish: Wish, answer: Answer<Provider> },
    Link { holder: String, answer: Answer<Arc<Link>> },
    Beat { beat: Beat, answer: Answer<Provider> },
    Observe(CallOutcome),
    Disconnect,
}

/// The actor of one provider.
pub(crate) struct ProviderActor {
    scope: Scope<Self>,
    link: Option<Arc<Link>>,
}

impl Role for ProviderActor {
    type Command = Command;
    const KIND: &'static str = "provider";

    fn new(scope: Scope<Self>) -> Self {
        Self { scope, link: None }
    }

    async fn start(&mut self) {}

    async fn handle(&mut self, command: Command) {
        // An answer that nobody waits for any more was still given to the store.
        match command {
            Command::Change { caller, wish, answer } => {
                let _ = answer.send(self.change(&caller, &wish).await);
            }
            Command::Link { holder, answer } => {
                let _ = answer.send(self.link(holder).await);
            }
            Command::Beat { beat, answer } => {
                let _ = answer.send(self.beat(&beat).await);
            }
            Command::Observe(outcome) => {
                if let Err(fault) = self.observe(&outcome).await {
                    let id = &self.scope.id;
                    tracing::warn!(provider = %id, %fault, "how a call went could not be noted");
                }
            }
            Command::Disconnect => self.link = None,
        }
    }
}

impl ProviderActor {
    async fn row(&self) -> Result<Provider, Fault> {
        let found = self.scope.shared.store.provider(self.scope.id.clone()).await?;
        found.ok_or_else(|| Refusal::not_found("provider", &self.scope.id).into())
    }

    async fn change(&mut self, caller: &Caller, wish: &Wish) -> Result<Provider, Fault> {
        let shared = &self.scope.shared;
        let after = until_fresh(async || {
            let provider = self.row().await?;
            check_revision(caller, &provider)?;
            let command = match wish {
                Wish::Update(patch) | Wish::Rekey(patch) => {
                    provider::Command::Update(Box::new(patch.apply(&provider)?))
                }
                Wish::Enable => provider::Command::Enable,
                Wish::Disable => provider::Command::Disable,
            };
            let mut unit = caller.unit(shared.clock.now(), "providers");
            let happenings = provider.decide(&command, &shared.settings.catalogue)?;
            let after = unit.happen(&provider, &happenings, Change::Provider);
            check(&after, &shared.settings)?;
            let moved = after.endpoint != provider.endpoint
                || after.key_id != provider.key_id
                || after.client_key_id != provider.client_key_id
                || after.requires_key != provider.requires_key;
            if moved && matches!(wish, Wish::Update(_)) {
                shared.vault_place.check_binding(&after)?;
            }
            if !unit.is_empty() {
                shared.store.commit(unit).await?;
            }
            Ok(after)
        })
        .await?;
        self.link = None;
        shared.provider_cache.forget();
        Ok(after)
    }

    async fn link(&mut self, holder: String) -> Result<Arc<Link>, Fault> {
        let provider = self.row().await?;
        if let Some(link) = self.link.as_ref().filter(|link| link.provider.revision == provider.revision) {
            return Ok(Arc::clone(link));
        }
        let link = Arc::new(Link::open(provider, &self.scope.shared, holder).await?);
        self.link = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Takes note of how a call went; mostly there is nothing to write.
    async fn observe(&self, outcome: &CallOutcome) -> Result<(), Fault> {
        let shared = &self.scope.shared;
        until_fresh(async || {
            let provider = self.row().await?;
            let mut unit = Unit::new(shared.clock.now(), "system", "providers");
            let command = provider::Command::Observe(outcome.clone());
            let happenings = provider.decide(&command, &shared.settings.catalogue)?;
            let after = unit.happen(&provider, &happenings, Change::Provider).struck(outcome);
            if after.failures != provider.failures {
                let (provider_id, failures) = (after.id.clone(), after.failures);
                unit.change(Change::Strikes { provider_id, failures });
            }
            if unit.is_empty() {
                return Ok(());
            }
            shared.store.commit(unit).await?;
            shared.breakers.strikes(&after.id, after.failures);
            shared.provider_cache.forget();
            Ok(())
        })
        .await
    }

    async fn beat(&self, beat: &Beat) -> Result<Provider, Fault> {
        let shared = &self.scope.shared;
        until_fresh(async || {
            let provider = self.row().await?;
            let mut unit = Unit::new(shared.clock.now(), "system", "heartbeats");
            let command = provider::Command::Beat(beat.clone());
            let happenings = provider.decide(&command, &shared.settings.catalogue)?;
            let after = unit.happen(&provider, &happenings, Change::Provider).measured(beat, unit.at);
            let (latency_ms, error) = match beat {
                Beat::Answered { latency_ms, .. } => (*latency_ms, None),
                Beat::Failed { error, latency_ms, .. } => (*latency_ms, Some(error.clone())),
            };
            let line = Heartbeat { at: unit.at, latency_ms, error };
            unit.change(Change::Beat { provider: after.clone(), beat: line });
            if let Beat::Answered { models, .. } = beat {
                let (provider_id, models) = (after.id.clone(), models.clone());
                unit.change(Change::Offer { provider_id, models });
            }
            shared.store.commit(unit).await?;
            shared.breakers.strikes(&after.id, after.failures);
            shared.provider_cache.forget();
            Ok(after)
        })
        .await
    }
}
