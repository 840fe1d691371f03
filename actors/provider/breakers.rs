//! The circuit breakers of all providers, in memory: after a restart each is closed, and failing calls open it again.

use arbiter_core::kernel::ids::ProviderId;
use arbiter_core::provider::breaker::{Breaker, CircuitState};
use arbiter_core::provider::retry::BreakerState;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;

/// The breakers of all providers.
#[derive(Default)]
pub(crate) struct Breakers(Mutex<HashMap<ProviderId, BreakerRecord>>);

/// Recent outcomes of a provider's calls.
#[derive(Default)]
pub(crate) struct BreakerRecord {
    pub(crate) breaker: Breaker,
    /// True if its row bears no strike, so that a success changes nothing.
    pub(crate) is_clean: bool,
}

impl Breakers {
    /// Locks the table.
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<ProviderId, BreakerRecord>> {
        self.0.lock()
    }

    /// Returns whether a provider is to be left alone.
    pub(crate) fn breaker_state(&self, id: &ProviderId) -> BreakerState {
        match self.lock().get(id).map(|record| record.breaker.state()) {
            Some(CircuitState::Open | CircuitState::HalfOpen) => BreakerState::Open,
            Some(CircuitState::Closed) | None => BreakerState::Closed,
        }
    }

    /// Takes note of the strikes that a provider's row bears.
    pub(crate) fn strikes(&self, id: &ProviderId, strikes: u32) {
        self.lock().entry(id.clone()).or_default().is_clean = strikes == 0;
    }
}
