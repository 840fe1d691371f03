//! The workflows, one file each: the signals, queries and updates for Temporal clients.
//!
//! A workflow decides nothing: commands go to the actors through activities, and their answers are mirrored.

#![allow(missing_docs, reason = "the macros make constants that cannot be documented")]

mod agent_lifecycle;
mod bead_processing;
mod decision;
mod dispatcher;
pub(crate) mod entity_workflow;
mod event_aggregator;
mod provider_heartbeat;
mod provider_query;

pub use agent_lifecycle::AgentLifecycleWorkflow;
pub use bead_processing::BeadProcessingWorkflow;
pub use decision::DecisionWorkflow;
pub use dispatcher::DispatcherWorkflow;
pub use event_aggregator::{EventAggregatorWorkflow, EventBatch};
pub use provider_heartbeat::ProviderHeartbeatWorkflow;
pub use provider_query::{ProviderQueryWorkflow, QueryOutcome};

/// The error of an update handler.
pub(crate) type Refusal = Box<dyn std::error::Error + Send + Sync>;
