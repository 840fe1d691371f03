//! Timers that send an actor a command at a time of day; they never keep the actor alive.

use crate::runtime::cell::{ActorCell, Behavior, Envelope};
use crate::runtime::host::Host;
use actix::WeakAddr;
use arbiter_core::kernel::time::Timestamp;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::AbortHandle;

/// The pause before something that failed for a moment, such as the store, is asked again.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The timers of one actor, by name: a new one replaces the old one of the same name.
pub(crate) struct Timers<R: Behavior> {
    address: WeakAddr<ActorCell<R>>,
    shared: Weak<R::Host>,
    armed: Arc<Mutex<HashMap<&'static str, AbortHandle>>>,
}

impl<R: Behavior> Clone for Timers<R> {
    fn clone(&self) -> Self {
        Self {
            address: self.address.clone(),
            shared: Weak::clone(&self.shared),
            armed: Arc::clone(&self.armed),
        }
    }
}

impl<R: Behavior> Timers<R> {
    pub(crate) fn new(address: WeakAddr<ActorCell<R>>, shared: &Arc<R::Host>) -> Self {
        Self { address, shared: Arc::downgrade(shared), armed: Arc::default() }
    }

    /// Sends `command` at `at`.
    pub(crate) fn set(&self, name: &'static str, at: Timestamp, command: R::Command) {
        let Some(shared) = self.shared.upgrade() else { return };
        let (sleep, address) = (shared.clock().sleep_until(at), self.address.clone());
        let task = shared.timer_runtime().spawn(async move {
            sleep.await;
            if let Some(address) = address.upgrade() {
                address.do_send(Envelope { command, permit: None, wake_mark: None });
            }
        });
        self.replace(name, Some(task.abort_handle()));
    }

    /// Sends `command` a moment from now, for what a passing error prevented: a timer that has fired is not set again
    /// by itself.
    pub(crate) fn set_retry(&self, name: &'static str, command: R::Command) {
        let Some(shared) = self.shared.upgrade() else { return };
        self.set(name, shared.clock().now().plus(RETRY_PAUSE), command);
    }

    /// Forgets a timer.
    pub(crate) fn cancel(&self, name: &'static str) {
        self.replace(name, None);
    }

    /// Forgets all timers.
    pub(crate) fn clear(&self) {
        for (_, task) in self.armed.lock().drain() {
            task.abort();
        }
    }

    fn replace(&self, name: &'static str, task: Option<AbortHandle>) {
        let mut armed = self.armed.lock();
        let old = match task {
            Some(task) => armed.insert(name, task),
            None => armed.remove(name),
        };
        if let Some(old) = old {
            old.abort();
        }
    }
}
