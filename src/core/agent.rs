//! Agents: an LLM with a persona, or an external program; their machine and rules.

pub mod authorize;
pub mod autonomy;
pub mod config;
pub mod edit;
pub mod persona;

use crate::agent::config::AgentConfig;
use crate::kernel::event_type::EventType;
use crate::kernel::ids::{AgentId, BeadId, ProjectId, ProviderId};
use crate::kernel::limits;
use crate::kernel::record::{FieldChanges, Record};
use crate::kernel::refusal::{Problems, Refusal};
use crate::kernel::state_machine::StateMachine;
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

string_enum! {
    /// State of an agent in its lifecycle.
    pub enum Status {
        Inactive = "inactive",
        Spawned = "spawned",
        Idle = "idle",
        /// At work on a bead.
        Working = "working",
        /// Waiting for something, or failed too often.
        Blocked = "blocked",
        Shutdown = "shutdown",
    }
}

string_enum! {
    /// Event that moves an agent to another state.
    pub enum Trigger {
        Activate = "activate",
        Ready = "ready",
        Assign = "assign",
        Finish = "finish",
        Release = "release",
        Wait = "wait",
        Resume = "resume",
        Fault = "fault",
        Shutdown = "shutdown",
        Restart = "restart",
    }
}

impl StateMachine for Status {
    type Trigger = Trigger;
    const ENTITY: &'static str = "agent";
    const TRANSITIONS: &'static [(Self, Trigger, Self)] = &[
        (Self::Inactive, Trigger::Activate, Self::Spawned),
        (Self::Spawned, Trigger::Ready, Self::Idle),
        (Self::Idle, Trigger::Assign, Self::Working),
        (Self::Working, Trigger::Finish, Self::Idle),
        (Self::Working, Trigger::Release, Self::Idle),
        (Self::Working, Trigger::Wait, Self::Blocked),
        (Self::Blocked, Trigger::Resume, Self::Working),
        (Self::Blocked, Trigger::Release, Self::Idle),
        (Self::Spawned, Trigger::Fault, Self::Blocked),
        (Self::Idle, Trigger::Fault, Self::Blocked),
        (Self::Working, Trigger::Fault, Self::Blocked),
        (Self::Spawned, Trigger::Shutdown, Self::Shutdown),
        (Self::Idle, Trigger::Shutdown, Self::Shutdown),
        (Self::Working, Trigger::Shutdown, Self::Shutdown),
        (Self::Blocked, Trigger::Shutdown, Self::Shutdown),
        (Self::Idle, Trigger::Restart, Self::Spawned),
        (Self::Blocked, Trigger::Restart, Self::Spawned),
        (Self::Shutdown, Trigger::Restart, Self::Spawned),
    ];
}

string_enum! {
    /// Kind of worker behind an agent.
    pub enum Kind {
        /// Arbiter, through the agent's provider.
        Llm = "llm",
        /// Another program, over the API.
        External = "external",
    }
}

/// An agent as the store holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    pub id: AgentId,
    pub name: String,
    pub description: String,
    /// The provider it speaks to; always there for `llm`.
    pub provider_id: Option<ProviderId>,
    pub persona_name: Option<String>,
    /// The role it fills; beads with the tag `role:x` look for it.
    pub role: Option<String>,
    /// The project it works for; none: all.
    pub project_id: Option<ProjectId>,
    pub kind: Kind,
    pub status: Status,
    pub status_reason: Option<String>,
    pub current_bead: Option<BeadId>,
    pub config: AgentConfig,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Time of its last activity (telemetry).
    pub last_active: Option<Timestamp>,
    pub revision: u64,
}

impl Record for Agent {
    const ENTITY: &'static str = "agent";
    const CREATED: EventType = EventType::AgentSpawned;
    const STATUS_CHANGED: &'static [EventType] = &[EventType::AgentStatusChange];
    const UPDATED: EventType = EventType::AgentUpdated;
    const TELEMETRY: &'static [&'static str] = &["last_active"];

    fn id(&self) -> &str {
        self.id.as_str()
    }
    fn project(&self) -> Option<&str> {
        self.project_id.as_ref().map(ProjectId::as_str)
    }
    fn revision(&self) -> u64 {
        self.revision
    }
    fn status_event(&self) -> EventType {
        EventType::AgentStatusChange
    }
    fn touch(&mut self, at: Timestamp) {
        self.revision += 1;
        self.updated_at = at;
    }
}

/// Command to an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Start an agent that was created without being started.
    Activate,
    BecomeReady,
    /// Give it a bead.
    Assign(BeadId),
    Finish {
        outcome: String,
    },
    Release {
        reason: String,
    },
    Wait {
        reason: String,
    },
    Resume,
    Fail {
        reason: String,
    },
    Shutdown {
        reason: Option<String>,
    },
    Restart,
    /// Become what `after` says in its plain fields.
    Update(Box<Agent>),
}

impl Agent {
    /// Returns the field changes that a command causes, or the reason to refuse it.
    pub fn decide(&self, command: &Command) -> Result<Vec<FieldChanges>, Refusal> {
        let mut after = self.clone();
        let mut notes = Vec::new();
        after.status_reason = None;
        let step = |trigger| self.status.step(self.id.as_str(), trigger);
        match command {
            Command::Activate => after.status = step(Trigger::Activate)?,
            Command::BecomeReady => after.status = step(Trigger::Ready)?,
            Command::Assign(bead) => {
                after.status = step(Trigger::Assign)?;
                after.current_bead = Some(bead.clone());
            }
            Command::Finish { outcome } => {
                after.status = step(Trigger::Finish)?;
                let data = json!({"bead_id": self.current_bead, "outcome": outcome});
                notes.push(FieldChanges::event_only(EventType::AgentCompleted, data));
                after.current_bead = None;
            }
            Command::Release { reason } => {
                after.status = step(Trigger::Release)?;
                after.current_bead = None;
                after.status_reason = Some(reason.clone());
            }
            Command::Wait { reason } => {
                after.status = step(Trigger::Wait)?;
                after.status_reason = Some(reason.clone());
            }
            Command::Resume => after.status = step(Trigger::Resume)?,
            Command::Fail { reason } => {
                after.status = step(Trigger::Fault)?;
                after.current_bead = None;
                after.status_reason = Some(reason.clone());
            }
            Command::Shutdown { reason } => {
                after.status = step(Trigger::Shutdown)?;
                after.current_bead = None;
                after.status_reason.clone_from(reason);
                notes.push(FieldChanges::event_only(EventType::AgentShutdown, json!({"reason": reason})));
            }
            Command::Restart => {
                after.status = step(Trigger::Restart)?;
                after.current_bead = None;
                notes.push(FieldChanges::event_only(EventType::AgentRestarted, json!({"old": self.status})));
            }
            Command::Update(wanted) => after = wanted.as_ref().clone(),
        }
        let reason = after.status_reason.as_deref();
        let change = FieldChanges::between(self, &after, reason);
        let mut happenings = Vec::new();
        if !change.is_noop() {
            happenings.push(change);
        }
        happenings.append(&mut notes);
        Ok(happenings)
    }
}

/// Checks an agent's own fields and reports all problems at once.
pub fn check(agent: &Agent) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    problems.require(
        limits::is_name_length(&agent.name),
        "name",
        limits::must_have_chars(&limits::NAME_CHARS),
    );
    problems.require(
        agent.description.len() <= limits::MAX_DESCRIPTION,
        "description",
        limits::must_fit(limits::MAX_DESCRIPTION),
    );
    for (field, text) in [("role", &agent.role), ("persona_name", &agent.persona_name)] {
        let fits = text.as_ref().is_none_or(|text| text.len() <= limits::MAX_TAG);
        problems.require(fits, field, limits::must_fit(limits::MAX_TAG));
    }
    let provider = agent.kind == Kind::External || agent.provider_id.is_some();
    problems.require(provider, "provider_id", "must be given for an agent of kind llm");
    agent.config.check(&mut problems);
    problems.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::record::{apply_all, created_event, event, replay};
    use crate::kernel::state_machine::tests::check_exhaustively;
    use proptest::prelude::*;

    fn agent() -> Agent {
        Agent {
            id: AgentId::from_trusted("a"),
            name: "A".into(),
            description: String::new(),
            provider_id: Some(ProviderId::from_trusted("p")),
            persona_name: None,
            role: None,
            project_id: None,
            kind: Kind::Llm,
            status: Status::Inactive,
            status_reason: None,
            current_bead: None,
            config: AgentConfig::default(),
            created_at: Timestamp::from_millis(0),
            updated_at: Timestamp::from_millis(0),
            last_active: None,
            revision: 1,
        }
    }

    #[test]
    fn transitions_every_pair_is_listed_or_refused() {
        check_exhaustively(Status::ALL, Trigger::ALL);
    }

    #[test]
    fn llm_agent_without_provider_is_refused() {
        let nobody = Agent { provider_id: None, ..agent() };
        assert!(check(&nobody).is_err());
        assert!(check(&Agent { kind: Kind::External, ..nobody }).is_ok());
    }

    proptest! {
        #[test]
        fn replay_of_any_history_yields_the_row(picks in prop::collection::vec(0usize..9, 0..40)) {
            let reason = || "r".to_owned();
            let commands = [
                Command::Activate,
                Command::BecomeReady,
                Command::Assign(BeadId::from_trusted("bd-1")),
                Command::Finish { outcome: "closed".into() },
                Command::Release { reason: reason() },
                Command::Fail { reason: reason() },
                Command::Shutdown { reason: Some(reason()) },
                Command::Restart,
                Command::Wait { reason: reason() },
            ];
            let mut row = agent();
            let first = created_event(&row);
            let mut log = vec![(first.kind, first.data, row.created_at)];
            for (step, pick) in picks.iter().enumerate() {
                let now = Timestamp::from_millis(i64::try_from(step).unwrap());
                let Ok(happenings) = row.decide(&commands[*pick]) else { continue };
                let next = apply_all(&row, &happenings, now);
                for happening in &happenings {
                    let told = event(&next, happening);
                    log.push((told.kind, told.data, now));
                }
                row = next;
            }
            let replayed: Option<Agent> = replay(log.iter().map(|(kind, data, at)| (*kind, data, *at)));
            prop_assert_eq!(replayed, Some(row));
        }
    }
}
