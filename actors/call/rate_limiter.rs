//! Rate limiter of each provider: concurrent calls, and calls per time.
//!
//! Owns what is inside and the pace, in memory: after a restart each gate begins anew. Limits are those of the
//! provider's row at the moment of the call, so that a change of them holds at once.

use crate::call::CallContext;
use arbiter_core::kernel::ids::ProviderId;
use arbiter_core::provider::Provider;
use arbiter_core::provider::rate_limit::{LimitSignal, RateHints, RateLimiter, RateLimits};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The gates of all providers.
#[derive(Default)]
pub(crate) struct Limiters(Mutex<HashMap<ProviderId, Limiter>>);

#[derive(Default)]
struct Limiter {
    in_flight: u32,
    rate_limiter: RateLimiter,
    /// Told when a call leaves.
    left: Arc<Notify>,
}

/// Reason why a call is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limited {
    /// As many calls are inside as may be.
    Full,
    TooFast(Duration),
}

/// Longest wait of a call for a permit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitBudget {
    /// Longest wait for a concurrency permit.
    pub(crate) permit: Duration,
    /// Longest wait for the rate limit.
    pub(crate) turn: Duration,
}

/// Permit of a call, released on drop. A call that was not made does not count.
pub(crate) struct CallPermit {
    shared: Arc<CallContext>,
    id: ProviderId,
    counted: u64,
    was_used: bool,
}

impl Limiters {
    fn lock(&self) -> MutexGuard<'_, HashMap<ProviderId, Limiter>> {
        self.0.lock()
    }

    /// Forgets a provider that was deleted.
    pub(crate) fn remove(&self, id: &ProviderId) {
        self.lock().remove(id);
    }
}

impl CallPermit {
    /// Admits a call of about `tokens` tokens if there is room at once.
    pub(crate) fn try_acquire(
        shared: &Arc<CallContext>,
        provider: &Provider,
        tokens: u64,
    ) -> Result<Self, Limited> {
        let mut limiters = shared.limiters.lock();
        let limiter = limiters.entry(provider.id.clone()).or_default();
        if provider.max_concurrency.is_some_and(|most| limiter.in_flight >= most) {
            return Err(Limited::Full);
        }
        let limits = RateLimits {
            requests_per_minute: provider.requests_per_minute,
            tokens_per_minute: provider.tokens_per_minute,
        };
        let admitted = limiter.rate_limiter.admit(limits, tokens, shared.clock.now());
        admitted.map_err(|wait| Limited::TooFast(wait.0))?;
        limiter.in_flight += 1;
        Ok(Self { shared: Arc::clone(shared), id: provider.id.clone(), counted: tokens, was_used: false })
    }

    /// Lets a call in when it is its turn, or says what it would have waited for.
    pub(crate) async fn acquire(
        shared: &Arc<CallContext>,
        provider: &Provider,
        tokens: u64,
        wait_budget: WaitBudget,
    ) -> Result<Self, Limited> {
        let begun = Instant::now();
        let left = Arc::clone(&shared.limiters.lock().entry(provider.id.clone()).or_default().left);
        loop {
            let next = left.notified();
            tokio::pin!(next);
            // From here on, every released permit is noticed.
            next.as_mut().enable();
            let limited = match Self::try_acquire(shared, provider, tokens) {
                Ok(permit) => return Ok(permit),
                Err(limited) => limited,
            };
            let waited = begun.elapsed();
            match limited {
                Limited::Full => {
                    let wait_budget = wait_budget.permit.saturating_sub(waited);
                    tokio::time::timeout(wait_budget, next).await.map_err(|_| limited)?;
                }
                Limited::TooFast(pause) => {
                    if waited.saturating_add(pause) >= wait_budget.turn {
                        return Err(limited);
                    }
                    // Pass the wakeup on to the next waiter.
                    left.notify_one();
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// The provider is asked from now on.
    pub(crate) fn mark_used(&mut self) {
        self.was_used = true;
    }

    /// Records the number of tokens of the call.
    pub(crate) fn settle(&mut self, tokens: u64) {
        if let Some(limiter) = self.shared.limiters.lock().get_mut(&self.id) {
            limiter.rate_limiter.settle(self.counted, tokens);
        }
        self.counted = tokens;
    }

    /// Records the provider's rate-limit hints.
    pub(crate) fn record_hints(&self, hints: &RateHints, signal: LimitSignal) {
        let now = self.shared.clock.now();
        if let Some(limiter) = self.shared.limiters.lock().get_mut(&self.id) {
            limiter.rate_limiter.record_hints(hints, signal, now);
        }
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        let mut limiters = self.shared.limiters.lock();
        let Some(limiter) = limiters.get_mut(&self.id) else { return };
        limiter.in_flight = limiter.in_flight.saturating_sub(1);
        if !self.was_used {
            limiter.rate_limiter.refund(self.counted);
        }
        limiter.left.notify_one();
    }
}
