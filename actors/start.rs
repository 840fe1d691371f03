//! Starts and stops threads, store, vault, recovery and actors, in that order.

use crate::caller::Caller;
use crate::context::SharedContext;
use crate::dispatch::dispatcher::DispatcherHandle;
use crate::dispatch::pull::PullsHandle;
use crate::error::Error;
use crate::event::bus::{Backlog, LogLine};
use crate::event::subscription::Delivery;
use crate::handles::Handles;
use crate::orchestrator::OrchestratorHandle;
use crate::persona::PersonaStore;
use crate::recovery;
use crate::runtime::clock::SharedClock;
use crate::runtime::registry::{ActorThreads, SINGLETON_ID};
use crate::services::Services;
use crate::settings::Settings;
use crate::vault::open_vault::OpenVault;
use actix_rt::{Arbiter, System};
use arbiter_core::agent;
use arbiter_core::dispatch::assign::DispatchState;
use arbiter_core::kernel::event::EventFilter;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::notification;
use arbiter_core::project::edit::ProjectPatch;
use arbiter_store::{Change, DirectoryLock, Options, Store, StoreError, Unit};
use arbiter_vault::{Iterations, Vault, VaultError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Time allowed for background work at shutdown.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(2);

/// Reason why the actors could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the database cannot be opened")]
    Store(#[from] StoreError),
    #[error("the key file cannot be opened")]
    Vault(#[from] VaultError),
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
    #[error("the state cannot be recovered")]
    Recovery(#[from] Error),
}

/// The running actors.
pub struct ActorSystem {
    pub handles: Handles,
    shared: Arc<SharedContext>,
    system: System,
    root: Option<JoinHandle<()>>,
    /// Tasks that wake bus and orchestrator; they end when this is dropped.
    _forwarding: JoinSet<()>,
    _lock: DirectoryLock,
}

/// Starts the cast over a held data directory. Must be called on a tokio runtime of several threads, where
/// runs, calls and timers will live. `on_failure` hears that the store cannot go on: the process has to end.
///
/// # Errors
/// [`StartError`], with nothing running.
pub async fn start(
    lock: DirectoryLock,
    settings: Settings,
    clock: SharedClock,
    on_failure: Box<dyn Fn(&StoreError) + Send>,
) -> Result<ActorSystem, StartError> {
    let iterations = Iterations::try_from(settings.kdf_iterations)?;
    let mut vault = Vault::open(lock.directory().join("keys.json"), iterations)?;
    let backlog = Arc::new(Backlog::new(settings.bus_buffer));
    let published = Arc::clone(&backlog);
    let store = Store::open(Options {
        directory: lock.directory().to_owned(),
        readers: settings.store_readers,
        group_max: settings.store_group_max,
        queue_max: settings.store_queue_max,
        now: clock.now(),
        publish: Box::new(move |events| published.push(events)),
        on_failure,
    })?;
    // A generation is recorded with the first unlock: from then on no key file is not a first start.
    if store.vault_generation().await?.is_some() {
        vault.require_file();
    }
    let (_, last_seq) = store.event_bounds().await?;
    let (threads, system, root) = start_threads(settings.threads).await.map_err(StartError::Thread)?;
    let services = Services::new(store, clock, settings, threads);
    let personas = PersonaStore::new(lock.directory());
    let shared = SharedContext::new(&services, OpenVault::new(vault), personas, backlog, last_seq);
    let mut forwarding = JoinSet::new();
    forwarding.spawn(shared.bus.clone().forward_backlog());
    forwarding.spawn(OrchestratorHandle(Arc::clone(&shared)).forward_failures());
    shared.personas.check_presence().await?;
    shared.personas.tidy().await;
    let (dispatch_state, _) = shared.store.dispatch_state().await?;
    let is_parked = matches!(dispatch_state, DispatchState::Parked(_));
    shared.dispatch.is_parked.store(is_parked, Ordering::Relaxed);
    shared.tokens.token_cache.load(&shared).await?;
    shared.calls.budget_guard.load(&shared).await?;
    recovery::recover(&shared).await?;
    shared.orchestrator.ensure_started(SINGLETON_ID);
    recovery::start_all(&shared).await?;
    sync_rules(&shared).await?;
    watch_events(&shared).await?;
    detach_shared_bead_paths(&shared).await?;
    crate::bead_file::watch_events(&shared.bead_files.0).await?;
    shared.dispatch.dispatcher.ensure_started(SINGLETON_ID);
    Ok(ActorSystem {
        handles: Handles::new(Arc::clone(&shared)),
        shared,
        system,
        root: Some(root),
        _forwarding: forwarding,
        _lock: lock,
    })
}

/// Brings what the store has computed in line with the configured rules.
async fn sync_rules(shared: &SharedContext) -> Result<(), Error> {
    let wanted = shared.settings.conditional;
    if shared.store.conditional().await? != wanted {
        let mut unit = Unit::new(shared.clock.now(), "system", "configuration");
        unit.change(Change::BlockingRule(wanted));
        shared.store.commit(unit).await?;
    }
    Ok(())
}

/// Takes a bead directory away from younger projects that have the same one, as an older version allowed.
async fn detach_shared_bead_paths(shared: &Arc<SharedContext>) -> Result<(), Error> {
    let caller = Caller::named("beads");
    for (project, path, owner) in shared.store.shared_bead_paths().await? {
        let patch = ProjectPatch { beads_path: Some(None), ..ProjectPatch::default() };
        let id = ProjectId::from_trusted(project.as_str());
        shared.projects.update(&caller, &id, patch).await?;
        let message = format!(
            "{path} is the bead directory of the project {owner}, which is older; {project} is detached from it"
        );
        // A warning would be a second event: warnings are mirrored to the log of events.
        tracing::info!(target: "integration", %project, detail = message, "a project was detached");
        let data = serde_json::json!({"level": "WARN", "message": message});
        let line = LogLine { source: "beads", project_id: Some(project.clone()), subject: project, data };
        shared.bus.log(&caller, line).await?;
    }
    Ok(())
}

/// One thread for the root and the single actors, `count` for entities.
async fn start_threads(count: usize) -> std::io::Result<(ActorThreads, System, JoinHandle<()>)> {
    let (ready, wait) = oneshot::channel();
    let root = std::thread::Builder::new().name("actors-root".into()).spawn(move || {
        let runner = System::new();
        runner.block_on(async {
            let entities: Vec<_> = (0..count.max(1)).map(|_| Arbiter::new().handle()).collect();
            let threads = ActorThreads { root: Arbiter::current(), entities: entities.into() };
            // The receiver is gone only if the start was given up.
            let _ = ready.send((threads, System::current()));
        });
        if let Err(error) = runner.run() {
            tracing::error!(%error, "the root's thread failed");
        }
    })?;
    let (threads, system) = wait.await.map_err(std::io::Error::other)?;
    Ok((threads, system, root))
}

/// Tells the dispatcher, the heartbeats and the notifier of events that concern them.
async fn watch_events(shared: &SharedContext) -> Result<(), Error> {
    let mut events = shared.bus.subscribe(EventFilter::default(), None).await?;
    let dispatcher = DispatcherHandle(Arc::clone(&shared.dispatch));
    let (heartbeats, notifier) = (shared.heartbeats.clone(), shared.notifier.clone());
    notifier.ensure_started();
    let pulls = PullsHandle(Arc::clone(&shared.dispatch));
    tokio::spawn(async move {
        loop {
            let mut next = Some(events.next().await);
            let mut is_work_possible = false;
            // Several events at once are one reason to look.
            while let Some(delivery) = next {
                let Delivery::Event(event) = delivery else { return };
                is_work_possible |= can_unblock_work(event.kind);
                if matches!(event.kind, EventType::VaultUnlocked | EventType::VaultRollbackAccepted) {
                    heartbeats.beat_all();
                    notifier.try_again();
                }
                if notification::is_notifiable(&event) {
                    notifier.send_pending();
                }
                next = events.try_next();
            }
            if is_work_possible {
                dispatcher.dispatch_now();
                pulls.wake_if_waiting();
            }
        }
    });
    Ok(())
}

/// Returns whether an event may let a bead move.
fn can_unblock_work(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::BeadReady
            | EventType::BeadUpdated
            | EventType::BeadStatusChange
            | EventType::AgentStatusChange
            | EventType::AgentUpdated
            | EventType::AgentSpawned
            | EventType::ProjectUpdated
            | EventType::ProviderStatusChange
            | EventType::ProviderUpdated
            | EventType::VaultUnlocked
            | EventType::VaultRollbackAccepted
            | EventType::KeyStored
            | EventType::KeyUpdated
            | EventType::SystemResumed
            | EventType::ProjectReopened
            | EventType::BudgetUpdated
    )
}

impl ActorSystem {
    /// Stops the cast: no new work, runs are given back, the vault is locked, the store is closed. What
    /// this does not finish is put right by the next start.
    pub async fn stop(mut self) {
        self.shared.stop();
        self.shared.vault.0.open_vault.interrupt();
        for agent in self.shared.store.started_agents().await.unwrap_or_default() {
            if agent.kind == agent::Kind::Llm && agent.current_bead.is_some() {
                self.shared.runs.runs.abort_all(&agent.id);
                if let Err(error) = release_for_shutdown(&self.shared, &agent).await {
                    tracing::warn!(agent = %agent.id, %error, "a bead could not be given back");
                }
            }
        }
        self.shared.background_tasks.close();
        if tokio::time::timeout(BACKGROUND_TIMEOUT, self.shared.background_tasks.wait()).await.is_err() {
            tracing::warn!(
                open = self.shared.background_tasks.len(),
                "work in the background did not end in time"
            );
        }
        self.system.stop();
        let (root, shared) = (self.root.take(), Arc::clone(&self.shared));
        let end = tokio::task::spawn_blocking(move || {
            if let Some(root) = root {
                // A root that panicked has been reported by its own thread.
                let _ = root.join();
            }
            shared.vault.0.open_vault.lock_now();
            shared.store.close();
        });
        if let Err(error) = end.await {
            tracing::error!(%error, "the store could not be closed in order");
        }
    }
}

async fn release_for_shutdown(shared: &SharedContext, agent: &agent::Agent) -> Result<(), Error> {
    let mut unit = Unit::new(shared.clock.now(), "system", "shutdown");
    crate::agent::release_bead(&shared.store, &mut unit, agent, "the server is stopping").await?;
    let reason = "the server is stopping".to_owned();
    let happenings = agent.decide(&agent::Command::Release { reason })?;
    unit.apply(agent, &happenings, Change::Agent);
    shared.store.commit(unit).await?;
    Ok(())
}
