//! Overwriting the stack below a piece of work that handled a secret.
//!
//! Owns how much is overwritten. What lies on the heap is the business of those who allocated it.

use std::pin::Pin;
use std::task::{Context, Poll};
use zeroize::Zeroize;

/// More stack than any work that handles a secret uses, in bytes. Optimised, it takes 2 µs to overwrite.
const DEPTH_BYTES: usize = 64 * 1024;

/// Runs `work` one frame down and then overwrites the stack it used. A cipher leaves its key there, a
/// search a part of what it searched, and moves leave copies; no destructor reaches any of them.
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

/// A future after each of whose steps the stack it used is overwritten.
pub struct Scrubbed<F>(Pin<Box<F>>);

impl<F: Future> Scrubbed<F> {
    /// The same future on a scrubbed stack.
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
