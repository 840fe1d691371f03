//! Agents that are made after another one, and may take its place.

use crate::agent::{AgentsHandle, add, release_bead};
use crate::caller::Caller;
use crate::conflict_retry::{MAX_TRIES, check_revision, is_stale};
use crate::error::Error;
use crate::runtime::random;
use arbiter_core::agent::edit::NewAgent;
use arbiter_core::agent::{self, Agent, authorize};
use arbiter_core::kernel::ids::AgentId;
use arbiter_core::kernel::initial_status::InitialStatus;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::Change;

/// Fate of the original agent when it is cloned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloneMode {
    #[default]
    KeepOriginal,
    ReplaceOriginal,
}

/// Request for a clone of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentClone {
    /// A chosen id, or none.
    pub id: Option<String>,
    pub name: String,
    /// The persona it plays; none: that of the other one.
    pub persona_name: Option<String>,
    pub original: CloneMode,
}

impl AgentsHandle {
    /// Creates an agent as a copy of another one and starts it. If the original is to stop, it stops in the
    /// same transaction.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown agent or persona, wrong fields, a taken id, a full position, and when the one
    /// that is to leave was not started.
    pub async fn clone_agent(
        &self,
        caller: &Caller,
        id: &AgentId,
        wanted: AgentClone,
    ) -> Result<Agent, Error> {
        let new_id = match &wanted.id {
            Some(text) => AgentId::parse(text).map_err(|e| Refusal::field("id", e.to_string()))?,
            None => AgentId::from_random(random::bytes16()),
        };
        let (this, caller, id) = (self.clone(), caller.clone(), id.clone());
        let work = async move { this.clone_and_start(&caller, &id, &new_id, &wanted).await };
        self.0.run_to_completion("the clone of an agent", work).await
    }

    async fn clone_and_start(
        &self,
        caller: &Caller,
        id: &AgentId,
        new_id: &AgentId,
        wanted: &AgentClone,
    ) -> Result<Agent, Error> {
        let mut outcome = self.try_clone(caller, id, new_id, wanted).await;
        for _ in 1..MAX_TRIES {
            if !is_stale(&outcome) {
                break;
            }
            outcome = self.try_clone(caller, id, new_id, wanted).await;
        }
        outcome?;
        if wanted.original == CloneMode::ReplaceOriginal {
            self.0.runs.abort_all(id);
        }
        self.reconcile(new_id).await
    }

    async fn try_clone(
        &self,
        caller: &Caller,
        id: &AgentId,
        new_id: &AgentId,
        wanted: &AgentClone,
    ) -> Result<(), Error> {
        let shared = &self.0;
        let original = self.row(id).await?;
        authorize::change(&caller.authority, &original)?;
        check_revision(caller, &original)?;
        let mut unit = caller.unit(shared.clock.now(), "agents");
        let copy = replacement(&original, wanted).build(new_id.clone(), unit.at)?;
        self.check_references(&copy, Some(&original)).await?;
        if wanted.original == CloneMode::ReplaceOriginal {
            let reason = format!("replaced by {new_id}");
            release_bead(&shared.store, &mut unit, &original, &reason).await?;
            let command = agent::Command::Shutdown { reason: Some(reason) };
            unit.apply(&original, &original.decide(&command)?, Change::Agent);
        }
        add(&mut unit, &copy, InitialStatus::Active)?;
        shared.store.commit(unit).await?;
        Ok(())
    }
}

fn replacement(original: &Agent, wanted: &AgentClone) -> NewAgent {
    let agent = original.clone();
    NewAgent {
        id: wanted.id.clone(),
        name: wanted.name.clone(),
        description: agent.description,
        provider_id: agent.provider_id.map(|id| id.to_string()),
        persona_name: wanted.persona_name.clone().or(agent.persona_name),
        role: agent.role,
        project_id: agent.project_id.map(|id| id.to_string()),
        kind: Some(agent.kind),
        config: agent.config,
        status: InitialStatus::Active,
    }
}
