//! Cache of beads as last answered, kept current by the events.
//!
//! A cached bead is returned only if every event committed before the request was received, and none of them
//! concerns the bead. A cached answer therefore differs from a fresh one in its latency alone.

use crate::http::framework::context::Context;
use arbiter_actors::Delivery;
use arbiter_core::kernel::event::{Event, EventFilter};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::time::Timestamp;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::watch;

/// The most bytes of answers that are kept.
const MAX_TOTAL_BYTES: usize = 33_554_432;
/// The largest answer that is kept, in bytes.
const MAX_ENTRY_BYTES: usize = 16_384;
/// Longest wait of a request for the events of the last commit before it reads the store.
const EVENT_WAIT: Duration = Duration::from_millis(10);

/// A bead as it was answered.
#[derive(Clone, Debug)]
pub struct CachedBead {
    /// Its JSON.
    pub body: Bytes,
    /// Its revision.
    pub revision: u64,
    /// Time at which the JSON changes without an event: the end of the deferral.
    pub until: Option<Timestamp>,
}

/// The cache.
#[derive(Debug, Default)]
pub struct BeadCache {
    entries: Mutex<CacheState>,
    /// Sequence number up to which every event was received; 0 without a listener.
    seen_seq: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct CacheState {
    by_id: HashMap<String, CachedBead>,
    bytes: usize,
}

/// Effect of an event on the cached beads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CacheEffect {
    /// Nothing.
    None,
    /// Its subject is another now.
    Subject,
    /// May change any bead: its blockers, its dependents, or its decisions.
    Any,
}

fn cache_effect(kind: EventType) -> CacheEffect {
    use EventType as E;
    match kind {
        E::BeadStatusChange | E::BeadDependencyAdded | E::BeadDependencyRemoved | E::BeadDeleted => {
            CacheEffect::Any
        }
        E::DecisionCreated
        | E::DecisionResolved
        | E::DecisionTimeout
        | E::DecisionCancelled
        | E::DecisionUpdated
        | E::ProjectDeleted => CacheEffect::Any,
        E::LogMessage | E::BeadCommented | E::DecisionReminder => CacheEffect::None,
        // A bead's own events, and later event types that touch the bead they name.
        _ => CacheEffect::Subject,
    }
}

impl BeadCache {
    fn lock(&self) -> MutexGuard<'_, CacheState> {
        self.entries.lock()
    }

    /// Returns the cached bead if it is still current at `now`. `seq` is the number of the newest event.
    pub async fn get(&self, id: &str, seq: u64, now: impl FnOnce() -> Timestamp) -> Option<CachedBead> {
        if *self.seen_seq.borrow() < seq {
            if *self.seen_seq.borrow() == 0 {
                return None;
            }
            let mut seen_seq = self.seen_seq.subscribe();
            tokio::time::timeout(EVENT_WAIT, seen_seq.wait_for(|seen_seq| *seen_seq >= seq))
                .await
                .ok()?
                .ok()?;
        }
        let found = self.lock().by_id.get(id)?.clone();
        if found.until.is_some_and(|until| until <= now()) { None } else { Some(found) }
    }

    /// Keeps a bead. `seq` is the number of the newest event from before the bead was read.
    pub fn put(&self, id: &str, seq: u64, rendered: CachedBead) {
        if rendered.body.len() > MAX_ENTRY_BYTES {
            return;
        }
        let mut entries = self.lock();
        let seen_seq = *self.seen_seq.borrow();
        // An event that came while the bead was read may bear on it and has been heard already.
        if seen_seq == 0 || seen_seq > seq {
            return;
        }
        if entries.bytes + rendered.body.len() > MAX_TOTAL_BYTES {
            *entries = CacheState::default();
        }
        entries.bytes += rendered.body.len();
        if let Some(old) = entries.by_id.insert(id.to_owned(), rendered) {
            entries.bytes -= old.body.len();
        }
    }

    /// Takes note of an event.
    fn apply_event(&self, event: &Event) {
        let mut entries = self.lock();
        let dropped = match cache_effect(event.kind) {
            CacheEffect::None => CacheState::default(),
            CacheEffect::Subject => {
                if let Some(old) = entries.by_id.remove(&event.subject) {
                    entries.bytes -= old.body.len();
                }
                CacheState::default()
            }
            CacheEffect::Any => std::mem::take(&mut *entries),
        };
        // Under the lock, so that nothing is kept between the two that the event bears on.
        self.advance_to(event.seq);
        drop(entries);
        drop(dropped);
    }

    fn advance_to(&self, seq: u64) {
        self.seen_seq.send_if_modified(|seen_seq| {
            let later = seq > *seen_seq;
            if later {
                *seen_seq = seq;
            }
            later
        });
    }

    /// Empties the cache: without a listener, its entries may be outdated.
    fn clear(&self) {
        let mut entries = self.lock();
        *entries = CacheState::default();
        self.seen_seq.send_replace(0);
    }
}

/// Empties the cache when its listener ends, however it ends.
struct ClearOnDrop<'a>(&'a BeadCache);

impl Drop for ClearOnDrop<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// Listens to the events until the bus ends.
pub async fn track_events(context: Context) {
    let cache = context.beads();
    let _end = ClearOnDrop(cache);
    let mut subscription = match context.handles().bus.subscribe(EventFilter::default(), None).await {
        Ok(subscription) => subscription,
        Err(error) => {
            tracing::warn!(%error, "beads are not cached");
            return;
        }
    };
    cache.advance_to(subscription.position());
    loop {
        match subscription.next().await {
            Delivery::Event(event) => cache.apply_event(&event),
            Delivery::Gap { .. } => cache.clear(),
            Delivery::Closed => return,
        }
    }
}

#[cfg(test)]
mod tests;
