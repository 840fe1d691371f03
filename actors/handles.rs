//! Everything the edges may do, in one value.

use crate::agent::AgentsHandle;
use crate::bead::BeadsHandle;
use crate::bead_file::BeadFilesHandle;
use crate::call::budget::BudgetsHandle;
use crate::call::remote_executor::RemoteExecutor;
use crate::context::SharedContext;
use crate::decision::DecisionsHandle;
use crate::dispatch::dispatcher::DispatcherHandle;
use crate::dispatch::pull::PullsHandle;
use crate::event::bus::BusHandle;
use crate::event::notifier::NotifierHandle;
use crate::gateway::GatewayHandle;
use crate::gateway::console::ConsoleHandle;
use crate::orchestrator::OrchestratorHandle;
use crate::persona::PersonasHandle;
use crate::project::ProjectsHandle;
use crate::project::file_locks::FileLocksHandle;
use crate::project::org_chart::OrgChartsHandle;
use crate::provider::ProvidersHandle;
use crate::run::ask_agent::WorkHandle;
use crate::runtime::clock::SharedClock;
use crate::runtime::fault_injection::FaultInjection;
use crate::token::TokensHandle;
use crate::vault::VaultHandle;
use arbiter_store::Store;
use std::sync::Arc;

/// Handles of all actors; clones share them.
#[derive(Clone)]
pub struct Handles {
    pub store: Store,
    pub beads: BeadsHandle,
    pub budgets: BudgetsHandle,
    pub agents: AgentsHandle,
    pub decisions: DecisionsHandle,
    pub file_locks: FileLocksHandle,
    pub providers: ProvidersHandle,
    pub projects: ProjectsHandle,
    pub org_charts: OrgChartsHandle,
    pub personas: PersonasHandle,
    /// Notices to who is outside.
    pub notifier: NotifierHandle,
    /// Work that is fetched.
    pub pulls: PullsHandle,
    pub vault: VaultHandle,
    pub console: ConsoleHandle,
    /// Prompts to agents, and the end of runs.
    pub work: WorkHandle,
    pub bead_files: BeadFilesHandle,
    pub gateway: GatewayHandle,
    pub bus: BusHandle,
    pub dispatcher: DispatcherHandle,
    pub orchestrator: OrchestratorHandle,
    /// API tokens.
    pub tokens: TokensHandle,
    pub clock: SharedClock,
    shared: Arc<SharedContext>,
}

impl Handles {
    pub(crate) fn new(shared: Arc<SharedContext>) -> Self {
        Self {
            store: shared.store.clone(),
            beads: shared.beads.clone(),
            budgets: BudgetsHandle(Arc::clone(&shared.calls)),
            agents: shared.agents.clone(),
            decisions: shared.decisions.clone(),
            file_locks: shared.file_locks.clone(),
            providers: shared.providers.clone(),
            projects: shared.projects.clone(),
            org_charts: OrgChartsHandle(Arc::clone(&shared.projects.0)),
            personas: shared.personas.clone(),
            notifier: shared.notifier.clone(),
            pulls: PullsHandle(Arc::clone(&shared.dispatch)),
            vault: shared.vault.clone(),
            console: ConsoleHandle(Arc::clone(&shared.gateway)),
            work: WorkHandle(Arc::clone(&shared.runs)),
            bead_files: shared.bead_files.clone(),
            gateway: GatewayHandle(Arc::clone(&shared.gateway)),
            bus: shared.bus.clone(),
            dispatcher: DispatcherHandle(Arc::clone(&shared.dispatch)),
            orchestrator: OrchestratorHandle(Arc::clone(&shared)),
            tokens: TokensHandle(Arc::clone(&shared.tokens)),
            clock: Arc::clone(&shared.clock),
            shared,
        }
    }

    /// Faults on purpose, for tests.
    pub fn fault_injection(&self) -> &FaultInjection {
        &self.shared.fault_injection
    }

    /// Sets or removes the remote executor of provider calls.
    pub fn set_remote_executor(&self, executor: Option<Arc<dyn RemoteExecutor>>) {
        self.shared.calls.remote_executor.set(executor);
    }

    /// Returns whether the server is stopping.
    pub fn is_stopping(&self) -> bool {
        self.shared.is_stopping()
    }
}
