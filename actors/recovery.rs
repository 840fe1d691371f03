//! Recovery at start: work that was in progress at the last end is continued or released.
//!
//! A run does not outlive its process, so beads of `llm` agents go back without counting an attempt;
//! external agents keep their claims and the files they locked for them, each with its full time anew.

use crate::agent::release_bead;
use crate::bead::release;
use crate::context::SharedContext;
use crate::error::Error;
use arbiter_core::agent::{self, Agent, Kind, Status};
use arbiter_store::{Change, Unit};

/// Reason recorded for work that was in progress at the end of the process.
const REASON: &str = "the server was restarted";

/// Puts the stored state right before anything new begins.
pub(crate) async fn recover(shared: &SharedContext) -> Result<(), Error> {
    for agent in shared.store.started_agents().await? {
        if agent.kind == Kind::Llm && matches!(agent.status, Status::Working | Status::Blocked) {
            release_agent(shared, &agent).await?;
        }
    }
    for lease in shared.store.leases().await? {
        let now = shared.clock.now();
        let mut unit = Unit::new(now, "system", "recovery");
        let holder = shared.store.agent(lease.agent_id.to_string()).await?;
        if holder.is_some_and(|agent| agent.kind == Kind::External) {
            unit.change(Change::RenewLease(lease.renewed(now)));
            for lock in shared.store.file_locks_for(lease.bead_id.to_string()).await? {
                unit.change(Change::RenewFileLock(lock.renewed(now, None)));
            }
            shared.store.commit(unit).await?;
            shared.beads.0.beads.ensure_started(lease.bead_id.as_str());
        } else {
            // A claim without its agent ends by itself when its time has come.
            shared.beads.0.beads.ensure_started(lease.bead_id.as_str());
        }
    }
    for run in shared.store.running_runs().await? {
        let mut unit = Unit::new(shared.clock.now(), "system", "recovery");
        let at = unit.at;
        release::finish_run(&mut unit, &release::cancelled(run, REASON, at));
        shared.store.commit(unit).await?;
    }
    Ok(())
}

async fn release_agent(shared: &SharedContext, agent: &Agent) -> Result<(), Error> {
    if agent.current_bead.is_none() {
        return Ok(());
    }
    let mut unit = Unit::new(shared.clock.now(), "system", "recovery");
    release_bead(&shared.store, &mut unit, agent, REASON).await?;
    let happenings = agent.decide(&agent::Command::Release { reason: REASON.to_owned() })?;
    unit.apply(agent, &happenings, Change::Agent);
    shared.store.commit(unit).await?;
    Ok(())
}

/// Starts the actors that have something to do by themselves.
pub(crate) async fn start_all(shared: &SharedContext) -> Result<(), Error> {
    for decision in shared.store.pending_decisions().await? {
        shared.decisions.ensure_started(&decision);
    }
    for project in shared.store.projects_with_file_locks().await? {
        shared.file_locks.0.file_locks.ensure_started(&project);
    }
    for provider in shared.store.all_providers().await? {
        shared.heartbeats.ensure_started(&provider.id);
    }
    for agent in shared.store.started_agents().await? {
        shared.agents.ensure_started(&agent.id);
    }
    Ok(())
}
