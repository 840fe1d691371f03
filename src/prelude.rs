//! The types that most programs need: `use arbiter::prelude::*;`.

pub use crate::actors::BeadAction;
pub use crate::config::Settings;
pub use crate::core::agent::Agent;
pub use crate::core::agent::config::AgentConfig;
pub use crate::core::agent::edit::NewAgent;
pub use crate::core::bead::Bead;
pub use crate::core::bead::edit::NewBead;
pub use crate::core::decision::Decision;
pub use crate::core::decision::edit::NewDecision;
pub use crate::core::kernel::event::Event;
pub use crate::core::kernel::ids::{AgentId, BeadId, DecisionId, ProjectId, ProviderId};
pub use crate::core::kernel::initial_status::InitialStatus;
pub use crate::core::project::edit::NewProject;
pub use crate::core::provider::edit::NewProvider;
pub use crate::core::provider::{Provider, ProviderType};
pub use crate::{
    Arbiter, Caller, Error, EventItem, EventStream, ExposeSecret, Handles, SecretString, StartError,
};
#[cfg(feature = "temporal")]
pub use crate::{DecisionOutcome, TemporalStatus, WorkflowError, WorkflowKind};
