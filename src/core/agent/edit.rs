//! Client input for agents: new agents and patches.

use crate::agent::config::AgentConfig;
use crate::agent::{Agent, Kind, Status, check};
use crate::kernel::ids::{AgentId, ProjectId, ProviderId};
use crate::kernel::initial_status::InitialStatus;
use crate::kernel::record::set_if_some;
use crate::kernel::refusal::Refusal;
use crate::kernel::time::Timestamp;

/// Request to create an agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewAgent {
    /// A chosen id, or none.
    pub id: Option<String>,
    pub name: String,
    pub description: String,
    pub provider_id: Option<String>,
    pub persona_name: Option<String>,
    pub role: Option<String>,
    /// The project it works for; none: all.
    pub project_id: Option<String>,
    /// Kind of its worker; `llm` by default.
    pub kind: Option<Kind>,
    pub config: AgentConfig,
    /// `active`: it is started at once.
    pub status: InitialStatus,
}

impl NewAgent {
    /// The agent as it will be stored, not started yet.
    pub fn build(&self, id: AgentId, now: Timestamp) -> Result<Agent, Refusal> {
        let agent = Agent {
            id,
            name: self.name.clone(),
            description: self.description.clone(),
            provider_id: self.provider_id.clone().map(ProviderId::from_trusted),
            persona_name: self.persona_name.clone(),
            role: self.role.clone(),
            project_id: self.project_id.clone().map(ProjectId::from_trusted),
            kind: self.kind.unwrap_or(Kind::Llm),
            status: Status::Inactive,
            status_reason: None,
            current_bead: None,
            config: self.config.clone(),
            created_at: now,
            updated_at: now,
            last_active: None,
            revision: 1,
        };
        check(&agent)?;
        Ok(agent)
    }
}

/// Fields of an agent that are to change; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentPatch {
    pub name: Option<String>,
    pub description: Option<String>,
    pub provider_id: Option<Option<String>>,
    pub persona_name: Option<Option<String>>,
    pub role: Option<Option<String>>,
    pub project_id: Option<Option<String>>,
    pub config: Option<AgentConfig>,
}

impl AgentPatch {
    /// The agent as the patch wants it.
    pub fn apply(&self, agent: &Agent) -> Result<Agent, Refusal> {
        let mut after = agent.clone();
        let patch = self.clone();
        set_if_some(&mut after.name, patch.name);
        set_if_some(&mut after.description, patch.description);
        set_if_some(&mut after.provider_id, patch.provider_id.map(|id| id.map(ProviderId::from_trusted)));
        set_if_some(&mut after.persona_name, patch.persona_name);
        set_if_some(&mut after.role, patch.role);
        set_if_some(&mut after.project_id, patch.project_id.map(|id| id.map(ProjectId::from_trusted)));
        set_if_some(&mut after.config, patch.config);
        check(&after)?;
        Ok(after)
    }
}
