//! Org charts as others reach them. Not an actor: a chart is one row, which is changed on its revision, and who fills
//! its positions follows from the agents.

use crate::caller::Caller;
use crate::conflict_retry::{MAX_TRIES, is_stale};
use crate::error::Error;
use crate::project::ProjectContext;
use arbiter_core::agent::edit::AgentPatch;
use arbiter_core::agent::{self, Agent};
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{AgentId, ProjectId};
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::project::authorize;
use arbiter_core::project::org_chart::{OrgChart, Position};
use arbiter_store::Change;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Handle of the org charts.
#[derive(Clone)]
pub struct OrgChartsHandle(pub(crate) Arc<ProjectContext>);

/// A chart and the agents of its project.
#[derive(Clone, Debug, PartialEq)]
pub struct StaffedChart {
    pub chart: OrgChart,
    /// The agents, oldest first.
    pub agents: Vec<Agent>,
}

/// Change of an agent's project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Staffing {
    /// Assigns the agent to the project, in this role if one is given.
    Assign {
        role: Option<String>,
    },
    Unassign,
}

impl OrgChartsHandle {
    /// The chart of a project.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown project.
    pub async fn get(&self, project: &ProjectId) -> Result<StaffedChart, Error> {
        let found = self.0.store.org_chart(project.to_string()).await?;
        let (chart, agents) = found.ok_or_else(|| Refusal::not_found("project", project.as_str()))?;
        Ok(StaffedChart { chart, agents })
    }

    /// Changes the positions of a project.
    ///
    /// # Errors
    /// [`Error::Refused`] for wrong positions or an unknown persona, and when more agents fill one than would be allowed.
    pub async fn put(
        &self,
        caller: &Caller,
        project: &ProjectId,
        positions: Vec<Position>,
    ) -> Result<StaffedChart, Error> {
        let mut outcome = self.try_put(caller, project, &positions).await;
        for _ in 1..MAX_TRIES {
            if !is_stale(&outcome) {
                break;
            }
            outcome = self.try_put(caller, project, &positions).await;
        }
        outcome?;
        self.get(project).await
    }

    async fn try_put(
        &self,
        caller: &Caller,
        project: &ProjectId,
        positions: &[Position],
    ) -> Result<(), Error> {
        let shared = &self.0;
        authorize::access(&caller.authority, project.as_str())?;
        let before = self.get(project).await?.chart;
        if caller.if_match.is_some_and(|seen| seen != before.revision) {
            let (entity, id, revision) = ("org chart", project.to_string(), before.revision);
            return Err(Refusal::Precondition { entity, id, revision }.into());
        }
        let mut unit = caller.unit(shared.clock.now(), "projects");
        let after = OrgChart {
            project_id: project.clone(),
            positions: positions.to_vec(),
            updated_at: unit.at,
            revision: before.revision + 1,
        };
        after.check()?;
        self.check_personas(&before, &after).await?;
        if after.positions == before.positions {
            return Ok(());
        }
        unit.emit(NewEvent {
            kind: EventType::OrgChartUpdated,
            project_id: Some(project.to_string()),
            subject: project.to_string(),
            data: json!({"changes": {"positions": {"old": before.positions, "new": after.positions}}}),
        });
        unit.change(Change::PutOrgChart(after));
        shared.store.commit(unit).await?;
        Ok(())
    }

    /// A persona that has gone since it was named stays where it is.
    async fn check_personas(&self, before: &OrgChart, after: &OrgChart) -> Result<(), Error> {
        let known: BTreeSet<_> =
            before.positions.iter().filter_map(|one| one.persona_path.as_deref()).collect();
        for (place, position) in after.positions.iter().enumerate() {
            if let Some(path) = position.persona_path.as_deref().filter(|path| !known.contains(path)) {
                self.0.personas.check(&format!("positions/{place}/persona_path"), path).await?;
            }
        }
        Ok(())
    }

    /// Takes an agent into a project, or out of it; out of it, it works for every project.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown project or agent, a role without a position, a full position, an agent that
    /// is to leave a project it does not belong to, and one that holds a bead of another project; for a project that
    /// the caller does not reach, and for a caller limited to projects that takes an agent out of one.
    pub async fn staff(
        &self,
        caller: &Caller,
        project: &ProjectId,
        id: &AgentId,
        staffing: Staffing,
    ) -> Result<StaffedChart, Error> {
        authorize::access(&caller.authority, project.as_str())?;
        if staffing == Staffing::Unassign {
            caller.authority.require_project(None)?;
        }
        let chart = self.get(project).await?.chart;
        let agents = self.0.agents.clone();
        let unknown = || Refusal::field("agent_id", format!("no agent has the id {id}"));
        let agent = self.0.store.agent(id.to_string()).await?;
        // A foreign agent is as good as not there.
        let is_known = |agent: &Agent| agent::authorize::read(&caller.authority, agent).is_ok();
        let agent = agent.filter(is_known).ok_or_else(unknown)?;
        let belongs = agent.project_id.as_ref() == Some(project);
        let mut patch = AgentPatch::default();
        match staffing {
            Staffing::Unassign if !belongs => {
                let detail = format!("agent {id} does not belong to project {project}");
                return Err(Refusal::conflict(ProblemCode::OtherProject, detail).into());
            }
            Staffing::Unassign => patch.project_id = Some(None),
            Staffing::Assign { role } => {
                if let Some(role) = role.as_ref().filter(|role| chart.position(role).is_none()) {
                    let detail = format!("project {project} has no position of the role {role}");
                    return Err(Refusal::field("role", detail).into());
                }
                self.check_bead(project, &agent).await?;
                patch.project_id = Some(Some(project.to_string()));
                patch.role = role.map(Some);
            }
        }
        // The revision of the check: a bead assigned meanwhile counts as well.
        let caller = Caller { if_match: Some(agent.revision), ..caller.clone() };
        match agents.edit(&caller, id, patch, None).await {
            Err(Error::Refused(Refusal::Precondition { .. })) => {
                let detail = format!("agent {id} was changed at the same moment; look at it and try again");
                return Err(Refusal::conflict(ProblemCode::Changed, detail).into());
            }
            done => done?,
        };
        self.get(project).await
    }

    async fn check_bead(&self, project: &ProjectId, agent: &Agent) -> Result<(), Error> {
        let Some(held) = &agent.current_bead else { return Ok(()) };
        let bead = self.0.store.bead(held.to_string()).await?;
        if bead.is_none_or(|bead| bead.project_id == *project) {
            return Ok(());
        }
        let detail = format!("agent {} has bead {held} of another project; release it first", agent.id);
        Err(Refusal::conflict(ProblemCode::BeadHeld, detail).into())
    }
}
