//! Limits of tags and labels, which beads and agents share.

/// Most tags of one bead and most labels of one agent.
pub const MAX_TAGS: usize = 100;
/// Longest tag or label, in bytes.
pub const MAX_TAG: usize = 255;
