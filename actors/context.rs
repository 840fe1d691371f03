//! What all actors share: the store, the clock, the settings and the registries through which they find
//! each other.

use crate::agent::actor::AgentActor;
use crate::bead::actor::BeadActor;
use crate::bead::id_prefix::Prefixes;
use crate::bead_file::actor::BeadFilesActor;
use crate::call::budget_guard::Purse;
use crate::call::failover::Breakers;
use crate::call::in_flight::Underway;
use crate::call::rate_limiter::Gates;
use crate::call::remote_executor::Carriers;
use crate::decision::actor::DecisionActor;
use crate::dispatch::dispatcher::DispatcherActor;
use crate::dispatch::pull::Queue;
use crate::dispatch::pull_actor::PullActor;
use crate::event::bus::{Broker, BusActor};
use crate::event::notifier::{Notices, NotifierActor};
use crate::orchestrator::OrchestratorActor;
use crate::persona::Personas;
use crate::project::actor::ProjectActor;
use crate::project::file_locks::FileLocksActor;
use crate::provider::actor::ProviderActor;
use crate::provider::cache::ProviderCache;
use crate::provider::heartbeat::HeartbeatActor;
use crate::run::active_runs::Runs;
use crate::runtime::cell::Failure;
use crate::runtime::clock::SharedClock;
use crate::runtime::fault_injection::Inject;
use crate::runtime::registry::{Directory, Place, Threads};
use crate::settings::Settings;
use crate::token::cache::TokenCache;
use crate::vault::actor::VaultActor;
use crate::vault::open_vault::VaultPlace;
use arbiter_store::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// The id of actors of which there is one.
pub(crate) const SINGLE: &str = "main";

/// Everything that all actors share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) settings: Settings,
    /// Runs, timers and calls to providers live here, not on the actors' threads.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) threads: Threads,
    pub(crate) inject: Inject,
    pub(crate) broker: Broker,
    pub(crate) runs: Runs,
    /// Set while a message to the dispatcher is on its way.
    pub(crate) look_wanted: AtomicBool,
    /// Those who wait for a bead, as everybody may see it.
    pub(crate) queue: Queue,
    pub(crate) token_cache: TokenCache,
    pub(crate) purse: Purse,
    pub(crate) breakers: Breakers,
    pub(crate) gates: Gates,
    pub(crate) underway: Underway,
    pub(crate) provider_cache: ProviderCache,
    pub(crate) prefixes: Prefixes,
    pub(crate) carriers: Carriers,
    pub(crate) personas: Personas,
    /// How it goes with the notices, as everybody may see it.
    pub(crate) notices: Notices,
    /// What goes on behind an answer, and has to end before the store closes.
    pub(crate) afterwork: TaskTracker,
    pub(crate) vault_place: VaultPlace,
    pub(crate) beads: Directory<BeadActor>,
    pub(crate) bead_files: Directory<BeadFilesActor>,
    pub(crate) agents: Directory<AgentActor>,
    pub(crate) decisions: Directory<DecisionActor>,
    pub(crate) providers: Directory<ProviderActor>,
    pub(crate) heartbeats: Directory<HeartbeatActor>,
    pub(crate) projects: Directory<ProjectActor>,
    pub(crate) file_locks: Directory<FileLocksActor>,
    pub(crate) vault: Directory<VaultActor>,
    pub(crate) bus: Directory<BusActor>,
    pub(crate) dispatcher: Directory<DispatcherActor>,
    pub(crate) notifier: Directory<NotifierActor>,
    pub(crate) pulls: Directory<PullActor>,
    pub(crate) orchestrator: Directory<OrchestratorActor>,
    failures: mpsc::UnboundedSender<Failure>,
    stopping: AtomicBool,
}

/// What [`Shared`] is made of.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) settings: Settings,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) threads: Threads,
    pub(crate) vault_place: VaultPlace,
    pub(crate) personas: Personas,
    pub(crate) last_seq: u64,
    pub(crate) failures: mpsc::UnboundedSender<Failure>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let broker = Broker::new(parts.settings.bus_buffer, parts.last_seq);
        Arc::new(Self {
            store: parts.store,
            clock: parts.clock,
            settings: parts.settings,
            runtime: parts.runtime,
            threads: parts.threads,
            inject: Inject::default(),
            broker,
            runs: Runs::default(),
            look_wanted: AtomicBool::new(false),
            queue: Queue::default(),
            token_cache: TokenCache::default(),
            purse: Purse::default(),
            breakers: Breakers::default(),
            gates: Gates::default(),
            underway: Underway::default(),
            provider_cache: ProviderCache::default(),
            prefixes: Prefixes::default(),
            carriers: Carriers::default(),
            personas: parts.personas,
            notices: Notices::default(),
            afterwork: TaskTracker::new(),
            vault_place: parts.vault_place,
            beads: Directory::new(Place::Entities),
            bead_files: Directory::new(Place::Entities),
            agents: Directory::new(Place::Entities),
            decisions: Directory::new(Place::Entities),
            providers: Directory::new(Place::Entities),
            heartbeats: Directory::new(Place::Entities),
            projects: Directory::new(Place::Entities),
            file_locks: Directory::new(Place::Entities),
            vault: Directory::new(Place::Root),
            bus: Directory::new(Place::Root),
            dispatcher: Directory::new(Place::Root),
            notifier: Directory::new(Place::Root),
            pulls: Directory::new(Place::Root),
            orchestrator: Directory::new(Place::Root),
            failures: parts.failures,
            stopping: AtomicBool::new(false),
        })
    }

    /// Tells the orchestrator of a failed actor.
    pub(crate) fn report(&self, failure: Failure) {
        // Without an orchestrator the process is ending, and so does the actor.
        let _ = self.failures.send(failure);
    }

    /// Does something that nobody waits for, on the runtime; the end of the process does.
    pub(crate) fn later(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.afterwork.spawn_on(work, &self.runtime);
    }

    /// Whether the server is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// From now on nothing new is begun.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}
