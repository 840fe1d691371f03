//! The end of a project, and what goes with it: its agents, its beads, what is asked about them, its locks on files.
//!
//! Owns nothing; all of it is one unit, or nothing is.

use crate::agent::delete_agent;
use crate::caller::{Caller, Cascade};
use crate::conflict_retry::{check_revision, retry_on_conflict};
use crate::decision::cancel as decision_cancel;
use crate::error::Error;
use crate::project::actor::ProjectActor;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{AgentId, DecisionId};
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{AgentFilter, BeadFilter, Change, PageRequest, Write};
use serde_json::json;

impl ProjectActor {
    pub(crate) async fn delete(&self, caller: &Caller, cascade: Cascade) -> Result<(), Error> {
        let shared = &self.context.shared;
        let gone = retry_on_conflict(async || self.delete_cascade(caller, cascade).await).await?;
        shared.prefixes.invalidate();
        decision_cancel::notify_actors(&shared.decisions, &gone.decisions);
        for agent in &gone.agents {
            shared.agents.forget(agent);
        }
        shared.projects.remove(&self.context.id);
        if !gone.agents.is_empty() {
            shared.token_cache.reload(shared).await?;
        }
        Ok(())
    }

    /// Deletes the project and what belongs to it in one unit.
    async fn delete_cascade(&self, caller: &Caller, cascade: Cascade) -> Result<DeletedProject, Error> {
        let shared = &self.context.shared;
        let project = self.row(caller).await?;
        check_revision(caller, &project)?;
        let mut unit = caller.unit(shared.clock.now(), "projects");
        let own = AgentFilter { project_id: Some(self.context.id.clone()), ..AgentFilter::default() };
        let agents = shared.store.all_agents(own).await?;
        if let (Cascade::No, Some(agent)) = (cascade, agents.first()) {
            let detail = format!(
                "agent {} belongs to project {}; use cascade=true to delete it too",
                agent.id, project.id
            );
            return Err(Refusal::conflict(ProblemCode::InUse, detail).into());
        }
        for agent in &agents {
            if let Some(bead) = &agent.current_bead {
                let detail = format!("bead {bead} is held by agent {}: release it first", agent.id);
                return Err(Refusal::conflict(ProblemCode::BeadHeld, detail).into());
            }
            delete_agent(&shared.store, &mut unit, agent).await?;
        }
        let decisions = shared.store.pending_decisions_in(self.context.id.clone()).await?;
        let withdrawn =
            decision_cancel::cancel_pending(&mut unit, &decisions, |decision| match &decision.bead_id {
                Some(bead) => format!("bead {bead} was deleted with its project"),
                None => format!("project {} was deleted", project.id),
            })?;
        let filter = BeadFilter { project_id: Some(self.context.id.clone()), ..BeadFilter::default() };
        let mut cursor = None;
        loop {
            let request = PageRequest { limit: 500, cursor };
            let beads = shared.store.beads(filter.clone(), request).await?;
            if cascade == Cascade::No && beads.total > 0 {
                let detail = format!("project {} has beads; use cascade=true to delete them too", project.id);
                return Err(Refusal::conflict(ProblemCode::InUse, detail).into());
            }
            for detail in beads.items {
                let bead = detail.bead;
                if bead.status == arbiter_core::bead::Status::InProgress {
                    let detail = format!("bead {} is held: release it first", bead.id);
                    return Err(Refusal::conflict(ProblemCode::BeadHeld, detail).into());
                }
                unit.emit(NewEvent {
                    kind: EventType::BeadDeleted,
                    project_id: Some(project.id.to_string()),
                    subject: bead.id.to_string(),
                    data: json!({"title": bead.title}),
                });
                unit.change(Change::Bead(Write::Delete { row: bead }));
            }
            cursor = beads.next;
            if cursor.is_none() {
                break;
            }
        }
        for lock in shared.store.file_locks_in(self.context.id.clone()).await? {
            unit.emit(lock.released_event("the project was deleted"));
            unit.change(Change::ReleaseFileLock(lock));
        }
        unit.emit(NewEvent {
            kind: EventType::ProjectDeleted,
            project_id: Some(project.id.to_string()),
            subject: project.id.to_string(),
            data: json!({"name": project.name}),
        });
        unit.change(Change::Project(Write::Delete { row: project }));
        shared.store.commit(unit).await?;
        Ok(DeletedProject {
            decisions: withdrawn,
            agents: agents.into_iter().map(|agent| agent.id).collect(),
        })
    }
}

/// Entities that ended with a project, whose actors must be informed.
struct DeletedProject {
    decisions: Vec<DecisionId>,
    agents: Vec<AgentId>,
}
