//! Agents as they are shown and as clients describe them.

use crate::http::ApiError;
use crate::http::wire::schema::{any_object, maybe_time, time, word};
use crate::http::wire::serde_fields::{nullable, present};
use arbiter_core::agent::config::AgentConfig;
use arbiter_core::agent::edit::{AgentPatch, NewAgent};
use arbiter_core::agent::{Agent, Kind, Status};
use arbiter_core::kernel::ids::{BeadId, ProjectId, ProviderId};
use arbiter_core::kernel::initial_status::InitialStatus;
use arbiter_core::kernel::time::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An agent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AgentView {
    /// Its id.
    pub id: String,
    /// Its name.
    name: String,
    /// Purpose.
    description: String,
    /// The provider it speaks to.
    provider_id: Option<String>,
    /// The persona it plays.
    persona_name: Option<String>,
    /// The role it fills.
    role: Option<String>,
    /// The project it works for; null: all.
    project_id: Option<String>,
    /// Worker kind of the agent.
    #[schemars(schema_with = "word::<Kind>")]
    kind: Kind,
    /// Current status.
    #[schemars(schema_with = "word::<Status>")]
    status: Status,
    /// Reason for the status, if there is one.
    status_reason: Option<String>,
    /// The bead it works on.
    current_bead: Option<String>,
    /// Model settings.
    #[schemars(schema_with = "any_object")]
    config: AgentConfig,
    /// Time of creation.
    #[schemars(schema_with = "time")]
    created_at: Timestamp,
    /// Time of the last change.
    #[schemars(schema_with = "time")]
    updated_at: Timestamp,
    /// Time of the last activity.
    #[schemars(schema_with = "maybe_time")]
    last_active: Option<Timestamp>,
    /// Its revision.
    revision: u64,
}

impl From<Agent> for AgentView {
    fn from(agent: Agent) -> Self {
        Self {
            id: agent.id.as_str().to_owned(),
            name: agent.name,
            description: agent.description,
            provider_id: agent.provider_id.as_ref().map(ProviderId::to_string),
            persona_name: agent.persona_name,
            role: agent.role,
            project_id: agent.project_id.as_ref().map(ProjectId::to_string),
            kind: agent.kind,
            status: agent.status,
            status_reason: agent.status_reason,
            current_bead: agent.current_bead.as_ref().map(BeadId::to_string),
            config: agent.config,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
            last_active: agent.last_active,
            revision: agent.revision,
        }
    }
}

/// Initial status of a new agent, as the seed file writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum StartWord {
    /// At once.
    Active,
    /// Inactive until it is activated.
    Inactive,
}

impl From<StartWord> for InitialStatus {
    fn from(word: StartWord) -> Self {
        match word {
            StartWord::Active => Self::Active,
            StartWord::Inactive => Self::Inactive,
        }
    }
}

/// An agent to be created.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAgentBody {
    /// Its id; else one is made.
    #[serde(default)]
    id: Option<String>,
    /// Its name.
    name: String,
    /// Purpose.
    #[serde(default)]
    description: Option<String>,
    /// The provider it speaks to; required of kind `llm`.
    #[serde(default)]
    provider_id: Option<String>,
    /// The persona it plays.
    #[serde(default)]
    persona_name: Option<String>,
    /// The role it fills.
    #[serde(default)]
    role: Option<String>,
    /// The project it works for; else it works for all.
    #[serde(default)]
    project_id: Option<String>,
    /// `llm` by default.
    #[serde(default)]
    #[schemars(schema_with = "word::<Kind>")]
    kind: Option<Kind>,
    /// Model settings: an object, or a string that holds one.
    #[serde(default)]
    #[schemars(schema_with = "object_or_text")]
    config: Value,
    /// Initial status; `active` by default.
    #[serde(default)]
    status: Option<StartWord>,
}

/// Fields of an agent that are to change.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AgentPatchBody {
    /// Its name.
    #[serde(deserialize_with = "present")]
    name: Option<String>,
    /// Purpose.
    #[serde(deserialize_with = "present")]
    description: Option<String>,
    /// The provider it speaks to.
    #[serde(deserialize_with = "nullable")]
    provider_id: Option<Option<String>>,
    /// The persona it plays.
    #[serde(deserialize_with = "nullable")]
    persona_name: Option<Option<String>>,
    /// The role it fills.
    #[serde(deserialize_with = "nullable")]
    role: Option<Option<String>>,
    /// The project it works for; null: all.
    #[serde(deserialize_with = "nullable")]
    project_id: Option<Option<String>>,
    /// Model settings; replaces all of them.
    #[serde(deserialize_with = "present")]
    #[schemars(schema_with = "object_or_text")]
    config: Option<Value>,
    /// The status to bring it to: blocked, idle, shutdown or active.
    #[serde(deserialize_with = "present")]
    status: Option<String>,
}

/// A status to bring an agent to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusBody {
    /// `blocked`, `idle`, `shutdown` or `active`.
    pub status: String,
    /// Reason.
    #[serde(default)]
    pub reason: Option<String>,
}

/// An agent to be made after another one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneBody {
    /// Its name.
    pub name: String,
    /// Its id; else one is made.
    #[serde(default)]
    pub id: Option<String>,
    /// The persona it plays; else that of the other one.
    #[serde(default)]
    pub persona_name: Option<String>,
    /// True if the original agent is shut down in the same transaction, and its bead released.
    #[serde(default)]
    pub replace: bool,
}

/// A bead for an agent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignBody {
    /// The bead.
    pub bead_id: String,
}

/// Body with a reason.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReasonBody {
    /// Reason.
    pub reason: Option<String>,
}

fn object_or_text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["object", "string"], "additionalProperties": true})
}

fn read_config(value: &Value) -> Result<AgentConfig, ApiError> {
    AgentConfig::read(value).map_err(|error| ApiError::field("config", error))
}

impl NewAgentBody {
    /// The agent that is wanted.
    pub fn into_new(self) -> Result<NewAgent, ApiError> {
        Ok(NewAgent {
            config: read_config(&self.config)?,
            id: self.id,
            name: self.name,
            description: self.description.unwrap_or_default(),
            provider_id: self.provider_id,
            persona_name: self.persona_name,
            role: self.role,
            project_id: self.project_id,
            kind: self.kind,
            status: self.status.map_or(InitialStatus::Active, InitialStatus::from),
        })
    }
}

impl AgentPatchBody {
    /// The status that is wanted, and the changed fields.
    pub fn into_patch(self) -> Result<(Option<String>, AgentPatch), ApiError> {
        let patch = AgentPatch {
            config: self.config.as_ref().map(read_config).transpose()?,
            name: self.name,
            description: self.description,
            provider_id: self.provider_id,
            persona_name: self.persona_name,
            role: self.role,
            project_id: self.project_id,
        };
        Ok((self.status, patch))
    }
}
