//! When nothing stands between a bead and its work: one definition, used by the writer and by tests.

use crate::bead::{NEVER_READY, Status};
use crate::bead_change::affects_readiness;

/// What is known of the other end of a dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The type of the dependency.
    pub kind: String,
    /// The status of what it depends on; `None` when there is no such bead.
    pub status: Option<Status>,
    /// Whether the target itself waits for something.
    pub waits: Waits,
    /// For `waits-for`: how many of the target's children are not closed.
    pub open_children: u64,
}

/// Whether a bead waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// It waits.
    Yes,
    /// Nothing it depends on stands in the way.
    No,
}

/// Whether one dependency makes its bead wait. A missing target never does; a child waits when its
/// parent waits; `waits-for` holds while the target has open children.
pub fn holds_back(target: &Target) -> Waits {
    let Some(status) = target.status else { return Waits::No };
    let waits = match target.kind.as_str() {
        "parent-child" => target.waits == Waits::Yes,
        "waits-for" => target.open_children > 0,
        kind => affects_readiness(kind) && status != Status::Closed,
    };
    if waits { Waits::Yes } else { Waits::No }
}

/// Whether a bead is ready but for its `defer_until`, which only the clock decides.
pub fn is_ready(status: Status, bead_type: &str, waits: Waits, pending_decisions: u64) -> bool {
    status == Status::Open
        && waits == Waits::No
        && pending_decisions == 0
        && !NEVER_READY.contains(&bead_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: &str, status: Option<Status>, waits: Waits, open_children: u64) -> Target {
        Target { kind: kind.into(), status, waits, open_children }
    }

    #[test]
    fn only_an_open_blocker_holds_a_bead_back() {
        for status in Status::ALL {
            let expected = if *status == Status::Closed { Waits::No } else { Waits::Yes };
            for kind in ["blocks", "conditional-blocks"] {
                assert_eq!(
                    holds_back(&target(kind, Some(*status), Waits::No, 0)),
                    expected,
                    "{kind} {status}"
                );
            }
            assert_eq!(holds_back(&target("related", Some(*status), Waits::Yes, 3)), Waits::No);
        }
        assert_eq!(holds_back(&target("blocks", None, Waits::No, 0)), Waits::No);
    }

    #[test]
    fn a_child_waits_when_its_parent_waits_and_not_because_the_parent_is_open() {
        assert_eq!(holds_back(&target("parent-child", Some(Status::Open), Waits::No, 5)), Waits::No);
        assert_eq!(holds_back(&target("parent-child", Some(Status::Open), Waits::Yes, 0)), Waits::Yes);
    }

    #[test]
    fn waiting_for_a_spawner_ends_with_its_last_open_child() {
        assert_eq!(holds_back(&target("waits-for", Some(Status::Closed), Waits::No, 1)), Waits::Yes);
        assert_eq!(holds_back(&target("waits-for", Some(Status::Open), Waits::No, 0)), Waits::No);
    }

    #[test]
    fn ready_is_open_unhindered_undecided_and_of_a_working_type() {
        assert!(is_ready(Status::Open, "task", Waits::No, 0));
        assert!(!is_ready(Status::Blocked, "task", Waits::No, 0));
        assert!(!is_ready(Status::Open, "gate", Waits::No, 0));
        assert!(!is_ready(Status::Open, "task", Waits::Yes, 0));
        assert!(!is_ready(Status::Open, "task", Waits::No, 1));
    }
}
