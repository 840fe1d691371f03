//! The actor runtime: supervised cells, their registry, timers, clock and randomness.
//!
//! Owns restarts after a panic, mailbox bounds and the lifetime of cells. Knows no noun of the product.

pub(crate) mod cell;
pub(crate) mod clock;
pub(crate) mod fault_injection;
pub(crate) mod host;
pub(crate) mod random;
pub(crate) mod registry;
pub(crate) mod reply;
pub(crate) mod timer;
