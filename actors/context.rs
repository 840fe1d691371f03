//! The composition of the actors: store, clock, settings and the registries through which they find each other.

use crate::actor_kind::ActorKind;
use crate::agent;
use crate::bead::id_prefix::PrefixCache;
use crate::call::budget_guard::BudgetGuard;
use crate::call::failover::Breakers;
use crate::call::in_flight::InFlight;
use crate::call::rate_limiter::Limiters;
use crate::call::remote_executor::RemoteExecutorSlot;
use crate::dispatch::pull::PullQueue;
use crate::event::bus::Broker;
use crate::event::notifier::SharedNoticeState;
use crate::persona::PersonaStore;
use crate::provider;
use crate::provider::cache::ProviderCache;
use crate::registries::Registries;
use crate::run::active_runs::ActiveRuns;
use crate::runtime::cell::ActorFailure;
use crate::runtime::clock::SharedClock;
use crate::runtime::fault_injection::FaultInjection;
use crate::runtime::host::{Host, Limits};
use crate::runtime::registry::ActorThreads;
use crate::settings::Settings;
use crate::token::cache::TokenCache;
use crate::vault::open_vault::OpenVault;
use arbiter_core::kernel::ids::{AgentId, BeadId, ProviderId};
use arbiter_store::Store;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The id of an actor that exists once.
pub(crate) const SINGLETON_ID: &str = "main";

/// The services and registries that the actors share.
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
    /// Work behind an answer that must end before the store closes.
    pub(crate) background_tasks: TaskTracker,
    pub(crate) open_vault: OpenVault,
    pub(crate) registries: Registries,
    failures: mpsc::UnboundedSender<ActorFailure<ActorKind>>,
    stopping: CancellationToken,
}

/// The parts that [`SharedContext`] is made of.
pub(crate) struct ContextParts {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) settings: Settings,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) threads: ActorThreads,
    pub(crate) open_vault: OpenVault,
    pub(crate) personas: PersonaStore,
    pub(crate) last_seq: u64,
    pub(crate) failures: mpsc::UnboundedSender<ActorFailure<ActorKind>>,
}

impl SharedContext {
    pub(crate) fn new(parts: ContextParts) -> Arc<Self> {
        let broker = Broker::new(parts.settings.bus_buffer, parts.last_seq);
        Arc::new_cyclic(|host| Self {
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
            registries: Registries::new(host),
            failures: parts.failures,
            stopping: CancellationToken::new(),
        })
    }

    /// Tells an agent that it holds a bead and shall begin. Beads reach agents only through this.
    pub(crate) fn begin_run(&self, agent: &AgentId, bead: &BeadId, token: String) {
        let command = agent::actor::Command::BeginRun { bead: bead.clone(), token };
        self.registries.agents.tell(agent.as_str(), command);
    }

    /// Closes every connection to a provider, so that none that carried a key stays open. The vault reaches
    /// providers only through this and [`Self::beat_soon`].
    pub(crate) fn disconnect_providers(&self) {
        self.registries.providers.tell_all(|| provider::actor::Command::Disconnect);
    }

    /// Lets a provider's heartbeat beat now.
    pub(crate) fn beat_soon(&self, id: &ProviderId) {
        self.registries.heartbeats.tell(id.as_str(), provider::heartbeat::Command::Heartbeat(None));
    }

    /// Runs work in the background; the shutdown waits for it.
    pub(crate) fn spawn_tracked(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.background_tasks.spawn_on(work, &self.runtime);
    }

    /// Returns whether the server is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Begins the shutdown: nothing new is begun.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
    }

    /// Returns a token that is cancelled when the server begins to stop.
    pub(crate) fn stopping_token(&self) -> CancellationToken {
        self.stopping.clone()
    }
}

impl Host for SharedContext {
    type Kind = ActorKind;

    fn clock(&self) -> &SharedClock {
        &self.clock
    }

    fn limits(&self) -> Limits {
        Limits {
            mailbox: self.settings.mailbox,
            restart_limit: self.settings.restart_limit,
            restart_window: self.settings.restart_window,
        }
    }

    fn threads(&self) -> &ActorThreads {
        &self.threads
    }

    fn timer_runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    fn report(&self, failure: ActorFailure<ActorKind>) {
        // Without an orchestrator the process is ending, and so does the actor.
        let _ = self.failures.send(failure);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    fn fault_injection(&self) -> &FaultInjection {
        &self.fault_injection
    }
}
