//! Actions of an agent during a run: those that end it, and those that do not.

use crate::bead::run_outcome;
use crate::bead::{BeadsHandle, RunResult, edge_event};
use crate::caller::Caller;
use crate::error::Error;
use crate::run::RunContext;
use crate::runtime::random;
use arbiter_core::agent::Agent;
use arbiter_core::bead::creation_limits;
use arbiter_core::bead::edit::{Edge, NewBead};
use arbiter_core::bead::{Bead, CRITICAL};
use arbiter_core::dispatch::assign::role_match;
use arbiter_core::dispatch::handoff;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{BeadId, DecisionId};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::prompt::tools::{Action, WaitForCreated};
use arbiter_store::{Change, Store, StoreError};

/// Kind of dependency from a created bead to its origin.
const SPAWNED: &str = "discovered-from";

/// Outcome of one action.
pub(crate) enum ToolOutcome {
    End(RunResult),
    Reply(String),
    /// The run continues to the end of this answer; then the bead waits for this bead.
    WaitFor(BeadId),
}

/// Does what an agent chose while it holds `bead`.
pub(crate) async fn act(
    shared: &RunContext,
    agent: &Agent,
    bead: &BeadId,
    action: Action,
) -> Result<ToolOutcome, Error> {
    let beads = shared.beads.clone();
    let caller = Caller::named(agent.id.as_str());
    Ok(match action {
        Action::Finish { summary } => ToolOutcome::End(RunResult::Complete(summary)),
        Action::Block { reason } => ToolOutcome::End(RunResult::Block(reason)),
        Action::AskDecision { question, options, priority } => {
            let held = held_bead(&shared.store, bead).await?;
            let new = run_outcome::decision_request(&held, &question, &options, priority);
            let id = DecisionId::from_random(random::bytes16());
            match new.build(id, shared.clock.now(), shared.settings.decision_timeout) {
                Ok(_) => ToolOutcome::End(RunResult::Ask(question, options, priority)),
                Err(refusal) => ToolOutcome::Reply(refusal.to_string()),
            }
        }
        Action::Comment { text } => match beads.comment(&caller, bead, text).await {
            Ok(_) => ToolOutcome::Reply("noted".to_owned()),
            Err(error) => reply_or_fail(error)?,
        },
        Action::Delegate { target, reason } => {
            let agents = shared.store.started_agents().await?;
            match handoff::check(&held_bead(&shared.store, bead).await?, &agent.id, &target, &agents) {
                Ok(()) => ToolOutcome::End(RunResult::HandOff(target, reason)),
                Err(problem) => ToolOutcome::Reply(problem),
            }
        }
        Action::CreateBead { title, description, role, wait } => {
            let parent = held_bead(&shared.store, bead).await?;
            if let Some(problem) = creation_problem(shared, &parent, role.as_deref()).await? {
                return Ok(ToolOutcome::Reply(problem));
            }
            let new = NewBead {
                title,
                description,
                project_id: parent.project_id.to_string(),
                // No person has approved beads that an agent creates from critical work.
                priority: Some(parent.priority.max(CRITICAL + 1)),
                tags: role.into_iter().map(|role| format!("role:{role}")).collect(),
                ..NewBead::default()
            };
            match create(&beads, &caller, &parent, new, wait).await {
                Ok(id) if wait == WaitForCreated::Yes => ToolOutcome::WaitFor(id),
                Ok(id) => ToolOutcome::Reply(format!("created as {id}")),
                Err(error) => reply_or_fail(error)?,
            }
        }
    })
}

/// A refusal is for the model to mend; anything else ends the run.
fn reply_or_fail(error: Error) -> Result<ToolOutcome, Error> {
    match error {
        Error::Refused(refusal) | Error::Store(StoreError::Refused(refusal)) => {
            Ok(ToolOutcome::Reply(refusal.to_string()))
        }
        other => Err(other),
    }
}

async fn held_bead(store: &Store, id: &BeadId) -> Result<Bead, Error> {
    let found = store.bead(id.to_string()).await?;
    found.ok_or_else(|| Refusal::not_found("bead", id.as_str()).into())
}

/// Returns the reason why no bead can be created, if there is one.
async fn creation_problem(
    shared: &RunContext,
    parent: &Bead,
    role: Option<&str>,
) -> Result<Option<String>, Error> {
    let spawn_depth = shared.store.spawn_depth(parent.id.to_string()).await?;
    if let Err(problem) =
        creation_limits::check(spawn_depth.depth, spawn_depth.children, spawn_depth.descendants)
    {
        return Ok(Some(problem));
    }
    let Some(role) = role else { return Ok(None) };
    let agents = shared.store.started_agents().await?;
    let is_eligible = |agent: &&Agent| agent.project_id.as_ref().is_none_or(|id| *id == parent.project_id);
    if agents.iter().filter(is_eligible).any(|agent| role_match(agent, role).is_some()) {
        return Ok(None);
    }
    let mut roles: Vec<&str> =
        agents.iter().filter(is_eligible).filter_map(|agent| agent.role.as_deref()).collect();
    roles.sort_unstable();
    roles.dedup();
    Ok(Some(format!("no agent has the role {role}; there are: {}", roles.join(", "))))
}

async fn create(
    beads: &BeadsHandle,
    caller: &Caller,
    parent: &Bead,
    new: NewBead,
    wait: WaitForCreated,
) -> Result<BeadId, Error> {
    let mut unit = caller.unit(beads.0.clock.now(), "beads");
    let batch = beads.add_to(&mut unit, std::slice::from_ref(&new)).await?;
    let Some(child) = batch.beads.first() else { return Err(Error::Busy("the store".to_owned())) };
    let spawned = Edge::new(child.id.clone(), parent.id.clone(), SPAWNED);
    let mut edges = vec![(child, spawned)];
    if wait == WaitForCreated::Yes {
        edges.push((parent, Edge::new(parent.id.clone(), child.id.clone(), "blocks")));
    }
    for (bead, edge) in edges {
        unit.emit(edge_event(EventType::BeadDependencyAdded, bead, &edge)).change(Change::AddEdge(edge));
    }
    beads.0.store.commit(unit).await?;
    Ok(child.id.clone())
}
