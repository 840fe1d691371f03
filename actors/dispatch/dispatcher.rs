//! The dispatcher: gives ready work to free agents, whenever either may have changed.
//!
//! Owns no state but the time of the next retry or deferral. Hears events, asks the store for what is
//! ready, asks beads to be claimed. No tick: it sleeps until an event or that time. Restart: at once, with
//! a look at everything.

use crate::actor_kind::ActorKind;
use crate::bead::failure_report;
use crate::call::capabilities;
use crate::caller::Caller;
use crate::dispatch::DispatchContext;
use crate::dispatch::ready_beads::{ReadyFilter, ready_beads};
use crate::error::Error;
use crate::runtime::cell::{Behavior, BehaviorContext};
use crate::runtime::registry::SINGLETON_ID;
use arbiter_core::agent::{Agent, Kind, Status};
use arbiter_core::bead::{Bead, Claimant};
use arbiter_core::decision::edit::NewDecision;
use arbiter_core::decision::{APPROVAL_OPTIONS, Purpose};
use arbiter_core::dispatch::assign::{self, DispatchInput, DispatchState, Load, ProviderState};
use arbiter_core::dispatch::explain::{self, Cause};
use arbiter_core::kernel::ids::{AgentId, BeadId, ProjectId};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::time::Timestamp;
use futures_util::future::join_all;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// The name of the timer of the next retry or deferral.
const NEXT: &str = "next";

/// Handle of the dispatcher.
#[derive(Clone)]
pub struct DispatcherHandle(pub(crate) Arc<DispatchContext>);

impl DispatcherHandle {
    /// Says in words why a bead is not moving; empty when it is being worked on or is closed.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown bead.
    pub async fn why(&self, id: &BeadId, within: Option<&[String]>) -> Result<Vec<String>, Error> {
        let found = self.0.store.bead_state(id.to_string()).await?;
        let (bead, claim_context, _) = found.ok_or_else(|| Refusal::not_found("bead", id.as_str()))?;
        let (dispatch_state, _) = self.0.store.dispatch_state().await?;
        let mut agents = agents(&self.0).await?;
        if let Some(projects) = within {
            let seen = |project: &Option<ProjectId>| {
                project.as_ref().is_none_or(|project| projects.iter().any(|p| p == project.as_str()))
            };
            agents.retain(|(agent, _)| seen(&agent.project_id));
        }
        let now = self.0.clock.now();
        let (spent, load) = (self.0.budget_guard.spent(now), self.0.store.load().await?);
        let input =
            DispatchInput { agents: &agents, dispatch_state: &dispatch_state, spent: &spent, load: &load };
        let mut reasons = explain::why(&bead, &claim_context, input, now);
        if !reasons.is_empty() {
            reasons.extend(self.lacking(&bead, now).await?);
        }
        Ok(reasons)
    }

    /// Says what the provider of the bead's last run refuses to take.
    async fn lacking(&self, bead: &Bead, now: Timestamp) -> Result<Vec<String>, Error> {
        let runs = failure_report::newest_runs(&self.0.store, bead).await?;
        let Some((provider, model)) =
            runs.first().and_then(|run| Some((run.provider_id.as_ref()?, run.model.as_ref()?)))
        else {
            return Ok(Vec::new());
        };
        let lacking = self.0.capabilities.lacking(provider, model, now);
        Ok(lacking.into_iter().map(|lacking| capabilities::describe(provider, model, lacking)).collect())
    }

    /// Counts the beads that are ready for longer than `age` but not claimed, by cause.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn waiting(&self, age: Duration) -> Result<BTreeMap<Cause, u64>, Error> {
        let (dispatch_state, _) = self.0.store.dispatch_state().await?;
        let agents = agents(&self.0).await?;
        let now = self.0.clock.now();
        let (spent, load) = (self.0.budget_guard.spent(now), self.0.store.load().await?);
        let input =
            DispatchInput { agents: &agents, dispatch_state: &dispatch_state, spent: &spent, load: &load };
        let mut counts: BTreeMap<Cause, u64> = Cause::ALL.iter().map(|cause| (*cause, 0)).collect();
        for group in self.0.store.waiting(now, now.minus(age)).await? {
            *counts.entry(explain::cause(&group.bead, input, now)).or_default() += group.count;
        }
        Ok(counts)
    }

    /// Requests a dispatch pass. Requests during a pending one are merged.
    /// Runs a dispatch pass; simultaneous requests share one pass.
    pub fn dispatch_now(&self) {
        self.0.dispatcher.wake(SINGLETON_ID, "dispatch", Command::Dispatch);
    }
}

/// Command of the dispatcher.
pub(crate) enum Command {
    Dispatch,
}

/// The dispatcher.
pub(crate) struct DispatcherActor {
    context: BehaviorContext<Self>,
}

impl Behavior for DispatcherActor {
    type Command = Command;
    type Host = DispatchContext;
    const KIND: ActorKind = ActorKind::Dispatcher;

    fn new(context: BehaviorContext<Self>) -> Self {
        Self { context }
    }

    async fn start(&mut self) {
        // A reason that was lost with a failed look counts as well.
        self.context.timers.set(NEXT, self.context.shared.clock.now(), Command::Dispatch);
    }

    async fn handle(&mut self, command: Command) {
        let Command::Dispatch = command;
        if self.context.shared.is_stopping() {
            return;
        }
        if let Err(error) = self.run_pass().await {
            tracing::warn!(%error, "a pass of the dispatcher failed");
            self.context.timers.set_retry(NEXT, Command::Dispatch);
        }
    }
}

impl DispatcherActor {
    async fn run_pass(&self) -> Result<(), Error> {
        let shared = &self.context.shared;
        let now = shared.clock.now();
        if let (DispatchState::Parked(_), _) = shared.store.dispatch_state().await? {
            return Ok(());
        }
        let unapproved = shared.store.unapproved_beads(now, shared.settings.approvals_per_project).await?;
        let mut is_complete = self.ask_approvals(&unapproved).await;
        let agents = agents(shared).await?;
        let spent = shared.budget_guard.spent(now);
        let at_work =
            agents.iter().filter(|(a, _)| a.kind == Kind::Llm && a.status == Status::Working).count();
        let room = shared.settings.max_parallel.saturating_sub(at_work);
        if room > 0 {
            let load = shared.store.load().await?;
            let ready = self.ready(&agents, &load, now).await?;
            let dispatch_state = DispatchState::Active;
            let input = DispatchInput {
                agents: &agents,
                dispatch_state: &dispatch_state,
                spent: &spent,
                load: &load,
            };
            let pairs = assign::assign(ready, input, room);
            let claims = join_all(pairs.into_iter().map(|(bead, agent)| self.claim_for(bead, agent))).await;
            is_complete &= claims.into_iter().all(|is_settled| is_settled);
        }
        if !is_complete {
            self.context.timers.set_retry(NEXT, Command::Dispatch);
            return Ok(());
        }
        let due = shared.store.next_due(now).await?;
        match [due, spent.next_reset()].into_iter().flatten().min() {
            Some(at) => self.context.timers.set(NEXT, at, Command::Dispatch),
            None => self.context.timers.cancel(NEXT),
        }
        Ok(())
    }

    /// Reads the ready beads for the free agents: of each project as many as they could take.
    async fn ready(
        &self,
        agents: &[(Agent, ProviderState)],
        load: &Load,
        now: Timestamp,
    ) -> Result<Vec<Bead>, Error> {
        let roles_by_project = assign::roles_by_project(agents);
        if roles_by_project.is_empty() {
            return Ok(vec![]);
        }
        let everywhere = roles_by_project.get(&None);
        let searches = |project: &ProjectId| {
            let own = roles_by_project.get(&Some(project.clone()));
            if own.is_none() && everywhere.is_none() {
                return vec![];
            }
            let roles = own.into_iter().chain(everywhere).flatten().cloned().collect();
            vec![ReadyFilter { roles, tags: vec![] }]
        };
        ready_beads(&self.context.shared.store, load, now, searches).await
    }

    /// Claims a bead for an agent; false when that failed for a reason that may pass.
    async fn claim_for(&self, bead: BeadId, agent: AgentId) -> bool {
        let beads = self.context.shared.beads.clone();
        let claimant = Claimant::Agent(agent.clone());
        match beads.claim(&Caller::named("dispatcher"), &bead, claimant, None).await {
            Ok(_) => true,
            // Another claim was faster; its event triggers the next pass.
            Err(Error::Refused(refusal)) => {
                tracing::debug!(%bead, %agent, %refusal, "a claim was refused");
                true
            }
            Err(error) => {
                tracing::warn!(%bead, %agent, %error, "a claim failed");
                false
            }
        }
    }

    /// Asks a person about critical beads, each by itself; false when one failed for a reason that may pass.
    async fn ask_approvals(&self, beads: &[Bead]) -> bool {
        let mut is_complete = true;
        let decisions = self.context.shared.decisions.clone();
        for bead in beads {
            let question = format!("May an agent work on the critical bead {} ({})?", bead.id, bead.title);
            let mut new = NewDecision::question(bead.project_id.as_str(), question);
            new.bead_id = Some(bead.id.to_string());
            new.purpose = Purpose::Approval;
            new.options = APPROVAL_OPTIONS.map(str::to_owned).to_vec();
            new.priority = Some(bead.priority);
            if let Err(error) = decisions.create(&Caller::named("dispatcher"), new).await {
                tracing::warn!(bead = %bead.id, %error, "could not ask for the approval of a bead");
                is_complete &= matches!(error, Error::Refused(_));
            }
        }
        is_complete
    }
}

/// All agents that are started, each with the state of its provider.
async fn agents(shared: &DispatchContext) -> Result<Vec<(Agent, ProviderState)>, Error> {
    let providers = shared.store.all_providers().await?;
    let usable: HashMap<&str, bool> = providers
        .iter()
        .map(|provider| (provider.id.as_str(), provider.is_usable(shared.open_vault.access(provider))))
        .collect();
    let agents = shared.store.started_agents().await?;
    let with_state = agents.into_iter().map(|agent| {
        let up = agent.provider_id.as_ref().is_some_and(|id| usable.get(id.as_str()) == Some(&true));
        (agent, if up { ProviderState::Usable } else { ProviderState::Unusable })
    });
    Ok(with_state.collect())
}
