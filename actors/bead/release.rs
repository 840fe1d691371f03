//! Release of a bead: ends the lease, the agent's hold and the run. Every end of a hold goes through this
//! module, so that no row is forgotten.

use crate::error::Error;
use arbiter_core::agent::{self, Agent};
use arbiter_core::bead::Bead;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::lease::Lease;
use arbiter_core::kernel::run::{self, Run};
use arbiter_store::{Change, PageRequest, RunFilter, Store, Unit};
use serde_json::json;

/// Reason for the release of an agent's hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReleaseReason {
    /// The agent ended the bead: `closed`, `blocked`, `asked`.
    Finished(&'static str),
    Released(String),
}

/// Adds the end of a hold to a unit. `run` is how the run ended when the run itself ends the hold;
/// otherwise a run that still goes on is cancelled.
pub(crate) async fn end(
    store: &Store,
    unit: &mut Unit,
    bead: &Bead,
    lease: Option<&Lease>,
    release_reason: &ReleaseReason,
    run: Option<&Run>,
) -> Result<(), Error> {
    if let Some(lease) = lease {
        unit.change(Change::EndLease(bead.id.clone()));
        if let Some(agent) = store.agent(lease.agent_id.to_string()).await? {
            end_agent(unit, bead, &agent, release_reason)?;
        }
    }
    let why = match release_reason {
        ReleaseReason::Finished(outcome) => format!("the bead was {outcome}"),
        ReleaseReason::Released(reason) => reason.clone(),
    };
    release_files(store, unit, bead, &why).await?;
    match run {
        Some(run) => finish_run(unit, run),
        None => {
            let why = match release_reason {
                ReleaseReason::Finished(outcome) => format!("the bead was {outcome} from outside"),
                ReleaseReason::Released(reason) => reason.clone(),
            };
            for run in running_on(store, bead).await? {
                let at = unit.at;
                finish_run(unit, &cancelled(run, &why, at));
            }
        }
    }
    Ok(())
}

fn end_agent(
    unit: &mut Unit,
    bead: &Bead,
    agent: &Agent,
    release_reason: &ReleaseReason,
) -> Result<(), Error> {
    let holds = agent.current_bead.as_ref() == Some(&bead.id);
    if !holds || !matches!(agent.status, agent::Status::Working | agent::Status::Blocked) {
        return Ok(());
    }
    let command = match release_reason {
        ReleaseReason::Finished(outcome) if agent.status == agent::Status::Working => {
            agent::Command::Finish { outcome: (*outcome).to_owned() }
        }
        ReleaseReason::Finished(outcome) => agent::Command::Release { reason: (*outcome).to_owned() },
        ReleaseReason::Released(reason) => agent::Command::Release { reason: reason.clone() },
    };
    let happenings = agent.decide(&command)?;
    unit.apply(agent, &happenings, Change::Agent);
    unit.change(Change::AgentActive { agent_id: agent.id.clone(), at: unit.at });
    Ok(())
}

/// Releases the file locks that the agent took for the bead.
async fn release_files(store: &Store, unit: &mut Unit, bead: &Bead, why: &str) -> Result<(), Error> {
    let locks = store.file_locks_for(bead.id.to_string()).await?;
    if locks.is_empty() {
        return Ok(());
    }
    for lock in &locks {
        unit.emit(lock.released_event(why));
    }
    unit.change(Change::ReleaseFileLocks { bead_id: bead.id.clone(), expected: locks.len() });
    Ok(())
}

async fn running_on(store: &Store, bead: &Bead) -> Result<Vec<Run>, Error> {
    let filter = RunFilter {
        bead_id: Some(bead.id.to_string()),
        status: Some(run::Status::Running),
        ..RunFilter::default()
    };
    Ok(store.runs(filter, PageRequest { limit: 100, cursor: None }).await?.items)
}

/// A run that is stopped.
pub(crate) fn cancelled(run: Run, why: &str, at: arbiter_core::kernel::time::Timestamp) -> Run {
    Run { status: run::Status::Cancelled, error: Some(why.to_owned()), finished_at: Some(at), ..run }
}

/// Adds the end of a run.
pub(crate) fn finish_run(unit: &mut Unit, run: &Run) {
    unit.emit(NewEvent {
        kind: EventType::RunFinished,
        project_id: run.project_id.as_ref().map(ToString::to_string),
        subject: run.id.to_string(),
        data: json!({
            "kind": run.kind, "bead_id": run.bead_id, "agent_id": run.agent_id, "status": run.status, "outcome": run.outcome,
            "error": run.error, "steps": run.steps, "input_tokens": run.input_tokens,
            "output_tokens": run.output_tokens, "cost_usd": run.cost_usd, "latency_ms": run.latency_ms,
        }),
    });
    unit.change(Change::FinishRun(run.clone()));
}
