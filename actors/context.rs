//! The composition of the actors: builds each noun's context from the services and the nouns that it uses.
//!
//! Three things are forwarded here, because a direct call would close a cycle of nouns: a bead lets its agent begin a
//! run, the vault tells providers and heartbeats that keys changed, and a changed budget wakes the dispatcher.

use crate::actor_kind::ActorKind;
use crate::agent::{AgentContext, AgentsHandle};
use crate::bead::{BeadContext, BeadsHandle, RunStarter};
use crate::bead_file::{BeadFileContext, BeadFilesHandle};
use crate::call::{BudgetObserver, CallContext};
use crate::decision::{DecisionContext, DecisionsHandle};
use crate::dispatch::DispatchContext;
use crate::dispatch::dispatcher::DispatcherHandle;
use crate::event::bus::{Backlog, BusContext, BusHandle};
use crate::event::notifier::{NotifierContext, NotifierHandle};
use crate::gateway::GatewayContext;
use crate::orchestrator::OrchestratorActor;
use crate::persona::{PersonaContext, PersonaStore, PersonasHandle};
use crate::project::file_locks::{FileLocksContext, FileLocksHandle};
use crate::project::{ProjectContext, ProjectsHandle};
use crate::provider::heartbeat::HeartbeatsHandle;
use crate::provider::{ProviderContext, ProvidersHandle};
use crate::run::RunContext;
use crate::runtime::registry::{Affinity, IdlePolicy, Registry, RegistryAccess};
use crate::services::{Services, deref_to_services};
use crate::token::TokenContext;
use crate::token::cache::TokenCache;
use crate::vault::open_vault::OpenVault;
use crate::vault::{KeyObserver, VaultContext, VaultHandle};
use arbiter_core::kernel::ids::{AgentId, BeadId, ProviderId};
use std::sync::{Arc, Weak};

/// The contexts of all nouns. Only the files that compose the actors know it.
pub(crate) struct SharedContext {
    pub(crate) services: Arc<Services>,
    pub(crate) agents: AgentsHandle,
    pub(crate) bead_files: BeadFilesHandle,
    pub(crate) beads: BeadsHandle,
    pub(crate) bus: BusHandle,
    pub(crate) calls: Arc<CallContext>,
    pub(crate) decisions: DecisionsHandle,
    pub(crate) dispatch: Arc<DispatchContext>,
    pub(crate) file_locks: FileLocksHandle,
    pub(crate) gateway: Arc<GatewayContext>,
    pub(crate) heartbeats: HeartbeatsHandle,
    pub(crate) notifier: NotifierHandle,
    pub(crate) orchestrator: Registry<OrchestratorActor>,
    pub(crate) personas: PersonasHandle,
    pub(crate) projects: ProjectsHandle,
    pub(crate) providers: ProvidersHandle,
    pub(crate) runs: Arc<RunContext>,
    pub(crate) tokens: Arc<TokenContext>,
    pub(crate) vault: VaultHandle,
}

deref_to_services!(SharedContext);

impl SharedContext {
    pub(crate) fn new(
        services: &Arc<Services>,
        open_vault: OpenVault,
        personas: PersonaStore,
        backlog: Arc<Backlog>,
        last_seq: u64,
    ) -> Arc<Self> {
        let bus = BusHandle(BusContext::new(Arc::clone(services), backlog, last_seq));
        Arc::new_cyclic(|own| Self::compose(services, Arc::new(open_vault), Arc::new(personas), bus, own))
    }

    /// Builds the contexts, each after those that it uses.
    fn compose(
        services: &Arc<Services>,
        open_vault: Arc<OpenVault>,
        persona_store: Arc<PersonaStore>,
        bus: BusHandle,
        own: &Weak<Self>,
    ) -> Self {
        let with = || Arc::clone(services);
        let token_cache = Arc::new(TokenCache::default());
        let tokens = Arc::new(TokenContext { services: with(), token_cache: Arc::clone(&token_cache) });
        let personas = PersonaContext { services: with(), personas: Arc::clone(&persona_store) };
        let personas = PersonasHandle(Arc::new(personas));
        let vault = VaultHandle(VaultContext::new(with(), Arc::clone(&open_vault), Weak::clone(own) as _));
        let providers = ProvidersHandle(ProviderContext::new(with(), vault.clone()));
        let decisions = DecisionsHandle(DecisionContext::new(with(), personas.clone()));
        let beads = BeadsHandle(BeadContext::new(with(), decisions.clone(), Weak::clone(own) as _));
        let calls = CallContext::new(with(), providers.clone(), Weak::clone(own) as _);
        let budget_guard = Arc::clone(&calls.budget_guard);
        let capabilities = Arc::clone(&calls.capabilities);
        let dispatch = DispatchContext::new(with(), beads.clone(), budget_guard, capabilities, open_vault);
        let runs = Arc::new(RunContext {
            services: with(),
            beads: beads.clone(),
            calls: Arc::clone(&calls),
            personas: persona_store,
            runs: Arc::clone(&beads.0.runs),
        });
        let agents = AgentsHandle(AgentContext::new(with(), Arc::clone(&runs), token_cache));
        let (gateway_calls, gateway_providers) = (Arc::clone(&calls), providers.clone());
        Self {
            projects: ProjectsHandle(ProjectContext::new(with(), agents.clone())),
            bead_files: BeadFilesHandle(BeadFileContext::new(with(), bus.clone())),
            file_locks: FileLocksHandle(FileLocksContext::new(with())),
            gateway: Arc::new(GatewayContext {
                services: with(),
                calls: gateway_calls,
                providers: gateway_providers,
            }),
            heartbeats: HeartbeatsHandle(Arc::clone(&providers.0)),
            notifier: NotifierHandle(NotifierContext::new(with(), vault.clone())),
            orchestrator: Registry::new(Weak::clone(own), Affinity::Root, IdlePolicy::Keep),
            services: with(),
            agents,
            beads,
            bus,
            calls,
            decisions,
            dispatch,
            personas,
            providers,
            runs,
            tokens,
            vault,
        }
    }

    /// Lists every registry.
    pub(crate) fn registries(&self) -> [&dyn RegistryAccess<ActorKind>; 14] {
        [
            &self.agents.0.agents,
            &self.bead_files.0.bead_files,
            &self.beads.0.beads,
            &self.bus.0.bus,
            &self.decisions.0.decisions,
            &self.dispatch.dispatcher,
            &self.file_locks.0.file_locks,
            &self.providers.0.heartbeats,
            &self.notifier.0.notifier,
            &self.orchestrator,
            &self.projects.0.projects,
            &self.providers.0.providers,
            &self.dispatch.pulls,
            &self.vault.0.vault,
        ]
    }
}

impl RunStarter for SharedContext {
    fn begin_run(&self, agent: &AgentId, bead: &BeadId, token: String) {
        self.agents.begin_run(agent, bead, token);
    }
}

impl KeyObserver for SharedContext {
    fn disconnect_providers(&self) {
        self.providers.disconnect_all();
    }

    fn beat_soon(&self, id: &ProviderId) {
        self.heartbeats.beat_soon(id);
    }
}

impl BudgetObserver for SharedContext {
    fn budgets_changed(&self) {
        DispatcherHandle(Arc::clone(&self.dispatch)).dispatch_now();
    }
}
