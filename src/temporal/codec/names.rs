//! Names on the Temporal server: workflow types, ids, queues, search attributes.

use temporalio_common::search_attributes::SearchAttributeKey;

/// The queue of workflows and of activities that need the store; served only by the process with the data directory.
pub const CONTROL_QUEUE: &str = "arbiter-control";
/// The queue of provider calls, served also by workers on other machines.
pub const PROVIDERS_QUEUE: &str = "arbiter-providers";

/// The search attribute for the status of the mirrored entity.
pub const STATUS: SearchAttributeKey<String> = SearchAttributeKey::keyword("ArbiterStatus");
/// The search attribute for the project of the mirrored entity.
pub const PROJECT: SearchAttributeKey<String> = SearchAttributeKey::keyword("ArbiterProject");

/// The most characters of an attribute: PostgreSQL as Temporal's store never lists a workflow with a longer one.
pub const MAX_ATTRIBUTE: usize = 255;

/// The aggregator id of events without a project.
pub const NO_PROJECT: &str = "_system";

/// The kind of a workflow: the entity it mirrors or the work it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An agent.
    Agent,
    /// A bead.
    Bead,
    /// A decision.
    Decision,
    /// The events of a project, and its record.
    Events,
    /// A provider and its heartbeat.
    Provider,
    /// One call to a provider.
    Query,
    /// The dispatcher of a project.
    Dispatcher,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Agent,
        Self::Bead,
        Self::Decision,
        Self::Events,
        Self::Provider,
        Self::Query,
        Self::Dispatcher,
    ];

    /// Returns the workflow type on the server.
    pub const fn workflow_type(self) -> &'static str {
        match self {
            Self::Agent => "AgentLifecycleWorkflow",
            Self::Bead => "BeadProcessingWorkflow",
            Self::Decision => "DecisionWorkflow",
            Self::Events => "EventAggregatorWorkflow",
            Self::Provider => "ProviderHeartbeatWorkflow",
            Self::Query => "ProviderQueryWorkflow",
            Self::Dispatcher => "DispatcherWorkflow",
        }
    }

    /// Returns the prefix of the workflow id.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Agent => "agent-",
            Self::Bead => "bead-",
            Self::Decision => "decision-",
            Self::Events => "events-",
            Self::Provider => "provider-heartbeat-",
            Self::Query => "query-",
            Self::Dispatcher => "dispatcher-",
        }
    }

    /// Returns the workflow id of an entity.
    pub fn workflow_id(self, id: &str) -> String {
        format!("{}{id}", self.prefix())
    }

    /// Returns the field of the entity's id in a start input.
    pub const fn id_field(self) -> &'static str {
        match self {
            Self::Agent => "agent_id",
            Self::Bead => "bead_id",
            Self::Decision => "decision_id",
            Self::Events | Self::Dispatcher => "project_id",
            Self::Provider => "provider_id",
            Self::Query => "query_id",
        }
    }

    /// Returns the noun for messages.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Bead => "bead",
            Self::Decision => "decision",
            Self::Events | Self::Dispatcher => "project",
            Self::Provider => "provider",
            Self::Query => "query",
        }
    }

    /// Returns the kind of a workflow type, as in `[temporal.queues]`.
    pub fn from_workflow_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.workflow_type() == name)
    }
}

/// Cuts a text to the longest value of a search attribute.
pub(crate) fn search_attribute_value(text: &str) -> String {
    text.chars().take(MAX_ATTRIBUTE).collect()
}
