//! Dispatching: the dispatcher assigns ready beads to our own agents; the pull queue serves external ones.
//!
//! Both are single actors that sleep until an event makes work possible. `ready_beads` is their common selection.

pub(crate) mod dispatcher;
pub(crate) mod pull;
pub(crate) mod pull_actor;
pub(crate) mod ready_beads;

use crate::bead::BeadsHandle;
use crate::call::budget_guard::BudgetGuard;
use crate::call::capabilities::Capabilities;
use crate::decision::DecisionsHandle;
use crate::dispatch::dispatcher::DispatcherActor;
use crate::dispatch::pull::PullQueue;
use crate::dispatch::pull_actor::PullActor;
use crate::runtime::registry::{Affinity, IdlePolicy, Registry};
use crate::services::{Services, deref_to_services};
use crate::vault::open_vault::OpenVault;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

/// The parts that the dispatcher and the pull queue use.
pub(crate) struct DispatchContext {
    pub(crate) services: Arc<Services>,
    pub(crate) beads: BeadsHandle,
    pub(crate) decisions: DecisionsHandle,
    pub(crate) budget_guard: Arc<BudgetGuard>,
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) open_vault: Arc<OpenVault>,
    /// True while dispatch is parked, as the store has it.
    pub(crate) is_parked: AtomicBool,
    pub(crate) queue: PullQueue,
    pub(crate) dispatcher: Registry<DispatcherActor>,
    pub(crate) pulls: Registry<PullActor>,
}

deref_to_services!(DispatchContext);

impl DispatchContext {
    pub(crate) fn new(
        services: Arc<Services>,
        beads: BeadsHandle,
        budget_guard: Arc<BudgetGuard>,
        capabilities: Arc<Capabilities>,
        open_vault: Arc<OpenVault>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            services,
            decisions: beads.0.decisions.clone(),
            beads,
            budget_guard,
            capabilities,
            open_vault,
            is_parked: AtomicBool::new(false),
            queue: PullQueue::default(),
            dispatcher: Registry::new(Weak::clone(own), Affinity::Root, IdlePolicy::Keep),
            pulls: Registry::new(Weak::clone(own), Affinity::Root, IdlePolicy::Keep),
        })
    }
}
