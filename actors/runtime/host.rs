//! The runtime's view of the program around it: clock, limits, threads and the receiver of failures.

use crate::runtime::cell::ActorFailure;
use crate::runtime::clock::SharedClock;
use crate::runtime::fault_injection::FaultInjection;
use crate::runtime::registry::ActorThreads;
use std::fmt::{Debug, Display};
use std::time::Duration;

/// The name of a kind of actor, for messages and counters.
pub(crate) trait Kind: Copy + Debug + Display + Eq + Send + Sync + Unpin + 'static {}

/// Bounds that hold for every actor of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The number of questions that may wait for one actor.
    pub(crate) mailbox: usize,
    /// The number of restarts of one actor within the window.
    pub(crate) restart_limit: usize,
    pub(crate) restart_window: Duration,
}

/// The services that the runtime needs from the program that runs the actors.
pub(crate) trait Host: Send + Sync + 'static {
    type Kind: Kind;

    fn clock(&self) -> &SharedClock;
    fn limits(&self) -> Limits;
    /// Returns the threads that actors live on.
    fn threads(&self) -> &ActorThreads;
    /// Returns the runtime that timers run on.
    fn timer_runtime(&self) -> &tokio::runtime::Handle;
    /// Takes note of a failed actor. Must not block.
    fn report(&self, failure: ActorFailure<Self::Kind>);
    fn is_stopping(&self) -> bool;
    fn fault_injection(&self) -> &FaultInjection;
}
