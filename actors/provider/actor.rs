//! The actor of one provider: its health by the rule of three strikes, its client, its changes.
//!
//! Owns the client (connections, limits, our certificate's key), made anew when the row changes. Talks to the
//! store and the vault. Restart: at once; the client is made anew when it is wanted.

use crate::actor_kind::ActorKind;
use crate::caller::Caller;
use crate::conflict_retry::{check_revision, retry_on_conflict};
use crate::error::Error;
use crate::error::Reply;
use crate::provider::ProviderContext;
use crate::provider::authorized_client::{AuthorizedClient, check};
use crate::provider::key_rights;
use crate::runtime::cell::{Behavior, BehaviorContext};
use crate::settings::Settings;
use arbiter_core::kernel::call::CallOutcome;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::provider::authorize::{self, ApiKey};
use arbiter_core::provider::edit::{Enabled, ProviderPatch};
use arbiter_core::provider::{self, HeartbeatResult, Provider};
use arbiter_store::{Change, Heartbeat, Unit};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Operation of a caller on a provider.
pub(crate) enum ProviderRequest {
    /// Fields and switch in one unit of work.
    Edit(Box<ProviderPatch>, Option<Enabled>),
    Enable,
    Disable,
}

/// Command of the provider's actor.
pub(crate) enum Command {
    Change { caller: Caller, request: ProviderRequest, answer: Reply<Provider> },
    AuthorizedClient { holder: String, answer: Reply<Arc<AuthorizedClient>> },
    Heartbeat { heartbeat: HeartbeatResult, answer: Reply<Provider> },
    Observe(CallOutcome),
    Disconnect,
}

/// The actor of one provider.
pub(crate) struct ProviderActor {
    context: BehaviorContext<Self>,
    authorized_client: Option<Arc<AuthorizedClient>>,
}

impl Behavior for ProviderActor {
    type Command = Command;
    type Host = ProviderContext;
    const KIND: ActorKind = ActorKind::Provider;

    fn new(context: BehaviorContext<Self>) -> Self {
        Self { context, authorized_client: None }
    }

    async fn start(&mut self) {
        self.keep_if_known().await;
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Change { caller, request, answer } => {
                answer.with(self.change(&caller, &request)).await;
            }
            Command::AuthorizedClient { holder, answer } => {
                answer.with(self.authorized_client(holder)).await;
            }
            Command::Heartbeat { heartbeat, answer } => {
                answer.with(self.heartbeat(&heartbeat)).await;
            }
            Command::Observe(outcome) => {
                if let Err(error) = self.observe(&outcome).await {
                    let id = &self.context.id;
                    tracing::warn!(provider = %id, %error, "how a call went could not be noted");
                }
            }
            Command::Disconnect => self.authorized_client = None,
        }
    }
}

/// Refuses what the caller may not do to this row. The rights of a new key's value are decided before it goes
/// into the vault.
fn check_rights(
    shared: &ProviderContext,
    caller: &Caller,
    before: &Provider,
    request: &ProviderRequest,
) -> Result<(), Refusal> {
    match request {
        ProviderRequest::Edit(patch, _) => {
            key_rights::check_change(shared, caller, before, patch, ApiKey::Absent)
        }
        ProviderRequest::Enable | ProviderRequest::Disable => authorize::manage(&caller.authority),
    }
}

impl ProviderActor {
    /// Lets the actor go when it was started by a message about a provider that does not exist, or no longer.
    async fn keep_if_known(&self) {
        let is_unknown = matches!(self.row().await, Err(Error::Refused(Refusal::NotFound { .. })));
        self.context.pin.store(!is_unknown, Ordering::Release);
    }

    async fn row(&self) -> Result<Provider, Error> {
        let found = self.context.shared.store.provider(self.context.id.clone()).await?;
        found.ok_or_else(|| Refusal::not_found("provider", &self.context.id).into())
    }

    async fn change(&mut self, caller: &Caller, request: &ProviderRequest) -> Result<Provider, Error> {
        let shared = &self.context.shared;
        let after = retry_on_conflict(async || {
            let provider = self.row().await?;
            check_rights(shared, caller, &provider, request)?;
            check_revision(caller, &provider)?;
            let (patch, switch) = match request {
                ProviderRequest::Edit(patch, switch) => (Some(patch.as_ref()), *switch),
                ProviderRequest::Enable => (None, Some(Enabled::Yes)),
                ProviderRequest::Disable => (None, Some(Enabled::No)),
            };
            let mut unit = caller.unit(shared.clock.now(), "providers");
            let after = apply(&provider, patch, switch, &shared.settings, &mut unit)?;
            let moved = after.endpoint != provider.endpoint
                || after.key_id != provider.key_id
                || after.client_key_id != provider.client_key_id
                || after.requires_key != provider.requires_key;
            if moved {
                shared.open_vault.check_binding(&after)?;
            }
            if !unit.is_empty() {
                shared.store.commit(unit).await?;
            }
            Ok(after)
        })
        .await?;
        self.authorized_client = None;
        shared.provider_cache.invalidate();
        Ok(after)
    }

    async fn authorized_client(&mut self, holder: String) -> Result<Arc<AuthorizedClient>, Error> {
        let provider = self.row().await?;
        if let Some(authorized_client) = self
            .authorized_client
            .as_ref()
            .filter(|authorized_client| authorized_client.provider.revision == provider.revision)
        {
            return Ok(Arc::clone(authorized_client));
        }
        let authorized_client =
            Arc::new(AuthorizedClient::open(provider, &self.context.shared, holder).await?);
        self.authorized_client = Some(Arc::clone(&authorized_client));
        Ok(authorized_client)
    }

    /// Takes note of how a call went; mostly there is nothing to write.
    async fn observe(&self, outcome: &CallOutcome) -> Result<(), Error> {
        let shared = &self.context.shared;
        retry_on_conflict(async || {
            let provider = self.row().await?;
            let mut unit = Unit::new(shared.clock.now(), "system", "providers");
            let command = provider::Command::Observe(outcome.clone());
            let happenings = provider.decide(&command, &shared.settings.catalogue)?;
            let after = unit.apply(&provider, &happenings, Change::Provider).with_call_outcome(outcome);
            if after.failures != provider.failures {
                let (provider_id, failures) = (after.id.clone(), after.failures);
                unit.change(Change::ProviderFailures { provider_id, failures });
            }
            if unit.is_empty() {
                return Ok(());
            }
            shared.store.commit(unit).await?;
            shared.breakers.strikes(&after.id, after.failures);
            shared.provider_cache.invalidate();
            Ok(())
        })
        .await
    }

    async fn heartbeat(&self, heartbeat: &HeartbeatResult) -> Result<Provider, Error> {
        let shared = &self.context.shared;
        retry_on_conflict(async || {
            let provider = self.row().await?;
            let mut unit = Unit::new(shared.clock.now(), "system", "heartbeats");
            let command = provider::Command::Heartbeat(heartbeat.clone());
            let happenings = provider.decide(&command, &shared.settings.catalogue)?;
            let after =
                unit.apply(&provider, &happenings, Change::Provider).with_heartbeat(heartbeat, unit.at);
            let (latency_ms, error) = match heartbeat {
                HeartbeatResult::Answered { latency_ms, .. } => (*latency_ms, None),
                HeartbeatResult::Failed { error, latency_ms, .. } => (*latency_ms, Some(error.clone())),
            };
            let line = Heartbeat { at: unit.at, latency_ms, error };
            unit.change(Change::Heartbeat { provider: after.clone(), heartbeat: line });
            if let HeartbeatResult::Answered { models, .. } = heartbeat {
                let (provider_id, models) = (after.id.clone(), models.clone());
                unit.change(Change::OfferedModels { provider_id, models });
            }
            shared.store.commit(unit).await?;
            shared.breakers.strikes(&after.id, after.failures);
            shared.provider_cache.invalidate();
            Ok(after)
        })
        .await
    }
}

/// Adds a change of fields and a switch to a unit, both decided before anything is written; returns the provider after
/// them.
pub(crate) fn apply(
    before: &Provider,
    patch: Option<&ProviderPatch>,
    switch: Option<Enabled>,
    settings: &Settings,
    unit: &mut Unit,
) -> Result<Provider, Error> {
    let update = match patch {
        Some(patch) => Some(provider::Command::Update(Box::new(patch.apply(before)?))),
        None => None,
    };
    let switch = switch.map(|enabled| match enabled {
        Enabled::Yes => provider::Command::Enable,
        Enabled::No => provider::Command::Disable,
    });
    let mut after = before.clone();
    for command in update.iter().chain(&switch) {
        let happenings = after.decide(command, &settings.catalogue)?;
        after = unit.apply(&after, &happenings, Change::Provider);
    }
    check(&after, settings)?;
    Ok(after)
}
