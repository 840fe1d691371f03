//! Limits on the beads that agents create while they work on one, so that work cannot multiply without end.

/// The most beads in a chain, each created for the one before.
pub const MAX_DEPTH: u32 = 5;
/// The most beads that are created for one.
pub const MAX_CHILDREN: u32 = 20;
/// The most beads that come of one that no agent created, directly or not.
pub const MAX_DESCENDANTS: u32 = 100;

/// Returns whether one more may be created for a bead that stands at `depth`, has `children` and belongs to a `descendants`.
///
/// # Errors
/// With words for the agent that wants it.
pub fn check(depth: u32, children: u32, descendants: u32) -> Result<(), String> {
    let limit = if depth >= MAX_DEPTH {
        format!("this work item is the last of {MAX_DEPTH} that were created one for another")
    } else if children >= MAX_CHILDREN {
        format!("{MAX_CHILDREN} work items were created for this one already")
    } else if descendants >= MAX_DESCENDANTS {
        format!("{MAX_DESCENDANTS} work items have come of the one that all this began with")
    } else {
        return Ok(());
    };
    Err(format!("no further work item is created: {limit}. Do the work yourself, or ask for a decision"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creation_limits_are_independent() {
        assert_eq!(check(0, 0, 0), Ok(()));
        assert_eq!(check(MAX_DEPTH - 1, MAX_CHILDREN - 1, MAX_DESCENDANTS - 1), Ok(()));
        for (depth, children, descendants) in
            [(MAX_DEPTH, 0, 0), (0, MAX_CHILDREN, 20), (1, 1, MAX_DESCENDANTS)]
        {
            assert!(check(depth, children, descendants).unwrap_err().contains("created"));
        }
    }
}
