//! Explains why a bead is stuck: in words for people, and as one of a few causes for the metrics.

use crate::bead::{Bead, ClaimContext, NEVER_DISPATCHED, Status};
use crate::dispatch::assign::{
    Capacity, DispatchInput, DispatchState, Mismatch, check_fit, is_approval_missing, required_role,
};
use crate::kernel::ids::AgentId;
use crate::kernel::limits::count_of;
use crate::kernel::time::Timestamp;
use std::collections::BTreeMap;

string_enum! {
    /// Cause that keeps a ready bead from being worked on.
    pub enum Cause {
        /// A failed attempt, or a limit that was reached, has a pause behind it.
        Pause = "pause",
        Approval = "approval",
        /// Its type is never given to agents.
        Type = "type",
        /// Dispatch is paused, in the project or everywhere.
        Parked = "parked",
        ProjectLimit = "project_limit",
        /// No started agent matches its project, role or assignee.
        NoAgent = "no_agent",
        /// Only agents that fetch their own work suit it.
        Pull = "pull",
        Provider = "provider",
        /// Budgets are at their end.
        Budget = "budget",
        /// All suitable agents are at work, or their providers are at their limit.
        Busy = "busy",
        /// No obstacle: the next dispatch assigns it.
        None = "none",
    }
}

/// Explains why a bead is stuck, or how it stands when it is in progress or closed; never empty.
pub fn why(
    bead: &Bead,
    claim_context: &ClaimContext,
    input: DispatchInput<'_>,
    now: Timestamp,
) -> Vec<String> {
    match bead.status {
        Status::Closed => {
            let reason = bead.close_reason.as_deref().unwrap_or("no reason was given");
            let at = bead.closed_at.map(|at| format!(" since {at}")).unwrap_or_default();
            return vec![format!("it is closed{at}: {reason}")];
        }
        Status::InProgress => {
            let holder = bead.assigned_to.as_deref().unwrap_or("an unknown holder");
            let mut reasons = vec![format!("it is in progress: {holder} works on it")];
            if let (1.., Some(error)) = (bead.attempts, bead.last_error.as_deref()) {
                reasons.push(format!("attempt {} ended so: {error}", bead.attempts));
            }
            return reasons;
        }
        Status::Blocked => {
            let reason = bead.block_reason.as_deref().unwrap_or("no reason was given");
            let mut reasons = vec![format!("it is blocked: {reason}")];
            reasons.extend(
                claim_context.pending_decisions.iter().map(|id| format!("it waits for the decision {id}")),
            );
            return reasons;
        }
        Status::Open => {}
    }
    let mut reasons: Vec<String> = claim_context
        .waiting_on
        .iter()
        .map(|blocker| format!("it waits for bead {}: {}", blocker.id, blocker.rule))
        .collect();
    reasons
        .extend(claim_context.pending_decisions.iter().map(|id| format!("it waits for the decision {id}")));
    if let Some(until) = bead.defer_until.max(claim_context.parent_until).filter(|until| *until > now) {
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
    if is_approval_missing(bead) && claim_context.pending_decisions.is_empty() {
        reasons.push("it has priority 0 and waits for a person's approval".to_owned());
    }
    if let DispatchState::Parked(why) = input.dispatch_state {
        reasons.push(format!("no work is handed out: {why}"));
    }
    if let Some(capacity) = input.load.projects.get(&bead.project_id) {
        reasons.extend(capacity_reason(bead, capacity));
    }
    if reasons.is_empty() {
        reasons.extend(agent_reasons(bead, input));
    }
    reasons
}

fn capacity_reason(bead: &Bead, capacity: &Capacity) -> Option<String> {
    if let Some(why) = &capacity.parked {
        return Some(format!("no work of the project {} is handed out: {why}", bead.project_id));
    }
    let limit = capacity.limit.filter(|_| capacity.is_full())?;
    Some(format!(
        "the project {} has {} at work and may have {limit}",
        bead.project_id,
        count_of(capacity.active.into(), "bead")
    ))
}

fn agent_reasons(bead: &Bead, input: DispatchInput<'_>) -> Vec<String> {
    let DispatchInput { agents, spent, load, .. } = input;
    if agents.is_empty() {
        return vec!["there is no agent".to_owned()];
    }
    let mut by_obstacle: BTreeMap<Mismatch, Vec<&str>> = BTreeMap::new();
    for (agent, provider) in agents {
        match check_fit(bead, agent, *provider, spent, load) {
            Ok(()) => return vec![format!("agent {} is free for it and is about to get it", agent.id)],
            Err(obstacle) => by_obstacle.entry(obstacle).or_default().push(agent.id.as_str()),
        }
    }
    let role = required_role(bead).unwrap_or("any");
    let budget = |ids: &[&str]| {
        let first = ids.first().map(|id| AgentId::from_trusted(*id));
        let (scope, until) = first.as_ref().and_then(|id| spent.exhausted_for(&bead.project_id, id))?;
        Some(format!("{}: the budget of {scope} is spent until {until}", ids.join(", ")))
    };
    by_obstacle
        .into_iter()
        .map(|(obstacle, ids)| {
            if let Some(told) = (obstacle == Mismatch::BudgetExhausted).then(|| budget(&ids)).flatten() {
                return told;
            }
            let ids = ids.join(", ");
            match obstacle {
                Mismatch::AssignedToOther => {
                    format!("it is meant for {}, not {ids}", bead.assigned_to.as_deref().unwrap_or("another"))
                }
                Mismatch::OtherProject => format!("{ids}: work for another project"),
                Mismatch::OtherRole => format!("{ids}: do not fill the role {role}"),
                Mismatch::PullsOwnWork => format!("{ids}: fetch their own work"),
                Mismatch::NotStarted => format!("{ids}: not started, or blocked"),
                Mismatch::BudgetExhausted => format!("{ids}: the budget is spent"),
                Mismatch::ProviderUnusable => format!("{ids}: the provider cannot be called now"),
                Mismatch::ProviderFull => format!("{ids}: the provider serves as many beads as it may"),
                Mismatch::Busy => format!("{ids}: at work on another bead"),
            }
        })
        .collect()
}

/// Returns the cause that keeps a ready bead from being worked on. Of several causes, the one that has to change first.
pub fn cause(bead: &Bead, input: DispatchInput<'_>, now: Timestamp) -> Cause {
    if NEVER_DISPATCHED.contains(&bead.bead_type.as_str()) {
        return Cause::Type;
    }
    if is_approval_missing(bead) {
        return Cause::Approval;
    }
    let capacity = input.load.projects.get(&bead.project_id);
    if matches!(input.dispatch_state, DispatchState::Parked(_))
        || capacity.is_some_and(|capacity| capacity.parked.is_some())
    {
        return Cause::Parked;
    }
    if bead.next_attempt_at.is_some_and(|at| at > now) {
        return Cause::Pause;
    }
    let nearest = input
        .agents
        .iter()
        .map(|(agent, provider)| match check_fit(bead, agent, *provider, input.spent, input.load) {
            Ok(()) => Cause::None,
            Err(Mismatch::Busy | Mismatch::ProviderFull) => Cause::Busy,
            Err(Mismatch::BudgetExhausted) => Cause::Budget,
            Err(Mismatch::ProviderUnusable) => Cause::Provider,
            Err(Mismatch::PullsOwnWork) => Cause::Pull,
            Err(
                Mismatch::NotStarted
                | Mismatch::OtherRole
                | Mismatch::OtherProject
                | Mismatch::AssignedToOther,
            ) => Cause::NoAgent,
        })
        .max_by_key(|cause| Cause::ALL.iter().position(|one| one == cause))
        .unwrap_or(Cause::NoAgent);
    match nearest {
        Cause::None | Cause::Busy if capacity.is_some_and(Capacity::is_full) => Cause::ProjectLimit,
        cause => cause,
    }
}
