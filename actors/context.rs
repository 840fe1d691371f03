//! What all actors share: the store, the clock, the settings and the registries through which they find
//! each other.

use crate::agent::actor::AgentActor;
use crate::bead::actor::BeadActor;
use crate::bead::id_prefix::PrefixCache;
use crate::bead_file::actor::BeadFilesActor;
use crate::call::budget_guard::BudgetGuard;
use crate::call::failover::Breakers;
use crate::call::in_flight::InFlight;
use crate::call::rate_limiter::Limiters;
use crate::call::remote_executor::RemoteExecutorSlot;
use crate::decision::actor::DecisionActor;
use crate::dispatch::dispatcher::DispatcherActor;
use crate::dispatch::pull::PullQueue;
use crate::dispatch::pull_actor::PullActor;
use crate::event::bus::{Broker, BusActor};
use crate::event::notifier::{NotifierActor, SharedNoticeState};
use crate::orchestrator::OrchestratorActor;
use crate::persona::PersonaStore;
use crate::project::actor::ProjectActor;
use crate::project::file_locks::FileLocksActor;
use crate::provider::actor::ProviderActor;
use crate::provider::cache::ProviderCache;
use crate::provider::heartbeat::HeartbeatActor;
use crate::run::active_runs::ActiveRuns;
use crate::runtime::cell::ActorFailure;
use crate::runtime::clock::SharedClock;
use crate::runtime::fault_injection::FaultInjection;
use crate::runtime::registry::{ActorThreads, Affinity, Registry};
use crate::settings::Settings;
use crate::token::cache::TokenCache;
use crate::vault::actor::VaultActor;
use crate::vault::open_vault::OpenVault;
use arbiter_store::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// The id of actors of which there is one.
pub(crate) const SINGLETON_ID: &str = "main";

/// Everything that all actors share.
pub(crate) struct SharedContext {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) settings: Settings,
    /// Runs, timers and calls to providers live here, not on the actors' threads.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) threads: ActorThreads,
    pub(crate) fault_injection: FaultInjection,
    pub(crate) broker: Broker,
    pub(crate) runs: ActiveRuns,
    /// Set while a message to the dispatcher is on its way.
    pub(crate) wake_requested: AtomicBool,
    pub(crate) queue: PullQueue,
    pub(crate) token_cache: TokenCache,
    pub(crate) budget_guard: BudgetGuard,
    pub(crate) breakers: Breakers,
    pub(crate) limiters: Limiters,
    pub(crate) in_flight: InFlight,
    pub(crate) provider_cache: ProviderCache,
    pub(crate) prefixes: PrefixCache,
    pub(crate) remote_executor: RemoteExecutorSlot,
    pub(crate) personas: PersonaStore,
    pub(crate) notices: SharedNoticeState,
    /// What goes on behind an answer, and has to end before the store closes.
    pub(crate) background_tasks: TaskTracker,
    pub(crate) open_vault: OpenVault,
    pub(crate) beads: Registry<BeadActor>,
    pub(crate) bead_files: Registry<BeadFilesActor>,
    pub(crate) agents: Registry<AgentActor>,
    pub(crate) decisions: Registry<DecisionActor>,
    pub(crate) providers: Registry<ProviderActor>,
    pub(crate) heartbeats: Registry<HeartbeatActor>,
    pub(crate) projects: Registry<ProjectActor>,
    pub(crate) file_locks: Registry<FileLocksActor>,
    pub(crate) vault: Registry<VaultActor>,
    pub(crate) bus: Registry<BusActor>,
    pub(crate) dispatcher: Registry<DispatcherActor>,
    pub(crate) notifier: Registry<NotifierActor>,
    pub(crate) pulls: Registry<PullActor>,
    pub(crate) orchestrator: Registry<OrchestratorActor>,
    failures: mpsc::UnboundedSender<ActorFailure>,
    stopping: AtomicBool,
}

/// What [`SharedContext`] is made of.
pub(crate) struct ContextParts {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) settings: Settings,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) threads: ActorThreads,
    pub(crate) open_vault: OpenVault,
    pub(crate) personas: PersonaStore,
    pub(crate) last_seq: u64,
    pub(crate) failures: mpsc::UnboundedSender<ActorFailure>,
}

impl SharedContext {
    pub(crate) fn new(parts: ContextParts) -> Arc<Self> {
        let broker = Broker::new(parts.settings.bus_buffer, parts.last_seq);
        Arc::new(Self {
            store: parts.store,
            clock: parts.clock,
            settings: parts.settings,
            runtime: parts.runtime,
            threads: parts.threads,
            fault_injection: FaultInjection::default(),
            broker,
            runs: ActiveRuns::default(),
            wake_requested: AtomicBool::new(false),
            queue: PullQueue::default(),
            token_cache: TokenCache::default(),
            budget_guard: BudgetGuard::default(),
            breakers: Breakers::default(),
            limiters: Limiters::default(),
            in_flight: InFlight::default(),
            provider_cache: ProviderCache::default(),
            prefixes: PrefixCache::default(),
            remote_executor: RemoteExecutorSlot::default(),
            personas: parts.personas,
            notices: SharedNoticeState::default(),
            background_tasks: TaskTracker::new(),
            open_vault: parts.open_vault,
            beads: Registry::new(Affinity::Entities),
            bead_files: Registry::new(Affinity::Entities),
            agents: Registry::new(Affinity::Entities),
            decisions: Registry::new(Affinity::Entities),
            providers: Registry::new(Affinity::Entities),
            heartbeats: Registry::new(Affinity::Entities),
            projects: Registry::new(Affinity::Entities),
            file_locks: Registry::new(Affinity::Entities),
            vault: Registry::new(Affinity::Root),
            bus: Registry::new(Affinity::Root),
            dispatcher: Registry::new(Affinity::Root),
            notifier: Registry::new(Affinity::Root),
            pulls: Registry::new(Affinity::Root),
            orchestrator: Registry::new(Affinity::Root),
            failures: parts.failures,
            stopping: AtomicBool::new(false),
        })
    }

    /// Tells the orchestrator of a failed actor.
    pub(crate) fn report(&self, failure: ActorFailure) {
        // Without an orchestrator the process is ending, and so does the actor.
        let _ = self.failures.send(failure);
    }

    /// Does something that nobody waits for, on the runtime; the end of the process does.
    pub(crate) fn spawn_tracked(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.background_tasks.spawn_on(work, &self.runtime);
    }

    /// Returns whether the server is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// From now on nothing new is begun.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}
