//! Overwrites the stack below work that handled a secret.
//!
//! Owns the size of the overwritten range. Heap memory is wiped by its owners.

use std::pin::Pin;
use std::task::{Context, Poll};
use zeroize::Zeroize;

/// More stack than any work with a secret uses, in bytes. Overwriting it takes 2 µs in a release build.
const DEPTH_BYTES: usize = 64 * 1024;

/// Runs `work` one frame down, then overwrites the stack it used. Ciphers, searches and moves leave copies of
/// secrets there that no destructor reaches.
pub fn on_scrubbed_stack<T>(work: impl FnOnce() -> T) -> T {
    let answer = run_below(work);
    scrub_stack();
    answer
}

#[inline(never)]
fn run_below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn scrub_stack() {
    let mut waste = [0_u128; DEPTH_BYTES / size_of::<u128>()];
    waste.zeroize();
    std::hint::black_box(&waste);
}

/// A future that overwrites the stack it used after each poll.
pub struct Scrubbed<F>(Pin<Box<F>>);

impl<F: Future> Scrubbed<F> {
    /// Wraps `future` so that it runs on a scrubbed stack.
    pub fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<F: Future> Future for Scrubbed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        on_scrubbed_stack(|| self.0.as_mut().poll(context))
    }
}
