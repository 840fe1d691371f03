//! The receiver of a handoff: an agent passes its bead on to another agent or to a role.

use crate::kernel::ids::AgentId;

/// The receiver of a handoff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandoffTarget {
    Agent(AgentId),
    /// Any agent that fills the role.
    Role(String),
}

impl std::fmt::Display for HandoffTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Agent(id) => write!(f, "agent {id}"),
            Self::Role(role) => write!(f, "the role {role}"),
        }
    }
}
