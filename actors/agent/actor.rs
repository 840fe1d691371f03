//! The actor of one agent: its life from started to stopped, and the beginning of its runs.
//!
//! Owns nothing in memory but what the store says; runs are tasks of their own, so that an agent at work
//! still answers. Talks to the store. Restart: at once; a bead whose run is gone is given back.

use crate::agent::{AgentsHandle, Answer, release_bead};
use crate::caller::Caller;
use crate::conflict_retry::{check_revision, until_fresh};
use crate::error::Fault;
use crate::run;
use crate::runtime::cell::{Role, Scope};
use arbiter_core::agent::edit::AgentPatch;
use arbiter_core::agent::{self, Agent, Kind, Status};
use arbiter_core::kernel::ids::BeadId;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{Change, Unit};
use std::sync::Arc;

/// What a caller wants of an agent.
pub(crate) enum Wish {
    Update(Box<AgentPatch>),
    Activate,
    Restart,
    Shutdown(Option<String>),
    Fail(String),
    Release(String),
}

/// What an agent can be told.
pub(crate) enum Command {
    Change { caller: Caller, wish: Wish, answer: Answer<Agent> },
    Settle { answer: Answer<Agent> },
    Begin { bead: BeadId, token: String },
}

/// The actor of one agent.
pub(crate) struct AgentActor {
    scope: Scope<Self>,
}

impl Role for AgentActor {
    type Command = Command;
    const KIND: &'static str = "agent";

    fn new(scope: Scope<Self>) -> Self {
        Self { scope }
    }

    async fn start(&mut self) {
        if let Err(fault) = self.settle().await {
            tracing::warn!(agent = %self.scope.id, %fault, "an agent could not be started");
        }
    }

    async fn handle(&mut self, command: Command) {
        // An answer that nobody waits for any more was still given to the store.
        match command {
            Command::Change { caller, wish, answer } => {
                let _ = answer.send(self.change(&caller, &wish).await);
            }
            Command::Settle { answer } => {
                let _ = answer.send(self.settle().await);
            }
            Command::Begin { bead, token } => match self.row().await {
                Ok(agent) if agent.kind == Kind::Llm && agent.current_bead.as_ref() == Some(&bead) => {
                    run::begin(&self.scope.shared, &agent, &bead, token);
                }
                // The claim has ended meanwhile.
                Ok(_) => {}
                Err(fault) => tracing::warn!(agent = %self.scope.id, %fault, "a run could not begin"),
            },
        }
    }
}

impl AgentActor {
    async fn row(&self) -> Result<Agent, Fault> {
        let found = self.scope.shared.store.agent(self.scope.id.clone()).await?;
        found.ok_or_else(|| Refusal::not_found("agent", &self.scope.id).into())
    }

    /// Brings a started agent to where it can work: ready when it was spawned, free when its run is gone.
    async fn settle(&self) -> Result<Agent, Fault> {
        let shared = &self.scope.shared;
        until_fresh(async || {
            let agent = self.row().await?;
            let mut unit = Unit::new(shared.clock.now(), "system", "agents");
            let lost =
                agent.kind == Kind::Llm && agent.status == Status::Working && !shared.runs.has(&agent.id);
            let command = match agent.status {
                Status::Spawned => agent::Command::BecomeReady,
                Status::Working if lost && run::is_late(&agent, unit.at) => {
                    release_bead(shared, &mut unit, &agent, "its run was lost").await?;
                    agent::Command::Release { reason: "its run was lost".to_owned() }
                }
                _ => return Ok(agent),
            };
            let happenings = agent.decide(&command)?;
            let after = unit.happen(&agent, &happenings, Change::Agent);
            shared.store.commit(unit).await?;
            Ok(after)
        })
        .await
    }

    async fn change(&self, caller: &Caller, wish: &Wish) -> Result<Agent, Fault> {
        let shared = &self.scope.shared;
        let after = until_fresh(async || {
            let agent = self.row().await?;
            check_revision(caller, &agent)?;
            let mut unit = caller.unit(shared.clock.now(), "agents");
            let command = match wish {
                Wish::Update(patch) => {
                    let wanted = patch.apply(&agent)?;
                    AgentsHandle(Arc::clone(shared)).check_references(&wanted, Some(&agent)).await?;
                    agent::Command::Update(Box::new(wanted))
                }
                Wish::Activate => agent::Command::Activate,
                Wish::Restart => agent::Command::Restart,
                Wish::Shutdown(reason) => agent::Command::Shutdown { reason: reason.clone() },
                Wish::Fail(reason) => agent::Command::Fail { reason: reason.clone() },
                Wish::Release(reason) => agent::Command::Release { reason: reason.clone() },
            };
            let happenings = agent.decide(&command)?;
            let after = unit.happen(&agent, &happenings, Change::Agent);
            if comes_into_a_seat(&agent, &after) {
                unit.change(Change::CheckSeat(after.id.clone()));
            }
            if agent.current_bead.is_some() && after.current_bead.is_none() {
                let reason = after.status_reason.as_deref().unwrap_or(after.status.as_str());
                release_bead(shared, &mut unit, &agent, reason).await?;
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
        Ok(after)
    }
}

/// Whether an agent may fill another position than before.
fn comes_into_a_seat(before: &Agent, after: &Agent) -> bool {
    let place = |agent: &Agent| (agent.project_id.clone(), agent.role.clone(), agent.persona_name.clone());
    place(before) != place(after) || (before.status == Status::Shutdown && after.status != Status::Shutdown)
}
