//! The failures of actors that wait for the root, at most one for each actor.

use crate::runtime::cell::ActorFailure;
use arbiter_core::kernel::restart::RestartVerdict;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use tokio::sync::Notify;

/// The waiting failures. An actor that fails never waits: a failure of an actor that already waits here takes its
/// place, but does not hide that it was given up. So the number of actors bounds the queue.
pub(crate) struct FailureQueue<K> {
    waiting: Mutex<VecDeque<ActorFailure<K>>>,
    arrived: Notify,
}

impl<K> Default for FailureQueue<K> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), arrived: Notify::new() }
    }
}

impl<K: PartialEq> FailureQueue<K> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<ActorFailure<K>>> {
        self.waiting.lock()
    }

    /// Adds a failure; never blocks.
    pub(crate) fn push(&self, mut failure: ActorFailure<K>) {
        let mut waiting = self.lock();
        match waiting.iter_mut().find(|known| known.kind == failure.kind && known.id == failure.id) {
            Some(known) => {
                failure.restarts += known.restarts;
                if known.verdict == RestartVerdict::GiveUp {
                    failure.verdict = RestartVerdict::GiveUp;
                }
                *known = failure;
            }
            None => waiting.push_back(failure),
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Completes when a failure has arrived since the last time.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes the oldest failure.
    pub(crate) fn pop(&self) -> Option<ActorFailure<K>> {
        self.lock().pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn failure(id: &str, message: &str, verdict: RestartVerdict) -> ActorFailure<u8> {
        ActorFailure { kind: 1, id: id.to_owned(), message: message.to_owned(), verdict, restarts: 1 }
    }

    #[test]
    fn failures_of_one_actor_become_one_that_stays_given_up() {
        let queue = FailureQueue::default();
        let again = RestartVerdict::Restart { after: Duration::ZERO };
        for (id, message, verdict) in [
            ("a", "first", again),
            ("a", "second", RestartVerdict::GiveUp),
            ("b", "other", again),
            ("a", "third", again),
        ] {
            queue.push(failure(id, message, verdict));
        }
        let found = queue.pop().unwrap();
        assert_eq!((found.id.as_str(), found.message.as_str(), found.restarts), ("a", "third", 3));
        assert_eq!(found.verdict, RestartVerdict::GiveUp);
        assert_eq!(queue.pop().unwrap().id, "b");
        assert!(queue.pop().is_none());
    }
}
