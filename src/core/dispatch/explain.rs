//! Why a bead is not moving: in words for people, and as one of a few causes for the metrics.

use crate::bead::{Bead, ClaimContext, NEVER_DISPATCHED, Status};
use crate::dispatch::assign::{
    Capacity, DispatchInput, Mismatch, Operation, fit, wanted_role, wants_approval,
};
use crate::kernel::ids::AgentId;
use crate::kernel::time::Timestamp;
use std::collections::BTreeMap;

string_enum! {
    /// What keeps a ready bead from being worked on.
    pub enum Cause {
        /// A failed attempt, or a limit that was reached, has a pause behind it.
        Pause = "pause",
        Approval = "approval",
        /// Its type is never given to agents.
        Type = "type",
        /// Nothing is handed out: in the project or at all.
        Parked = "parked",
        ProjectLimit = "project_limit",
        /// Nobody is started who it could be given to: none of its project, its role or its name.
        NoAgent = "no_agent",
        /// Only agents that fetch their own work suit it.
        Pull = "pull",
        Provider = "provider",
        /// Budgets are at their end.
        Budget = "budget",
        /// Those that suit it are at work, or their providers serve as many as they may.
        Busy = "busy",
        /// Nothing: it is about to be given to somebody.
        None = "none",
    }
}

/// Says in words why a bead is not moving; empty when it is being worked on or is closed.
pub fn why(bead: &Bead, facts: &ClaimContext, company: DispatchInput<'_>, now: Timestamp) -> Vec<String> {
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
    if let Some(how) = &bead.shelved {
        reasons.push(format!("it is {how}, by the file that it came from, and therefore no work"));
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
    if let Some(room) = company.load.projects.get(&bead.project_id) {
        reasons.extend(why_no_room(bead, room));
    }
    if reasons.is_empty() {
        reasons.extend(why_no_agent(bead, company));
    }
    reasons
}

fn why_no_room(bead: &Bead, room: &Capacity) -> Option<String> {
    if let Some(why) = &room.parked {
        return Some(format!("no work of the project {} is handed out: {why}", bead.project_id));
    }
    let most = room.most.filter(|_| room.is_full())?;
    Some(format!("the project {} has {} beads at work and may have {most}", bead.project_id, room.at_work))
}

fn why_no_agent(bead: &Bead, company: DispatchInput<'_>) -> Vec<String> {
    let DispatchInput { agents, spent, load, .. } = company;
    if agents.is_empty() {
        return vec!["there is no agent".to_owned()];
    }
    let mut by_obstacle: BTreeMap<Mismatch, Vec<&str>> = BTreeMap::new();
    for (agent, provider) in agents {
        match fit(bead, agent, *provider, spent, load) {
            Ok(()) => return vec![format!("agent {} is free for it and is about to get it", agent.id)],
            Err(obstacle) => by_obstacle.entry(obstacle).or_default().push(agent.id.as_str()),
        }
    }
    let role = wanted_role(bead).unwrap_or("any");
    let budget = |ids: &[&str]| {
        let first = ids.first().map(|id| AgentId::from_trusted(*id));
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
                Mismatch::ProviderFull => format!("{ids}: the provider serves as many beads as it may"),
                Mismatch::Busy => format!("{ids}: at work on another bead"),
            }
        })
        .collect()
}

/// What keeps a bead that is ready from being worked on: of several things the one that has to change first.
pub fn cause(bead: &Bead, company: DispatchInput<'_>, now: Timestamp) -> Cause {
    if NEVER_DISPATCHED.contains(&bead.bead_type.as_str()) {
        return Cause::Type;
    }
    if wants_approval(bead) {
        return Cause::Approval;
    }
    let room = company.load.projects.get(&bead.project_id);
    if matches!(company.operation, Operation::Parked(_)) || room.is_some_and(|room| room.parked.is_some()) {
        return Cause::Parked;
    }
    if bead.next_attempt_at.is_some_and(|at| at > now) {
        return Cause::Pause;
    }
    let nearest = company
        .agents
        .iter()
        .map(|(agent, provider)| match fit(bead, agent, *provider, company.spent, company.load) {
            Ok(()) => Cause::None,
            Err(Mismatch::Busy | Mismatch::ProviderFull) => Cause::Busy,
            Err(Mismatch::BudgetSpent) => Cause::Budget,
            Err(Mismatch::ProviderUnusable) => Cause::Provider,
            Err(Mismatch::Pulls) => Cause::Pull,
            Err(
                Mismatch::NotStarted
                | Mismatch::OtherRole
                | Mismatch::OtherProject
                | Mismatch::MeantForAnother,
            ) => Cause::NoAgent,
        })
        .max_by_key(|cause| Cause::ALL.iter().position(|one| one == cause))
        .unwrap_or(Cause::NoAgent);
    match nearest {
        Cause::None | Cause::Busy if room.is_some_and(Capacity::is_full) => Cause::ProjectLimit,
        cause => cause,
    }
}
