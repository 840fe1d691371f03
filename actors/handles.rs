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

/// The handles of the cast. Clones share it.
#[derive(Clone)]
pub struct Handles {
    /// For reading.
    pub store: Store,
    /// Beads.
    pub beads: BeadsHandle,
    /// Budgets.
    pub budgets: BudgetsHandle,
    /// Agents.
    pub agents: AgentsHandle,
    /// Decisions.
    pub decisions: DecisionsHandle,
    /// Locks on files.
    pub file_locks: FileLocksHandle,
    /// Providers.
    pub providers: ProvidersHandle,
    /// Projects.
    pub projects: ProjectsHandle,
    /// Org charts.
    pub org_charts: OrgChartsHandle,
    /// Personas.
    pub personas: PersonasHandle,
    /// Notices to who is outside.
    pub notifier: NotifierHandle,
    /// Work that is fetched.
    pub pulls: PullsHandle,
    /// The vault.
    pub vault: VaultHandle,
    /// The console.
    pub console: ConsoleHandle,
    /// Prompts to agents, and the end of runs.
    pub work: WorkHandle,
    /// Files of beads.
    pub bead_files: BeadFilesHandle,
    /// The gateway.
    pub gateway: GatewayHandle,
    /// Events.
    pub bus: BusHandle,
    /// The dispatcher.
    pub dispatcher: DispatcherHandle,
    /// The root.
    pub orchestrator: OrchestratorHandle,
    /// API tokens.
    pub tokens: TokensHandle,
    /// The time.
    pub clock: SharedClock,
    shared: Arc<SharedContext>,
}

impl Handles {
    pub(crate) fn new(shared: Arc<SharedContext>) -> Self {
        let of = || Arc::clone(&shared);
        Self {
            store: shared.store.clone(),
            beads: BeadsHandle(of()),
            budgets: BudgetsHandle(of()),
            agents: AgentsHandle(of()),
            decisions: DecisionsHandle(of()),
            file_locks: FileLocksHandle(of()),
            providers: ProvidersHandle(of()),
            projects: ProjectsHandle(of()),
            org_charts: OrgChartsHandle(of()),
            personas: PersonasHandle(of()),
            notifier: NotifierHandle(of()),
            pulls: PullsHandle(of()),
            vault: VaultHandle(of()),
            console: ConsoleHandle(of()),
            work: WorkHandle(of()),
            bead_files: BeadFilesHandle(of()),
            gateway: GatewayHandle(of()),
            bus: BusHandle(of()),
            dispatcher: DispatcherHandle(of()),
            orchestrator: OrchestratorHandle(of()),
            tokens: TokensHandle(of()),
            clock: Arc::clone(&shared.clock),
            shared,
        }
    }

    /// Faults on purpose, for tests.
    pub fn fault_injection(&self) -> &FaultInjection {
        &self.shared.fault_injection
    }

    /// Lets somebody else make calls to providers, or nobody.
    pub fn set_remote_executor(&self, executor: Option<Arc<dyn RemoteExecutor>>) {
        self.shared.remote_executor.set(executor);
    }

    /// Whether the server is stopping.
    pub fn is_stopping(&self) -> bool {
        self.shared.is_stopping()
    }
}
