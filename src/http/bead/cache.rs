//! Beads as they were last answered, kept right by listening to the events.
//!
//! A bead is shown from here only when every event that was committed before the request came has been
//! heard, and none of them bears on the bead: nobody can tell the difference but by the clock.

use crate::http::framework::context::Context;
use arbiter_actors::Delivery;
use arbiter_core::kernel::event::{Event, EventFilter};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::time::Timestamp;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The most bytes of answers that are kept.
const MAX_TOTAL: usize = 33_554_432;
/// The largest answer that is kept, in bytes.
const MAX_BYTES: usize = 16_384;
/// How long a request waits to hear of what was just committed before it asks the store.
const PATIENCE: Duration = Duration::from_millis(10);

/// A bead as it was answered.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Its JSON.
    pub body: Bytes,
    /// Its revision.
    pub revision: u64,
    /// When its JSON changes although nothing happens: its deferral ends.
    pub until: Option<Timestamp>,
}

/// The cache.
#[derive(Debug, Default)]
pub struct BeadCache {
    entries: Mutex<Entries>,
    /// Every event up to this number has been heard; 0 while nobody listens.
    heard: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<String, Rendered>,
    bytes: usize,
}

/// What an event means for the beads that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bearing {
    /// Nothing.
    None,
    /// Its subject is another now.
    Subject,
    /// Any bead may be another now: what it waits for, blocks, or is asked about.
    Any,
}

fn bearing(kind: EventType) -> Bearing {
    use EventType as E;
    match kind {
        E::BeadStatusChange | E::BeadDependencyAdded | E::BeadDependencyRemoved | E::BeadDeleted => {
            Bearing::Any
        }
        E::DecisionCreated
        | E::DecisionResolved
        | E::DecisionTimeout
        | E::DecisionCancelled
        | E::DecisionUpdated
        | E::ProjectDeleted => Bearing::Any,
        E::LogMessage | E::BeadCommented | E::DecisionReminder => Bearing::None,
        // A bead's own events, and whatever is added later and touches the bead it names.
        _ => Bearing::Subject,
    }
}

impl BeadCache {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bead, if it is kept and still looks the same `now`. `seq` is the number of the newest event.
    pub async fn get(&self, id: &str, seq: u64, now: impl FnOnce() -> Timestamp) -> Option<Rendered> {
        if *self.heard.borrow() < seq {
            if *self.heard.borrow() == 0 {
                return None;
            }
            let mut heard = self.heard.subscribe();
            tokio::time::timeout(PATIENCE, heard.wait_for(|heard| *heard >= seq)).await.ok()?.ok()?;
        }
        let found = self.lock().by_id.get(id)?.clone();
        if found.until.is_some_and(|until| until <= now()) { None } else { Some(found) }
    }

    /// Keeps a bead. `seq` is the number of the newest event from before the bead was read.
    pub fn put(&self, id: &str, seq: u64, rendered: Rendered) {
        if rendered.body.len() > MAX_BYTES {
            return;
        }
        let mut entries = self.lock();
        let heard = *self.heard.borrow();
        // An event that came while the bead was read may bear on it and has been heard already.
        if heard == 0 || heard > seq {
            return;
        }
        if entries.bytes + rendered.body.len() > MAX_TOTAL {
            *entries = Entries::default();
        }
        entries.bytes += rendered.body.len();
        if let Some(old) = entries.by_id.insert(id.to_owned(), rendered) {
            entries.bytes -= old.body.len();
        }
    }

    /// Takes note of an event.
    fn hear(&self, event: &Event) {
        let mut entries = self.lock();
        let dropped = match bearing(event.kind) {
            Bearing::None => Entries::default(),
            Bearing::Subject => {
                if let Some(old) = entries.by_id.remove(&event.subject) {
                    entries.bytes -= old.body.len();
                }
                Entries::default()
            }
            Bearing::Any => std::mem::take(&mut *entries),
        };
        // Under the lock, so that nothing is kept between the two that the event bears on.
        self.raise(event.seq);
        drop(entries);
        drop(dropped);
    }

    fn raise(&self, seq: u64) {
        self.heard.send_if_modified(|heard| {
            let later = seq > *heard;
            if later {
                *heard = seq;
            }
            later
        });
    }

    /// Nobody listens any more: nothing that is kept can be trusted.
    fn forget(&self) {
        let mut entries = self.lock();
        *entries = Entries::default();
        self.heard.send_replace(0);
    }
}

/// Empties the cache when its listener ends, however it ends.
struct Deaf<'a>(&'a BeadCache);

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        self.0.forget();
    }
}

/// Listens to the events until the bus ends.
pub async fn follow(context: Context) {
    let cache = context.beads();
    let _end = Deaf(cache);
    let mut subscription = match context.handles().bus.subscribe(EventFilter::default(), None).await {
        Ok(subscription) => subscription,
        Err(error) => {
            tracing::warn!(%error, "beads are not cached");
            return;
        }
    };
    cache.raise(subscription.position());
    loop {
        match subscription.next().await {
            Delivery::Event(event) => cache.hear(&event),
            Delivery::Gap { .. } => cache.forget(),
            Delivery::Closed => return,
        }
    }
}

#[cfg(test)]
mod tests;
