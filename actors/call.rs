//! Model calls: from a request to a provider's answer and its line in the ledger.
//!
//! Owns admission (budget, rate limit, breaker), attempts, failover and accounting of every call.

pub(crate) mod attempt;
pub(crate) mod budget;
pub(crate) mod budget_guard;
pub(crate) mod capabilities;
pub(crate) mod chat;
pub(crate) mod estimate;
pub(crate) mod execute;
pub(crate) mod failover;
pub(crate) mod in_flight;
pub(crate) mod ledger_entry;
pub(crate) mod rate_limiter;
pub(crate) mod remote_executor;

use crate::call::budget_guard::BudgetGuard;
use crate::call::capabilities::Capabilities;
use crate::call::in_flight::InFlight;
use crate::call::rate_limiter::Limiters;
use crate::call::remote_executor::RemoteExecutorSlot;
use crate::provider::ProvidersHandle;
use crate::provider::breakers::Breakers;
use crate::provider::heartbeat::HeartbeatsHandle;
use crate::services::{Services, deref_to_services};
use crate::vault::open_vault::OpenVault;
use std::sync::{Arc, Weak};

/// The dispatcher, which hears that budgets changed. The composition implements it, because calls know no dispatcher.
pub(crate) trait BudgetObserver: Send + Sync {
    /// Takes note that another budget may admit work.
    fn budgets_changed(&self);
}

/// The parts that calls use.
pub(crate) struct CallContext {
    pub(crate) services: Arc<Services>,
    pub(crate) providers: ProvidersHandle,
    pub(crate) heartbeats: HeartbeatsHandle,
    pub(crate) open_vault: Arc<OpenVault>,
    pub(crate) budget_guard: Arc<BudgetGuard>,
    pub(crate) breakers: Arc<Breakers>,
    pub(crate) limiters: Arc<Limiters>,
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) in_flight: InFlight,
    pub(crate) remote_executor: RemoteExecutorSlot,
    pub(crate) budget_observer: Weak<dyn BudgetObserver>,
}

deref_to_services!(CallContext);

impl CallContext {
    pub(crate) fn new(
        services: Arc<Services>,
        providers: ProvidersHandle,
        budget_observer: Weak<dyn BudgetObserver>,
    ) -> Arc<Self> {
        Arc::new(Self {
            services,
            heartbeats: HeartbeatsHandle(Arc::clone(&providers.0)),
            open_vault: Arc::clone(&providers.0.open_vault),
            breakers: Arc::clone(&providers.0.breakers),
            providers,
            budget_guard: Arc::default(),
            limiters: Arc::default(),
            capabilities: Arc::default(),
            in_flight: InFlight::default(),
            remote_executor: RemoteExecutorSlot::default(),
            budget_observer,
        })
    }
}
