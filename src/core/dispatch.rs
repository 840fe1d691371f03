//! Dispatch of beads to agents: assignment, pulls, and the reasons why a bead waits.

pub mod assign;
pub mod explain;
pub mod handoff;
pub mod pull;
