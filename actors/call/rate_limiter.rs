//! How many calls a provider has at once, and how fast they come: the gate before each provider.
//!
//! Owns what is inside and the pace, in memory: after a restart each gate begins anew. Limits are those of the
//! provider's row at the moment of the call, so that a change of them holds at once.

use crate::context::Shared;
use arbiter_core::kernel::ids::ProviderId;
use arbiter_core::provider::Provider;
use arbiter_core::provider::rate_limit::{Heard, Limits, Pace, Word};
use arbiter_providers::RateHints;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The gates of all providers.
#[derive(Default)]
pub(crate) struct Gates(Mutex<HashMap<ProviderId, Gate>>);

#[derive(Default)]
struct Gate {
    inside: u32,
    pace: Pace,
    /// Told when a call leaves.
    left: Arc<Notify>,
}

/// Why a call does not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// As many calls are inside as may be.
    Full,
    /// The pace wants a pause.
    TooFast(Duration),
}

/// How long a call waits at the gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For a place inside.
    pub(crate) place: Duration,
    /// For its turn by the pace.
    pub(crate) turn: Duration,
}

/// A call that is inside, until this is dropped. One that was not made then counts for nothing.
pub(crate) struct Place {
    shared: Arc<Shared>,
    id: ProviderId,
    counted: u64,
    was_made: bool,
}

impl Gates {
    fn lock(&self) -> MutexGuard<'_, HashMap<ProviderId, Gate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a provider that was deleted.
    pub(crate) fn remove(&self, id: &ProviderId) {
        self.lock().remove(id);
    }
}

impl Place {
    /// Lets a call of about so many tokens in, if it can be at once.
    pub(crate) fn at_once(shared: &Arc<Shared>, provider: &Provider, tokens: u64) -> Result<Self, Closed> {
        let mut gates = shared.gates.lock();
        let gate = gates.entry(provider.id.clone()).or_default();
        if provider.max_concurrency.is_some_and(|most| gate.inside >= most) {
            return Err(Closed::Full);
        }
        let limits = Limits {
            requests_per_minute: provider.requests_per_minute,
            tokens_per_minute: provider.tokens_per_minute,
        };
        let admitted = gate.pace.admit(limits, tokens, shared.clock.now());
        admitted.map_err(|wait| Closed::TooFast(wait.0))?;
        gate.inside += 1;
        Ok(Self { shared: Arc::clone(shared), id: provider.id.clone(), counted: tokens, was_made: false })
    }

    /// Lets a call in when it is its turn, or says what it would have waited for.
    pub(crate) async fn in_time(
        shared: &Arc<Shared>,
        provider: &Provider,
        tokens: u64,
        patience: Patience,
    ) -> Result<Self, Closed> {
        let begun = Instant::now();
        let left = Arc::clone(&shared.gates.lock().entry(provider.id.clone()).or_default().left);
        loop {
            let next = left.notified();
            tokio::pin!(next);
            // From here on nobody leaves unnoticed.
            next.as_mut().enable();
            let closed = match Self::at_once(shared, provider, tokens) {
                Ok(place) => return Ok(place),
                Err(closed) => closed,
            };
            let waited = begun.elapsed();
            match closed {
                Closed::Full => {
                    let patience = patience.place.saturating_sub(waited);
                    tokio::time::timeout(patience, next).await.map_err(|_| closed)?;
                }
                Closed::TooFast(pause) => {
                    if waited.saturating_add(pause) >= patience.turn {
                        return Err(closed);
                    }
                    // Whoever waits for the place this one was told of shall hear of it.
                    left.notify_one();
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// The provider is asked from now on.
    pub(crate) fn make(&mut self) {
        self.was_made = true;
    }

    /// The call took so many tokens.
    pub(crate) fn settle(&mut self, tokens: u64) {
        if let Some(gate) = self.shared.gates.lock().get_mut(&self.id) {
            gate.pace.settle(self.counted, tokens);
        }
        self.counted = tokens;
    }

    /// What the provider said of its limits with the answer.
    pub(crate) fn hear(&self, hints: &RateHints, heard: Heard) {
        let RateHints { requests_left, tokens_left, reset_after, retry_after } = *hints;
        let word = Word { requests_left, tokens_left, reset_after, retry_after };
        let now = self.shared.clock.now();
        if let Some(gate) = self.shared.gates.lock().get_mut(&self.id) {
            gate.pace.hear(&word, heard, now);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut gates = self.shared.gates.lock();
        let Some(gate) = gates.get_mut(&self.id) else { return };
        gate.inside = gate.inside.saturating_sub(1);
        if !self.was_made {
            gate.pace.take_back(self.counted);
        }
        gate.left.notify_one();
    }
}
