//! Agents: the handle by which they are created, changed, started, stopped and given work.
//!
//! `agent/actor.rs` is the actor of one agent: it brings a started agent to where it can work and begins its runs.
//! A run is a task of its own (see `run`), so an agent at work still answers.

pub(crate) mod actor;
pub(crate) mod clone;

use crate::agent::actor::{AgentActor, AgentRequest, Command};
use crate::bead::BeadsHandle;
use crate::bead::active_runs::ActiveRuns;
use crate::bead::release::{self, ReleaseReason};
use crate::caller::{Caller, Cascade};
use crate::error::Error;
use crate::persona::PersonaStore;
use crate::run::RunContext;
use crate::runtime::random;
use crate::runtime::registry::{Affinity, IdlePolicy, Registry};
use crate::services::{Services, deref_to_services};
use crate::token::cache::TokenCache;
use crate::token::revoke_all;
use arbiter_core::agent::edit::{AgentPatch, NewAgent};
use arbiter_core::agent::{self, Agent, authorize};
use arbiter_core::bead::{self, Attempt, Claimant};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{AgentId, BeadId};
use arbiter_core::kernel::initial_status::InitialStatus;
use arbiter_core::kernel::limits;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::record::{FieldChanges, apply_all, event};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{Change, Store, Unit, Write};
use serde_json::json;
use std::sync::{Arc, Weak};

/// The parts that agents use.
pub(crate) struct AgentContext {
    pub(crate) services: Arc<Services>,
    pub(crate) beads: BeadsHandle,
    pub(crate) personas: Arc<PersonaStore>,
    pub(crate) token_cache: Arc<TokenCache>,
    pub(crate) runs: Arc<ActiveRuns>,
    pub(crate) run_context: Arc<RunContext>,
    pub(crate) agents: Registry<AgentActor>,
}

deref_to_services!(AgentContext);

impl AgentContext {
    pub(crate) fn new(
        services: Arc<Services>,
        run_context: Arc<RunContext>,
        token_cache: Arc<TokenCache>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            services,
            beads: run_context.beads.clone(),
            personas: Arc::clone(&run_context.personas),
            token_cache,
            runs: Arc::clone(&run_context.runs),
            run_context,
            agents: Registry::new(Weak::clone(own), Affinity::Entities, IdlePolicy::Retire),
        })
    }
}

/// Handle of the agents' actors.
#[derive(Clone)]
pub struct AgentsHandle(pub(crate) Arc<AgentContext>);

impl AgentsHandle {
    /// Creates an agent and starts it unless requested otherwise.
    ///
    /// # Errors
    /// [`Error::Refused`] for wrong fields, an unknown provider or project, or a taken id.
    pub async fn create(&self, caller: &Caller, new: NewAgent) -> Result<Agent, Error> {
        let id = match &new.id {
            Some(text) => AgentId::parse(text).map_err(|e| Refusal::field("id", e.to_string()))?,
            None => AgentId::from_random(random::bytes16()),
        };
        let agent = new.build(id.clone(), self.0.clock.now())?;
        self.check_references(&agent, None).await?;
        let mut unit = caller.unit(self.0.clock.now(), "agents");
        add(&mut unit, &agent, new.status)?;
        let this = self.clone();
        let work = async move {
            this.0.store.commit(unit).await?;
            if new.status == InitialStatus::Active { this.reconcile(&id).await } else { Ok(agent) }
        };
        self.0.run_to_completion("the creation of an agent", work).await
    }

    /// Refuses what names nothing; a persona that was there when the agent got it may have gone.
    pub(crate) async fn check_references(&self, agent: &Agent, before: Option<&Agent>) -> Result<(), Error> {
        if let Some(id) = &agent.provider_id
            && self.0.store.provider(id.to_string()).await?.is_none()
        {
            return Err(Refusal::field("provider_id", format!("no provider has the id {id}")).into());
        }
        let before = before.and_then(|before| before.persona_name.as_ref());
        if let Some(name) = agent.persona_name.as_ref().filter(|name| before != Some(name)) {
            self.0.personas.check("persona_name", name).await?;
        }
        if let Some(id) = &agent.project_id
            && self.0.store.project(id.to_string()).await?.is_none()
        {
            return Err(Refusal::field("project_id", format!("no project has the id {id}")).into());
        }
        Ok(())
    }

    /// Changes an agent's fields and its status in one commit; its next run follows them. The status is reached by
    /// the one trigger that leads there.
    ///
    /// # Errors
    /// [`Error::Refused`] for wrong fields, another revision than the caller's, an unknown status, or one that cannot
    /// be reached; nothing is changed then.
    pub async fn edit(
        &self,
        caller: &Caller,
        id: &AgentId,
        patch: AgentPatch,
        status: Option<String>,
    ) -> Result<Agent, Error> {
        self.change_status(caller, id, Some(Box::new(patch)), status, None).await
    }

    /// Gives an agent a bead, as a claim does.
    ///
    /// # Errors
    /// [`Error::Refused`] unless the bead is ready and the agent idle.
    pub async fn assign(&self, caller: &Caller, id: &AgentId, bead: &BeadId) -> Result<Agent, Error> {
        self.row(id).await?;
        let beads = self.0.beads.clone();
        beads.claim(caller, bead, Claimant::Agent(id.clone()), None).await?;
        self.row(id).await
    }

    /// Stops an agent and releases its bead.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is not running.
    pub async fn shutdown(
        &self,
        caller: &Caller,
        id: &AgentId,
        reason: Option<String>,
    ) -> Result<Agent, Error> {
        self.change(caller, id, AgentRequest::Shutdown(reason)).await
    }

    /// Starts a stopped agent again.
    ///
    /// # Errors
    /// [`Error::Refused`] while it works, and for one that was never started.
    pub async fn restart(&self, caller: &Caller, id: &AgentId) -> Result<Agent, Error> {
        self.change(caller, id, AgentRequest::Restart).await
    }

    /// Starts an agent that was created without being started.
    ///
    /// # Errors
    /// [`Error::Refused`] when it was started before.
    pub async fn activate(&self, caller: &Caller, id: &AgentId) -> Result<Agent, Error> {
        self.change(caller, id, AgentRequest::Activate).await
    }

    /// Brings an agent to the status that a word names, by the one trigger that leads there.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown word, or when nothing leads there.
    pub async fn set_status(
        &self,
        caller: &Caller,
        id: &AgentId,
        word: &str,
        reason: Option<String>,
    ) -> Result<Agent, Error> {
        self.change_status(caller, id, None, Some(word.to_owned()), reason).await
    }

    async fn change_status(
        &self,
        caller: &Caller,
        id: &AgentId,
        patch: Option<Box<AgentPatch>>,
        status: Option<String>,
        reason: Option<String>,
    ) -> Result<Agent, Error> {
        self.change(caller, id, AgentRequest::Edit { patch, status, reason }).await
    }

    /// Deletes an agent; its runs and events stay.
    ///
    /// # Errors
    /// [`Error::Refused`] while it has a bead, unless [`Cascade::Yes`] gives that back.
    pub async fn delete(&self, caller: &Caller, id: &AgentId, cascade: Cascade) -> Result<(), Error> {
        let agent = self.row(id).await?;
        authorize::change(&caller.authority, &agent)?;
        crate::conflict_retry::check_revision(caller, &agent)?;
        if let (Cascade::No, Some(bead)) = (cascade, &agent.current_bead) {
            let detail = format!("agent {id} has bead {bead}; use cascade=true to give it back");
            return Err(Refusal::conflict(ProblemCode::InUse, detail).into());
        }
        let mut unit = caller.unit(self.0.clock.now(), "agents");
        delete_agent(&self.0.store, &mut unit, &agent).await?;
        let this = self.clone();
        let work = async move {
            this.0.store.commit(unit).await?;
            this.forget(&agent.id);
            this.0.token_cache.reload(&this.0).await
        };
        self.0.run_to_completion("the deletion of an agent", work).await
    }

    /// Starts the actor of an agent that is to run.
    pub(crate) fn ensure_started(&self, id: &AgentId) {
        self.0.agents.ensure_started(id.as_str());
    }

    /// An agent failed too often.
    pub(crate) async fn give_up(&self, id: &AgentId, reason: String) -> Result<Agent, Error> {
        let agent = self.row(id).await?;
        let mut unit = Unit::new(self.0.clock.now(), "system", "agents");
        release_bead(&self.0.store, &mut unit, &agent, &reason).await?;
        let happenings = agent.decide(&agent::Command::Fail { reason })?;
        let after = unit.apply(&agent, &happenings, Change::Agent);
        self.0.store.commit(unit).await?;
        self.0.runs.abort_all(id);
        Ok(after)
    }

    /// Tells an agent that it holds a bead and shall begin.
    pub(crate) fn begin_run(&self, id: &AgentId, bead: &BeadId, token: String) {
        self.0.agents.tell(id.as_str(), Command::BeginRun { bead: bead.clone(), token });
    }

    /// Lets go of the run and the actor of a deleted agent.
    pub(crate) fn forget(&self, id: &AgentId) {
        self.0.runs.abort_all(id);
        self.0.agents.remove(id.as_str());
    }

    pub(crate) async fn reconcile(&self, id: &AgentId) -> Result<Agent, Error> {
        self.0.agents.ask(id.as_str(), |answer| Command::Reconcile { answer: Some(answer) }).await
    }

    pub(crate) async fn row(&self, id: &AgentId) -> Result<Agent, Error> {
        let found = self.0.store.agent(id.to_string()).await?;
        found.ok_or_else(|| Refusal::not_found("agent", id.as_str()).into())
    }

    async fn change(&self, caller: &Caller, id: &AgentId, request: AgentRequest) -> Result<Agent, Error> {
        if let AgentRequest::Shutdown(Some(reason)) | AgentRequest::Edit { reason: Some(reason), .. } =
            &request
        {
            limits::check_text("reason", reason, limits::MAX_REASON)?;
        }
        // An actor is started for an agent that exists, and for no other.
        self.row(id).await?;
        let caller = caller.clone();
        self.0.agents.ask(id.as_str(), |answer| Command::Change { caller, request, answer }).await
    }
}

/// Adds a new agent to a unit, which refuses it if it is one too many in its position.
pub(crate) fn add(unit: &mut Unit, agent: &Agent, status: InitialStatus) -> Result<(), Refusal> {
    if status == InitialStatus::Active {
        // One row, two events: what it was created as, and that it was started.
        let happenings = agent.decide(&agent::Command::Activate)?;
        let started = apply_all(agent, &happenings, unit.at);
        unit.emit(arbiter_core::kernel::record::created_event(agent));
        for happening in &happenings {
            unit.emit(event(&started, happening));
        }
        unit.change(Change::Agent(Write::Insert(started)));
    } else {
        unit.create(agent, Change::Agent);
    }
    unit.change(Change::CheckInstanceLimit(agent.id.clone()));
    Ok(())
}

/// Adds the return of an agent's bead to a unit: the bead, the lease and the run, but not the agent.
pub(crate) async fn release_bead(
    store: &Store,
    unit: &mut Unit,
    agent: &Agent,
    reason: &str,
) -> Result<(), Error> {
    let Some(id) = &agent.current_bead else { return Ok(()) };
    let Some((bead, claim_context, lease)) = store.bead_state(id.to_string()).await? else {
        return Ok(());
    };
    if bead.status != bead::Status::InProgress || bead.assigned_to.as_deref() != Some(agent.id.as_str()) {
        return Ok(());
    }
    let reason = format!("{}: {reason}", agent.id);
    let command = bead::Command::Release { reason: reason.clone(), attempt: Attempt::NotCounted };
    let happenings = bead.decide(&command, &claim_context, unit.at)?;
    unit.apply(&bead, &happenings, Change::Bead);
    if lease.is_some() {
        unit.change(Change::EndLease(bead.id.clone()));
    }
    // The agent's own row is its owner's to change, so no lease is passed on here.
    release::end(store, unit, &bead, None, &ReleaseReason::Released(reason), None).await
}

/// Adds the deletion of an agent, and the return of its bead, to a unit.
pub(crate) async fn delete_agent(store: &Store, unit: &mut Unit, agent: &Agent) -> Result<(), Error> {
    release_bead(store, unit, agent, "deleted").await?;
    let told = FieldChanges::event_only(EventType::AgentDeleted, json!({"name": agent.name}));
    unit.emit(event(agent, &told));
    unit.change(Change::Agent(Write::Delete { row: agent.clone() }));
    revoke_all(store, unit, agent).await?;
    Ok(())
}
