//! Beads as they were last answered. A bead is shown from here only while nothing at all has been committed
//! since it was read, so nobody can tell the difference but by the clock.

use arbiter_core::time::Timestamp;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most beads that are kept.
const MAX_ENTRIES: usize = 4096;
/// The largest answer that is kept, in bytes.
const MAX_BYTES: usize = 16_384;

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
pub struct BeadCache(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// The number of the newest event when these were read.
    seq: u64,
    by_id: HashMap<String, Rendered>,
}

impl BeadCache {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bead, if it was read when `seq` was the newest event and still looks the same `now`.
    pub fn get(&self, id: &str, seq: u64, now: impl FnOnce() -> Timestamp) -> Option<Rendered> {
        let entries = self.lock();
        let found = entries.by_id.get(id).filter(|_| entries.seq == seq)?.clone();
        drop(entries);
        if found.until.is_some_and(|until| until <= now()) { None } else { Some(found) }
    }

    /// Keeps a bead. `seq` is the number of the newest event from before the bead was read.
    pub fn put(&self, id: &str, seq: u64, rendered: Rendered) {
        if rendered.body.len() > MAX_BYTES {
            return;
        }
        let mut entries = self.lock();
        if entries.seq > seq {
            return;
        }
        if entries.seq < seq || entries.by_id.len() >= MAX_ENTRIES {
            entries.by_id.clear();
            entries.seq = seq;
        }
        entries.by_id.insert(id.to_owned(), rendered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: fn() -> Timestamp = || Timestamp::from_millis(100);

    fn rendered(text: &'static str, until: Option<i64>) -> Rendered {
        Rendered {
            body: Bytes::from_static(text.as_bytes()),
            revision: 1,
            until: until.map(Timestamp::from_millis),
        }
    }

    #[test]
    fn a_bead_is_kept_until_anything_is_committed() {
        let cache = BeadCache::default();
        cache.put("a", 7, rendered("one", None));
        assert_eq!(cache.get("a", 7, NOW).unwrap().body, "one");
        assert!(cache.get("a", 8, NOW).is_none());
        assert!(cache.get("b", 7, NOW).is_none());
    }

    #[test]
    fn what_was_read_before_an_event_never_replaces_what_was_read_after_it() {
        let cache = BeadCache::default();
        cache.put("a", 8, rendered("new", None));
        cache.put("a", 7, rendered("old", None));
        assert_eq!(cache.get("a", 8, NOW).unwrap().body, "new");
        assert!(cache.get("a", 7, NOW).is_none());
    }

    #[test]
    fn a_deferral_that_ends_ends_what_is_kept() {
        let cache = BeadCache::default();
        cache.put("a", 7, rendered("deferred", Some(101)));
        assert!(cache.get("a", 7, NOW).is_some());
        assert!(cache.get("a", 7, || Timestamp::from_millis(101)).is_none());
    }

    #[test]
    fn the_cache_stays_small() {
        let cache = BeadCache::default();
        for number in 0..MAX_ENTRIES * 2 {
            cache.put(&number.to_string(), 7, rendered("x", None));
        }
        assert!(cache.lock().by_id.len() <= MAX_ENTRIES);
        let large = Rendered { body: Bytes::from(vec![0; MAX_BYTES + 1]), revision: 1, until: None };
        cache.put("large", 7, large);
        assert!(cache.get("large", 7, NOW).is_none());
    }
}
