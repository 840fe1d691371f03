//! Faults on purpose: lets a test make a certain actor panic at its next message, or a change of a persona at one of
//! its steps. Nothing outside tests
//! arms it; unarmed it costs one atomic read per message.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// The panics that are still to happen.
#[derive(Debug, Default)]
pub struct FaultInjection {
    armed: AtomicBool,
    panics: Mutex<HashMap<(String, String), u32>>,
}

impl FaultInjection {
    /// Makes the actor of this kind and id panic at each of its next `times` messages.
    pub fn panic(&self, kind: &str, id: &str, times: u32) {
        let mut panics = self.panics.lock();
        panics.insert((kind.to_owned(), id.to_owned()), times);
        self.armed.store(true, Ordering::Release);
    }

    /// Panics when it is this actor's turn.
    pub(crate) fn panic_if_armed(&self, kind: &(impl ToString + ?Sized), id: &str) {
        if !self.armed.load(Ordering::Acquire) {
            return;
        }
        let mut panics = self.panics.lock();
        let kind = kind.to_string();
        let left = match panics.get_mut(&(kind.clone(), id.to_owned())) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        };
        drop(panics);
        #[allow(clippy::panic)] // this is what the test asked for
        if left {
            panic!("injected panic in {kind} {id}");
        }
    }
}
