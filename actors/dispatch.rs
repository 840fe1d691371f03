//! Dispatching: the dispatcher assigns ready beads to our own agents; the pull queue serves external ones.
//!
//! Both are single actors that sleep until an event makes work possible. `ready_beads` is their common selection.

pub(crate) mod dispatcher;
pub(crate) mod pull;
pub(crate) mod pull_actor;
pub(crate) mod ready_beads;
