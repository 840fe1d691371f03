//! The types of beads, and which of them are no work.

/// The types that a bead may have.
pub const BEAD_TYPES: &[&str] = &[
    "task",
    "bug",
    "feature",
    "epic",
    "chore",
    "decision",
    "message",
    "molecule",
    "gate",
    "spike",
    "story",
    "milestone",
    "event",
];
/// Types that are never part of ready work (bd's `ready` leaves them out).
pub const NEVER_READY: &[&str] = &["merge-request", "gate", "molecule", "message", "agent", "role", "rig"];
/// Types that no agent is ever given.
pub const NEVER_DISPATCHED: &[&str] =
    &["epic", "decision", "milestone", "gate", "message", "molecule", "event"];
