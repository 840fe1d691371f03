//! The actor runtime: supervised cells, their registry, timers, clock and randomness.
//!
//! A noun implements `Behavior`: its commands, how it starts, and how it handles one command at a time. A cell runs
//! the behavior behind a panic guard. After a panic the question is answered with a crash, the state is built anew,
//! and the commands that wait are kept; too many panics in a window make the cell rest until the window ends. A
//! death watch reports deaths that the guard missed.
//!
//! A registry starts an actor when it is first addressed, bounds the questions that wait for it by permits, and
//! retires it when it is idle. The program around the runtime is a `Host`. Nothing here names a noun of the product.

pub(crate) mod cell;
pub(crate) mod clock;
pub(crate) mod failure_queue;
pub(crate) mod fault_injection;
pub(crate) mod host;
pub(crate) mod random;
pub(crate) mod registry;
pub(crate) mod reply;
pub(crate) mod thread_probe;
pub(crate) mod timer;

#[cfg(test)]
mod tests;
