//! The kinds of actors, by the names that events, counters and fault injection use.

use crate::runtime::host::Kind;
use std::fmt::{self, Display, Formatter};

/// A kind of actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActorKind {
    Agent,
    Bead,
    BeadFiles,
    Decision,
    Dispatcher,
    EventBus,
    FileLocks,
    Heartbeat,
    Notifier,
    Orchestrator,
    Project,
    Provider,
    Pull,
    Vault,
}

impl ActorKind {
    /// Returns the name that events and metrics show.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Bead => "bead",
            Self::BeadFiles => "bead_files",
            Self::Decision => "decision",
            Self::Dispatcher => "dispatcher",
            Self::EventBus => "event_bus",
            Self::FileLocks => "file_locks",
            Self::Heartbeat => "heartbeat",
            Self::Notifier => "notifier",
            Self::Orchestrator => "orchestrator",
            Self::Project => "project",
            Self::Provider => "provider",
            Self::Pull => "pull",
            Self::Vault => "vault",
        }
    }
}

impl Display for ActorKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Kind for ActorKind {}
