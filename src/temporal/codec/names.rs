//! What everything is called at the Temporal server: types, ids, queues, search attributes.

use temporalio_common::search_attributes::SearchAttributeKey;

/// The queue of workflows and of whatever needs the store: only the process that holds the data directory serves it.
pub const CONTROL_QUEUE: &str = "arbiter-control";
/// The queue of calls to providers, which workers on other machines serve as well.
pub const PROVIDERS_QUEUE: &str = "arbiter-providers";

/// The status of what a workflow mirrors, where the server has the attribute.
pub const STATUS: SearchAttributeKey<String> = SearchAttributeKey::keyword("ArbiterStatus");
/// Its project, where the server has the attribute.
pub const PROJECT: SearchAttributeKey<String> = SearchAttributeKey::keyword("ArbiterProject");

/// The most characters of an attribute: PostgreSQL as Temporal's store never lists a workflow with a longer one.
pub const MAX_ATTRIBUTE: usize = 255;

/// The id of the aggregator of what belongs to no project.
pub const NO_PROJECT: &str = "_system";

/// What a workflow mirrors or does.
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
    /// What a project's work is handed out by.
    Dispatcher,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Agent,
        Self::Bead,
        Self::Decision,
        Self::Events,
        Self::Provider,
        Self::Query,
        Self::Dispatcher,
    ];

    /// The workflow type, as the server knows it.
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

    /// What stands before the entity's id in the workflow's.
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

    /// The id of the workflow of an entity.
    pub fn workflow_id(self, id: &str) -> String {
        format!("{}{id}", self.prefix())
    }

    /// What the entity's id is called in a start's input.
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

    /// What it is called in words.
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

    /// The kind of this name, as in `[temporal.queues]`.
    pub fn from_workflow_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.workflow_type() == name)
    }
}

/// A text as the value of a search attribute.
pub(crate) fn search_attribute_value(text: &str) -> String {
    text.chars().take(MAX_ATTRIBUTE).collect()
}
