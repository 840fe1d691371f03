//! State machines as tables: a transition that is not a row of the table does not exist.

use crate::kernel::refusal::Refusal;
use std::fmt::Display;

/// A set of states with its one table of transitions.
pub trait StateMachine: Copy + Eq + Display + 'static {
    /// Event that makes the entity change its state.
    type Trigger: Copy + Eq + Display + 'static;
    /// The entity's name in messages and diagrams.
    const ENTITY: &'static str;
    /// `(from, trigger, to)`; at most one row for each pair of state and trigger.
    const TRANSITIONS: &'static [(Self, Self::Trigger, Self)];

    /// Returns the state after `trigger`, if the transition exists.
    fn after(self, trigger: Self::Trigger) -> Option<Self> {
        Self::TRANSITIONS.iter().find(|(from, by, _)| *from == self && *by == trigger).map(|(_, _, to)| *to)
    }

    /// Returns the state after `trigger`, or a refusal that names the current state.
    fn step(self, id: &str, trigger: Self::Trigger) -> Result<Self, Refusal> {
        self.after(trigger).ok_or_else(|| Refusal::Transition {
            entity: Self::ENTITY,
            id: id.to_owned(),
            state: self.to_string(),
            trigger: trigger.to_string(),
        })
    }
}

/// The table as a Mermaid state diagram; the documents' diagrams are made by this function.
pub fn mermaid<M: StateMachine>() -> String {
    let mut text = String::from("stateDiagram-v2\n");
    for (from, trigger, to) in M::TRANSITIONS {
        text.push_str(&format!("    {from} --> {to}: {trigger}\n"));
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Every (state, trigger) pair either has exactly one row or is refused with the state it was in.
    pub(crate) fn check_exhaustively<M: StateMachine>(states: &[M], triggers: &[M::Trigger]) {
        for state in states {
            for trigger in triggers {
                let rows =
                    M::TRANSITIONS.iter().filter(|(from, by, _)| from == state && by == trigger).count();
                assert!(rows <= 1, "{} {state} {trigger} has {rows} rows", M::ENTITY);
                match state.step("x", *trigger) {
                    Ok(to) => assert!(rows == 1 && states.contains(&to)),
                    Err(Refusal::Transition { state: named, .. }) => {
                        assert!(rows == 0 && named == state.to_string());
                    }
                    Err(other) => panic!("unexpected refusal {other}"),
                }
            }
        }
        for (from, trigger, to) in M::TRANSITIONS {
            assert!(states.contains(from) && states.contains(to) && triggers.contains(trigger));
        }
    }
}
