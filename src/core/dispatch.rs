//! Who gets which bead, and why a bead is not moving: pure functions of what the dispatcher has read.

use crate::agent::{self, Agent};
use crate::bead::{Approval, Bead, CRITICAL, Facts, NEVER_DISPATCHED, Status};
use crate::budget::Scope;
use crate::ids::{AgentId, BeadId, ProjectId};
use crate::meter::Standing;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Whether an agent's provider can be called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderState {
    /// It can.
    Usable,
    /// It cannot.
    Unusable,
}

/// The budgets that are at their end, each with the time when it begins anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent(BTreeMap<Scope, Timestamp>);

impl Spent {
    /// Those of these budgets.
    pub fn of(standings: &[Standing]) -> Self {
        let mut spent: BTreeMap<Scope, Timestamp> = BTreeMap::new();
        for standing in standings.iter().filter(|standing| standing.spent >= standing.cap) {
            let until = spent.entry(standing.key.scope.clone()).or_default();
            *until = (*until).max(standing.window.end);
        }
        Self(spent)
    }

    /// The budget that keeps an agent from work for a project.
    pub fn on(&self, project: &ProjectId, agent: &AgentId) -> Option<(&Scope, Timestamp)> {
        let scopes = Scope::of(Some(project), Some(agent));
        self.0.iter().find(|(scope, _)| scopes.contains(scope)).map(|(scope, until)| (scope, *until))
    }

    /// When the next of them begins anew.
    pub fn next_renewal(&self) -> Option<Timestamp> {
        self.0.values().min().copied()
    }
}

/// Why an agent does not fit a bead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    /// The bead is meant for somebody else.
    MeantForAnother,
    /// The agent works for another project.
    OtherProject,
    /// The bead wants another role.
    OtherRole,
    /// The agent fetches its own work.
    Pulls,
    /// The agent is not started.
    NotStarted,
    /// The agent's provider cannot be called.
    ProviderUnusable,
    /// A budget that its calls fall under is at its end.
    BudgetSpent,
    /// The agent has a bead already.
    Busy,
}

/// The role a bead asks for by its tag `role:x`.
pub fn wanted_role(bead: &Bead) -> Option<&str> {
    bead.tags.iter().find_map(|tag| tag.strip_prefix("role:"))
}

/// Whether an agent may be given a bead now; the first obstacle otherwise.
pub fn fit(bead: &Bead, agent: &Agent, provider: ProviderState, spent: &Spent) -> Result<(), Mismatch> {
    if bead.assigned_to.as_deref().is_some_and(|name| name != agent.id.as_str()) {
        return Err(Mismatch::MeantForAnother);
    }
    if agent.project_id.as_ref().is_some_and(|project| *project != bead.project_id) {
        return Err(Mismatch::OtherProject);
    }
    if !wanted_role(bead).is_none_or(|role| fills(agent, role)) {
        return Err(Mismatch::OtherRole);
    }
    if agent.kind == agent::Kind::External {
        return Err(Mismatch::Pulls);
    }
    match agent.status {
        agent::Status::Idle if provider == ProviderState::Unusable => Err(Mismatch::ProviderUnusable),
        agent::Status::Idle if spent.on(&bead.project_id, &agent.id).is_some() => Err(Mismatch::BudgetSpent),
        agent::Status::Idle => Ok(()),
        agent::Status::Working => Err(Mismatch::Busy),
        _ => Err(Mismatch::NotStarted),
    }
}

fn fills(agent: &Agent, role: &str) -> bool {
    role_of(agent) == Some(role)
}

fn role_of(agent: &Agent) -> Option<&str> {
    let persona = agent.persona_name.as_deref().and_then(|name| name.rsplit('/').next());
    agent.role.as_deref().or(persona)
}

/// Whether an agent waits to be given a bead.
pub fn is_free(agent: &Agent, provider: ProviderState) -> bool {
    agent.kind == agent::Kind::Llm && agent.status == agent::Status::Idle && provider == ProviderState::Usable
}

/// Where beads for the free agents are to be looked for: in which projects, and for which roles. No project
/// stands for all, when one of the agents serves them all; nothing at all when no agent is free.
pub fn wanted(agents: &[(Agent, ProviderState)]) -> BTreeMap<Option<ProjectId>, BTreeSet<String>> {
    let free = || agents.iter().filter(|(agent, provider)| is_free(agent, *provider)).map(|(agent, _)| agent);
    let everywhere = free().any(|agent| agent.project_id.is_none());
    let mut wanted: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for agent in free() {
        let project = agent.project_id.clone().filter(|_| !everywhere);
        wanted.entry(project).or_default().extend(role_of(agent).map(str::to_owned));
    }
    wanted
}

/// Pairs beads (in the order of their urgency) with free agents. An agent that serves fewer projects or
/// longer had nothing to do comes first; each agent gets one bead.
pub fn pair(beads: &[Bead], agents: &[(Agent, ProviderState)], spent: &Spent) -> Vec<(BeadId, AgentId)> {
    let mut free: Vec<&(Agent, ProviderState)> = agents.iter().collect();
    free.sort_by_key(|(agent, _)| (agent.project_id.is_none(), agent.last_active, agent.id.clone()));
    let mut taken = BTreeSet::new();
    let mut pairs = Vec::new();
    for bead in beads {
        let found = free.iter().find(|(agent, provider)| {
            !taken.contains(&agent.id) && fit(bead, agent, *provider, spent).is_ok()
        });
        if let Some((agent, _)) = found {
            taken.insert(agent.id.clone());
            pairs.push((bead.id.clone(), agent.id.clone()));
        }
    }
    pairs
}

/// Whether a person has to approve the bead before an agent gets it.
pub fn wants_approval(bead: &Bead) -> bool {
    bead.priority == CRITICAL && bead.approval == Approval::Missing
}

/// Whether work is handed out at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is.
    Active,
    /// Not at present, and why.
    Parked(String),
}

/// What decides who gets a bead, besides the bead itself.
#[derive(Clone, Copy, Debug)]
pub struct Company<'a> {
    /// The agents that are started.
    pub agents: &'a [(Agent, ProviderState)],
    /// Whether work is handed out.
    pub operation: &'a Operation,
    /// The budgets that are at their end.
    pub spent: &'a Spent,
}

/// Says in words why a bead is not moving; empty when it is being worked on or is closed.
pub fn why(bead: &Bead, facts: &Facts, company: Company<'_>, now: Timestamp) -> Vec<String> {
    match bead.status {
        Status::Closed | Status::InProgress => return vec![],
        Status::Blocked => {
            let reason = bead.block_reason.as_deref().unwrap_or("no reason was given");
            let mut reasons = vec![format!("it is blocked: {reason}")];
            reasons
                .extend(facts.pending_decisions.iter().map(|id| format!("it waits for the decision {id}")));
            return reasons;
        }
        Status::Open => {}
    }
    let mut reasons: Vec<String> =
        facts.waiting_on.iter().map(|hold| format!("it waits for bead {}: {}", hold.id, hold.rule)).collect();
    reasons.extend(facts.pending_decisions.iter().map(|id| format!("it waits for the decision {id}")));
    if let Some(until) = bead.defer_until.filter(|until| *until > now) {
        reasons.push(format!("it is deferred until {until}"));
    }
    if let Some(at) = bead.next_attempt_at.filter(|at| *at > now) {
        let error = bead.last_error.as_deref().unwrap_or("unknown");
        reasons.push(match bead.attempts {
            0 => format!("it was given back ({error}); the next attempt is at {at}"),
            attempts => format!("attempt {attempts} ended so: {error}; the next one is at {at}"),
        });
    }
    if NEVER_DISPATCHED.contains(&bead.bead_type.as_str()) {
        reasons.push(format!("beads of type {} are not given to agents", bead.bead_type));
    }
    if wants_approval(bead) && facts.pending_decisions.is_empty() {
        reasons.push("it has priority 0 and waits for a person's approval".to_owned());
    }
    if let Operation::Parked(why) = company.operation {
        reasons.push(format!("no work is handed out: {why}"));
    }
    if reasons.is_empty() {
        reasons.extend(why_no_agent(bead, company));
    }
    reasons
}

fn why_no_agent(bead: &Bead, company: Company<'_>) -> Vec<String> {
    let Company { agents, spent, .. } = company;
    if agents.is_empty() {
        return vec!["there is no agent".to_owned()];
    }
    let mut by_obstacle: BTreeMap<Mismatch, Vec<&str>> = BTreeMap::new();
    for (agent, provider) in agents {
        match fit(bead, agent, *provider, spent) {
            Ok(()) => return vec![format!("agent {} is free for it and is about to get it", agent.id)],
            Err(obstacle) => by_obstacle.entry(obstacle).or_default().push(agent.id.as_str()),
        }
    }
    let role = wanted_role(bead).unwrap_or("any");
    let budget = |ids: &[&str]| {
        let first = ids.first().map(|id| AgentId::known(*id));
        let (scope, until) = first.as_ref().and_then(|id| spent.on(&bead.project_id, id))?;
        Some(format!("{}: the budget of {scope} is spent until {until}", ids.join(", ")))
    };
    by_obstacle
        .into_iter()
        .map(|(obstacle, ids)| {
            if let Some(told) = (obstacle == Mismatch::BudgetSpent).then(|| budget(&ids)).flatten() {
                return told;
            }
            let ids = ids.join(", ");
            match obstacle {
                Mismatch::MeantForAnother => {
                    format!("it is meant for {}, not {ids}", bead.assigned_to.as_deref().unwrap_or("another"))
                }
                Mismatch::OtherProject => format!("{ids}: work for another project"),
                Mismatch::OtherRole => format!("{ids}: do not fill the role {role}"),
                Mismatch::Pulls => format!("{ids}: fetch their own work"),
                Mismatch::NotStarted => format!("{ids}: not started, or blocked"),
                Mismatch::BudgetSpent => format!("{ids}: the budget is spent"),
                Mismatch::ProviderUnusable => format!("{ids}: the provider cannot be called now"),
                Mismatch::Busy => format!("{ids}: at work on another bead"),
            }
        })
        .collect()
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
