//! The actor of one agent: its life from started to stopped, and the beginning of its runs.
//!
//! Owns nothing in memory but what the store says; runs are tasks of their own, so that an agent at work
//! still answers. Talks to the store. Restart: at once; a bead whose run is gone is given back.

use crate::actor_kind::ActorKind;
use crate::agent::AgentContext;
use crate::agent::{AgentsHandle, release_bead};
use crate::caller::Caller;
use crate::conflict_retry::{check_revision, retry_on_conflict};
use crate::error::Error;
use crate::error::Reply;
use crate::run;
use crate::runtime::cell::{Behavior, BehaviorContext};
use arbiter_core::agent::edit::AgentPatch;
use arbiter_core::agent::{self, Agent, Kind, Status, authorize};
use arbiter_core::kernel::ids::BeadId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{Change, Unit};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The name of the timer of the next try to start.
const AGAIN: &str = "again";

/// Operation of a caller on an agent.
pub(crate) enum AgentRequest {
    Edit {
        patch: Option<Box<AgentPatch>>,
        /// The word of the status to reach.
        status: Option<String>,
        /// The reason of the change of status.
        reason: Option<String>,
    },
    Activate,
    Restart,
    Shutdown(Option<String>),
}

/// Command of the agent's actor.
pub(crate) enum Command {
    Change { caller: Caller, request: AgentRequest, answer: Reply<Agent> },
    Reconcile { answer: Option<Reply<Agent>> },
    BeginRun { bead: BeadId, token: String },
}

/// The actor of one agent.
pub(crate) struct AgentActor {
    context: BehaviorContext<Self>,
}

impl Behavior for AgentActor {
    type Command = Command;
    type Host = AgentContext;
    const KIND: ActorKind = ActorKind::Agent;

    fn new(context: BehaviorContext<Self>) -> Self {
        Self { context }
    }

    async fn start(&mut self) {
        // A failure has been logged, and the actor tries again by itself.
        let _ = self.settle().await;
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Change { caller, request, answer } => {
                answer.with(self.change(&caller, &request)).await;
            }
            Command::Reconcile { answer } => {
                let outcome = self.settle().await;
                if let Some(answer) = answer {
                    answer.send(outcome);
                }
            }
            Command::BeginRun { bead, token } => match self.row().await {
                Ok(agent) if agent.kind == Kind::Llm && agent.current_bead.as_ref() == Some(&bead) => {
                    run::begin(&self.context.shared.run_context, &agent, &bead, token);
                }
                // The claim has ended meanwhile.
                Ok(_) => {}
                Err(error) => tracing::warn!(agent = %self.context.id, %error, "a run could not begin"),
            },
        }
    }
}

impl AgentActor {
    async fn row(&self) -> Result<Agent, Error> {
        let found = self.context.shared.store.agent(self.context.id.clone()).await?;
        found.ok_or_else(|| Refusal::not_found("agent", &self.context.id).into())
    }

    /// Reconciles the agent, and again a moment later when the store failed. An agent without a row lets its actor go.
    async fn settle(&self) -> Result<Agent, Error> {
        let outcome = self.reconcile().await;
        match &outcome {
            Ok(_) => self.context.pin.store(true, Ordering::Release),
            Err(Error::Refused(Refusal::NotFound { .. })) => self.context.pin.store(false, Ordering::Release),
            Err(error) => {
                tracing::warn!(agent = %self.context.id, %error, "could not start agent");
                self.context.timers.set_retry(AGAIN, Command::Reconcile { answer: None });
            }
        }
        outcome
    }

    /// Brings a started agent to where it can work: ready when it was spawned, free when its run is gone.
    async fn reconcile(&self) -> Result<Agent, Error> {
        let shared = &self.context.shared;
        retry_on_conflict(async || {
            let agent = self.row().await?;
            let mut unit = Unit::new(shared.clock.now(), "system", "agents");
            let lost = agent.kind == Kind::Llm
                && agent.status == Status::Working
                && !shared.runs.is_running(&agent.id);
            let command = match agent.status {
                Status::Spawned => agent::Command::BecomeReady,
                Status::Working if lost && run::is_late(&agent, unit.at) => {
                    release_bead(&shared.store, &mut unit, &agent, "its run was lost").await?;
                    agent::Command::Release { reason: "its run was lost".to_owned() }
                }
                _ => return Ok(agent),
            };
            let happenings = agent.decide(&command)?;
            let after = unit.apply(&agent, &happenings, Change::Agent);
            shared.store.commit(unit).await?;
            Ok(after)
        })
        .await
    }

    async fn change(&self, caller: &Caller, request: &AgentRequest) -> Result<Agent, Error> {
        let shared = &self.context.shared;
        let after = retry_on_conflict(async || {
            let agent = self.row().await?;
            authorize::change(&caller.authority, &agent)?;
            check_revision(caller, &agent)?;
            let mut unit = caller.unit(shared.clock.now(), "agents");
            let commands = match request {
                AgentRequest::Edit { patch, status, reason } => {
                    let mut commands = Vec::new();
                    if let Some(patch) = patch {
                        let wanted = patch.apply(&agent)?;
                        AgentsHandle(Arc::clone(shared)).check_references(&wanted, Some(&agent)).await?;
                        commands.push(agent::Command::Update(Box::new(wanted)));
                    }
                    if let Some(word) = status {
                        commands.push(status_command(&agent, word, reason.as_deref(), &caller.name)?);
                    }
                    commands
                }
                AgentRequest::Activate => vec![agent::Command::Activate],
                AgentRequest::Restart => vec![agent::Command::Restart],
                AgentRequest::Shutdown(reason) => vec![agent::Command::Shutdown { reason: reason.clone() }],
            };
            let mut after = agent.clone();
            for command in &commands {
                let happenings = after.decide(command)?;
                after = unit.apply(&after, &happenings, Change::Agent);
            }
            if has_new_position(&agent, &after) {
                unit.change(Change::CheckInstanceLimit(after.id.clone()));
            }
            if agent.current_bead.is_some() && after.current_bead.is_none() {
                let reason = after.status_reason.as_deref().unwrap_or(after.status.as_str());
                release_bead(&shared.store, &mut unit, &agent, reason).await?;
            }
            if !unit.is_empty() {
                shared.store.commit(unit).await?;
            }
            Ok(after)
        })
        .await?;
        if after.current_bead.is_none() {
            shared.runs.abort_all(&after.id);
        }
        // Here and not by the caller, which may have gone.
        if after.status == Status::Spawned { self.settle().await } else { Ok(after) }
    }
}

/// Returns whether an agent may fill another position than before.
fn has_new_position(before: &Agent, after: &Agent) -> bool {
    let place = |agent: &Agent| (agent.project_id.clone(), agent.role.clone(), agent.persona_name.clone());
    place(before) != place(after) || (before.status == Status::Shutdown && after.status != Status::Shutdown)
}

/// The command of the one trigger that leads an agent to the status that a word names.
fn status_command(
    agent: &Agent,
    word: &str,
    reason: Option<&str>,
    set_by: &str,
) -> Result<agent::Command, Refusal> {
    let why = || reason.map_or_else(|| format!("set by {set_by}"), str::to_owned);
    let same = || {
        Refusal::conflict(ProblemCode::SameStatus, format!("agent {} is {} already", agent.id, agent.status))
    };
    match (word, agent.status) {
        ("active", Status::Inactive) => Ok(agent::Command::Activate),
        ("active", Status::Shutdown | Status::Blocked) => Ok(agent::Command::Restart),
        ("active", _) => Err(same()),
        ("working", _) => {
            Err(Refusal::conflict(ProblemCode::AssignABead, "an agent works when it has a bead: assign one"))
        }
        (word, status) if word == status.as_str() => Err(same()),
        ("shutdown", _) => Ok(agent::Command::Shutdown { reason: reason.map(str::to_owned) }),
        ("blocked", _) => Ok(agent::Command::Fail { reason: why() }),
        ("idle", _) => Ok(agent::Command::Release { reason: why() }),
        _ => Err(Refusal::field("status", "must be one of active, idle, blocked, shutdown")),
    }
}
