//! Handing out work: the dispatcher for our own agents and the pull queue for external ones.

pub(crate) mod dispatcher;
pub(crate) mod pull;
pub(crate) mod pull_actor;
pub(crate) mod ready_beads;
