//! Assignment of beads to agents: pure functions of the data that the dispatcher has read.

use crate::agent::{self, Agent};
use crate::bead::{Approval, Bead, CRITICAL};
use crate::budget::BudgetScope;
use crate::budget::meter::BudgetStatus;
use crate::kernel::ids::{AgentId, BeadId, ProjectId, ProviderId};
use crate::kernel::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Availability of an agent's provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderState {
    Usable,
    Unusable,
}

/// The budgets that are at their end, each with the time when it begins anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExhaustedBudgets(BTreeMap<BudgetScope, Timestamp>);

impl ExhaustedBudgets {
    /// Collects the exhausted budgets of `budget_statuses`.
    pub fn of(budget_statuses: &[BudgetStatus]) -> Self {
        let mut spent: BTreeMap<BudgetScope, Timestamp> = BTreeMap::new();
        for budget_status in
            budget_statuses.iter().filter(|budget_status| budget_status.spent >= budget_status.cap)
        {
            let until = spent.entry(budget_status.key.scope.clone()).or_default();
            *until = (*until).max(budget_status.window.end);
        }
        Self(spent)
    }

    /// The budget that keeps an agent from work for a project.
    pub fn exhausted_for(&self, project: &ProjectId, agent: &AgentId) -> Option<(&BudgetScope, Timestamp)> {
        let scopes = BudgetScope::of(Some(project), Some(agent));
        self.0.iter().find(|(scope, _)| scopes.contains(scope)).map(|(scope, until)| (scope, *until))
    }

    /// Returns the time at which the next of them resets.
    pub fn next_reset(&self) -> Option<Timestamp> {
        self.0.values().min().copied()
    }
}

/// Current and maximum number of beads in work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Beads that agents hold.
    pub active: u32,
    /// The most of them; none: no limit.
    pub limit: Option<u32>,
    pub parked: Option<String>,
}

impl Capacity {
    /// Returns whether there is none for another bead.
    pub fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.active >= limit)
    }
}

/// Load of projects and providers, where it is known or bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub projects: BTreeMap<ProjectId, Capacity>,
    pub providers: BTreeMap<ProviderId, Capacity>,
}

impl Load {
    /// Returns whether a project gets no more work at present.
    pub fn is_closed(&self, project: &ProjectId) -> bool {
        self.projects.get(project).is_some_and(|capacity| capacity.is_full() || capacity.parked.is_some())
    }

    pub(crate) fn active(&self, project: &ProjectId) -> u32 {
        self.projects.get(project).map_or(0, |capacity| capacity.active)
    }

    fn is_provider_full(&self, agent: &Agent) -> bool {
        let capacity = agent.provider_id.as_ref().and_then(|id| self.providers.get(id));
        capacity.is_some_and(Capacity::is_full)
    }

    pub(crate) fn add_active(&mut self, project: &ProjectId, agent: &Agent) {
        self.projects.entry(project.clone()).or_default().active += 1;
        if let Some(provider) = &agent.provider_id {
            self.providers.entry(provider.clone()).or_default().active += 1;
        }
    }
}

/// State of dispatch: running or paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DispatchState {
    Active,
    /// Paused, with the reason.
    Parked(String),
}

/// Facts that decide the assignment of a bead, besides the bead itself.
#[derive(Clone, Copy, Debug)]
pub struct DispatchInput<'a> {
    pub agents: &'a [(Agent, ProviderState)],
    pub dispatch_state: &'a DispatchState,
    pub spent: &'a ExhaustedBudgets,
    pub load: &'a Load,
}

/// Reason why an agent does not fit a bead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    AssignedToOther,
    OtherProject,
    OtherRole,
    PullsOwnWork,
    NotStarted,
    ProviderUnusable,
    BudgetExhausted,
    ProviderFull,
    Busy,
}

/// The role a bead asks for by its tag `role:x`.
pub fn required_role(bead: &Bead) -> Option<&str> {
    bead.tags.iter().find_map(|tag| tag.strip_prefix("role:"))
}

/// Returns whether an agent may be given a bead now; the first obstacle otherwise.
pub fn check_fit(
    bead: &Bead,
    agent: &Agent,
    provider: ProviderState,
    spent: &ExhaustedBudgets,
    load: &Load,
) -> Result<(), Mismatch> {
    check_suitability(bead, agent)?;
    if agent.kind == agent::Kind::External {
        return Err(Mismatch::PullsOwnWork);
    }
    match agent.status {
        agent::Status::Idle if provider == ProviderState::Unusable => Err(Mismatch::ProviderUnusable),
        agent::Status::Idle if spent.exhausted_for(&bead.project_id, &agent.id).is_some() => {
            Err(Mismatch::BudgetExhausted)
        }
        agent::Status::Idle if load.is_provider_full(agent) => Err(Mismatch::ProviderFull),
        agent::Status::Idle => Ok(()),
        agent::Status::Working => Err(Mismatch::Busy),
        _ => Err(Mismatch::NotStarted),
    }
}

/// Checks that a bead suits an agent, regardless of the agent's current work.
pub fn check_suitability(bead: &Bead, agent: &Agent) -> Result<(), Mismatch> {
    if bead.assigned_to.as_deref().is_some_and(|name| name != agent.id.as_str()) {
        return Err(Mismatch::AssignedToOther);
    }
    if agent.project_id.as_ref().is_some_and(|project| *project != bead.project_id) {
        return Err(Mismatch::OtherProject);
    }
    if required_role(bead).is_some_and(|role| role_match(agent, role).is_none()) {
        return Err(Mismatch::OtherRole);
    }
    Ok(())
}

/// Match of an agent with a role, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleMatch {
    Role,
    Persona,
    Label,
}

/// Returns whether and how an agent fills a role.
pub fn role_match(agent: &Agent, role: &str) -> Option<RoleMatch> {
    let persona = agent.persona_name.as_deref().and_then(|name| name.rsplit('/').next());
    if agent.role.as_deref() == Some(role) {
        Some(RoleMatch::Role)
    } else if persona == Some(role) {
        Some(RoleMatch::Persona)
    } else if agent.config.labels.iter().any(|label| label == role) {
        Some(RoleMatch::Label)
    } else {
        None
    }
}

/// The roles an agent fills.
pub fn roles(agent: &Agent) -> impl Iterator<Item = &str> {
    let persona = agent.persona_name.as_deref().and_then(|name| name.rsplit('/').next());
    let labels = agent.config.labels.iter().map(String::as_str);
    agent.role.as_deref().into_iter().chain(persona).chain(labels)
}

/// Returns the sort key of an agent that fits a bead; the lowest comes first. The order is: own role matches, most
/// shared labels, no role needed elsewhere, fewest projects, longest idle.
fn rank<'a>(bead: &Bead, agent: &'a Agent) -> impl Ord + use<'a> {
    let role_rank = required_role(bead).and_then(|role| role_match(agent, role));
    let shared = agent.config.labels.iter().filter(|label| bead.tags.contains(label)).count();
    let is_specialist = required_role(bead).is_none() && roles(agent).next().is_some();
    (
        role_rank,
        Reverse(shared),
        is_specialist && shared == 0,
        agent.project_id.is_none(),
        agent.last_active,
        agent.id.as_str(),
    )
}

/// Returns whether an agent waits to be given a bead.
pub fn is_free(agent: &Agent, provider: ProviderState) -> bool {
    agent.kind == agent::Kind::Llm && agent.status == agent::Status::Idle && provider == ProviderState::Usable
}

/// Returns the roles to search beads for, by project, for the free agents. The key without a project stands for all
/// projects. The result is empty when no agent is free.
pub fn roles_by_project(agents: &[(Agent, ProviderState)]) -> BTreeMap<Option<ProjectId>, BTreeSet<String>> {
    let mut roles_by_project: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for (agent, _) in agents.iter().filter(|(agent, provider)| is_free(agent, *provider)) {
        let project = agent.project_id.clone();
        roles_by_project.entry(project).or_default().extend(roles(agent).map(str::to_owned));
    }
    roles_by_project
}

/// Pairs beads (each project's in the order of their urgency) with free agents, at most `capacity` of them. The more urgent
/// bead comes first, and among beads of one priority that of the project with the least work under way, so that a
/// long list of one project does not starve another one. Each agent gets one bead.
pub fn assign(beads: Vec<Bead>, input: DispatchInput<'_>, capacity: usize) -> Vec<(BeadId, AgentId)> {
    let mut load = input.load.clone();
    let mut queues: BTreeMap<ProjectId, VecDeque<Bead>> = BTreeMap::new();
    for bead in beads {
        queues.entry(bead.project_id.clone()).or_default().push_back(bead);
    }
    let mut free: Vec<&(Agent, ProviderState)> = input.agents.iter().collect();
    let mut pairs = Vec::new();
    while pairs.len() < capacity {
        let next = queues
            .iter()
            .filter(|(project, _)| !load.is_closed(project))
            .filter_map(|(project, queue)| queue.front().map(|bead| (project, bead)))
            .min_by_key(|(project, bead)| {
                (bead.priority, load.active(project), bead.created_at, bead.id.clone())
            })
            .map(|(project, _)| project.clone());
        let Some(bead) = next.and_then(|project| queues.get_mut(&project)?.pop_front()) else { break };
        let found = free
            .iter()
            .enumerate()
            .filter(|(_, (agent, provider))| check_fit(&bead, agent, *provider, input.spent, &load).is_ok())
            .min_by_key(|(_, (agent, _))| rank(&bead, agent))
            .map(|(place, _)| place);
        if let Some(place) = found {
            let (agent, _) = free.swap_remove(place);
            load.add_active(&bead.project_id, agent);
            pairs.push((bead.id, agent.id.clone()));
        }
    }
    pairs
}

/// Returns whether a person has to approve the bead before an agent gets it.
pub fn is_approval_missing(bead: &Bead) -> bool {
    bead.priority == CRITICAL && bead.approval == Approval::Missing
}

#[cfg(test)]
mod tests;
