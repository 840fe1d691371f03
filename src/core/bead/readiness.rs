//! Readiness of beads: the one definition of unblocked work, used by the writer and by tests.

use crate::bead::edit::affects_readiness;
use crate::bead::{NEVER_READY, Status};
use crate::kernel::ids::BeadId;

/// Reason on a bead that `bd` calls pinned: it stays open for ever and blocks no other bead.
pub const PINNED: &str = "bd:pinned";
/// Words in the close reason that mark a failed bead, as `bd` defines them.
const FAILURE_WORDS: [&str; 11] = [
    "failed",
    "rejected",
    "wontfix",
    "won't fix",
    "canceled",
    "cancelled",
    "abandoned",
    "blocked",
    "error",
    "timeout",
    "aborted",
];

string_enum! {
    /// Meaning of `conditional-blocks`.
    pub enum ConditionalMode {
        /// Like `blocks`, as `bd` does it.
        Blocks = "blocks",
        /// Meaning documented by `bd`: the bead is worked on only if the other one fails.
        OnFailure = "on-failure",
    }
}

string_enum! {
    /// The rule by which a bead waits for another.
    pub enum BlockingRule {
        Blocks = "blocks",
        /// `conditional-blocks` taken as `blocks`: the other one is not closed.
        ConditionalBlocks = "conditional-blocks",
        /// `conditional-blocks` taken by its word: the other one has not failed.
        ConditionalOnFailure = "conditional-blocks (only if it fails)",
        ParentWaits = "parent-child",
        AllChildren = "waits-for (all children)",
        /// None of the other one's children is closed.
        AnyChild = "waits-for (any child)",
    }
}

/// A bead that another one waits for, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    pub id: BeadId,
    pub rule: BlockingRule,
}

string_enum! {
    /// Children of a bead that `waits-for` waits for.
    pub enum Gate {
        AllChildren = "all-children",
        AnyChildren = "any-children",
    }
}

/// State of the bead at the other end of a dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyTarget {
    pub kind: String,
    /// Children of it that `waits-for` waits for.
    pub gate: Gate,
    /// The status of what it depends on; `None` when there is no such bead.
    pub status: Option<Status>,
    pub reason: Option<String>,
    pub waits: IsWaiting,
    /// For `waits-for`: how many of the target's children are not closed.
    pub open_children: u64,
    /// For `waits-for`: how many of them are.
    pub closed_children: u64,
}

/// Result of checking one dependency: waiting or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsWaiting {
    Yes,
    /// No dependency blocks it.
    No,
}

/// Returns whether the reason of a closed bead says that it failed.
pub fn is_failure(close_reason: &str) -> bool {
    let lower = close_reason.to_lowercase();
    FAILURE_WORDS.iter().any(|word| lower.contains(word))
}

/// The rule by which a dependency makes its bead wait, if it does. A missing target never does, nor one that is
/// pinned; a child waits when its parent waits.
pub fn blocking_rule(target: &DependencyTarget, conditional: ConditionalMode) -> Option<BlockingRule> {
    let status = target.status?;
    let is_open =
        status != Status::Closed && !(status == Status::Blocked && target.reason.as_deref() == Some(PINNED));
    let (rule, holds) = match target.kind.as_str() {
        "blocks" => (BlockingRule::Blocks, is_open),
        "conditional-blocks" if conditional == ConditionalMode::Blocks => {
            (BlockingRule::ConditionalBlocks, is_open)
        }
        "conditional-blocks" => {
            let failed = status == Status::Closed && target.reason.as_deref().is_some_and(is_failure);
            (BlockingRule::ConditionalOnFailure, !failed)
        }
        "parent-child" => (BlockingRule::ParentWaits, target.waits == IsWaiting::Yes),
        "waits-for" => match target.gate {
            Gate::AllChildren => (BlockingRule::AllChildren, target.open_children > 0),
            Gate::AnyChildren => {
                (BlockingRule::AnyChild, target.open_children > 0 && target.closed_children == 0)
            }
        },
        _ => return None,
    };
    debug_assert!(affects_readiness(&target.kind));
    holds.then_some(rule)
}

/// Fields of a bead that decide its readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadinessInput<'a> {
    pub status: Status,
    pub bead_type: &'a str,
    /// Reason that excludes it from work at any status, if any.
    pub shelved: Option<&'a str>,
    pub waits: IsWaiting,
    /// Number of open decisions about it.
    pub pending_decisions: u64,
}

/// Returns whether a bead is ready but for its `defer_until`, which only the clock decides.
pub fn is_ready(input: ReadinessInput<'_>) -> bool {
    input.status == Status::Open
        && input.waits == IsWaiting::No
        && input.pending_decisions == 0
        && input.shelved.is_none()
        && !NEVER_READY.contains(&input.bead_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: &str, status: Option<Status>) -> DependencyTarget {
        DependencyTarget {
            kind: kind.into(),
            gate: Gate::AllChildren,
            status,
            reason: None,
            waits: IsWaiting::No,
            open_children: 0,
            closed_children: 0,
        }
    }

    fn holds(target: &DependencyTarget) -> bool {
        blocking_rule(target, ConditionalMode::Blocks).is_some()
    }

    #[test]
    fn only_an_open_blocker_blocks() {
        for status in Status::ALL {
            let expected = *status != Status::Closed;
            for kind in ["blocks", "conditional-blocks"] {
                assert_eq!(holds(&target(kind, Some(*status))), expected, "{kind} {status}");
            }
            let related = DependencyTarget {
                waits: IsWaiting::Yes,
                open_children: 3,
                ..target("related", Some(*status))
            };
            assert!(!holds(&related));
        }
        assert!(!holds(&target("blocks", None)), "a missing target holds no bead back");
        let pinned =
            DependencyTarget { reason: Some(PINNED.into()), ..target("blocks", Some(Status::Blocked)) };
        assert!(!holds(&pinned));
    }

    #[test]
    fn on_failure_mode_waits_for_a_failed_close() {
        let rule = |status, reason: Option<&str>| {
            let target = DependencyTarget {
                reason: reason.map(str::to_owned),
                ..target("conditional-blocks", Some(status))
            };
            blocking_rule(&target, ConditionalMode::OnFailure)
        };
        assert_eq!(rule(Status::Open, None), Some(BlockingRule::ConditionalOnFailure));
        assert_eq!(rule(Status::Closed, Some("done")), Some(BlockingRule::ConditionalOnFailure));
        assert_eq!(rule(Status::Closed, None), Some(BlockingRule::ConditionalOnFailure));
        assert_eq!(rule(Status::Closed, Some("Build FAILED twice")), None);
        assert_eq!(rule(Status::Closed, Some("won't fix")), None);
    }

    #[test]
    fn child_waits_only_while_its_parent_waits() {
        assert!(!holds(&DependencyTarget { open_children: 5, ..target("parent-child", Some(Status::Open)) }));
        assert!(holds(&DependencyTarget {
            waits: IsWaiting::Yes,
            ..target("parent-child", Some(Status::Open))
        }));
    }

    #[test]
    fn waits_for_ends_with_last_or_first_closed_child() {
        let spawner = |gate, open_children, closed_children| {
            let target = DependencyTarget {
                gate,
                open_children,
                closed_children,
                ..target("waits-for", Some(Status::Closed))
            };
            blocking_rule(&target, ConditionalMode::Blocks)
        };
        assert_eq!(spawner(Gate::AllChildren, 1, 4), Some(BlockingRule::AllChildren));
        assert_eq!(spawner(Gate::AllChildren, 0, 0), None);
        assert_eq!(spawner(Gate::AnyChildren, 4, 0), Some(BlockingRule::AnyChild));
        assert_eq!(spawner(Gate::AnyChildren, 4, 1), None);
        assert_eq!(spawner(Gate::AnyChildren, 0, 0), None);
    }

    #[test]
    fn ready_needs_open_unblocked_decided_and_work_type() {
        let input = ReadinessInput {
            status: Status::Open,
            bead_type: "task",
            shelved: None,
            waits: IsWaiting::No,
            pending_decisions: 0,
        };
        assert!(is_ready(input));
        assert!(!is_ready(ReadinessInput { status: Status::Blocked, ..input }));
        assert!(!is_ready(ReadinessInput { bead_type: "gate", ..input }));
        assert!(!is_ready(ReadinessInput { shelved: Some("pinned"), ..input }));
        assert!(!is_ready(ReadinessInput { waits: IsWaiting::Yes, ..input }));
        assert!(!is_ready(ReadinessInput { pending_decisions: 1, ..input }));
    }
}
