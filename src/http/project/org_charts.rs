//! Org charts: the roles of a project, the agents that fill them, and the reporting lines.

use crate::http::bead::actions::check_agent;
use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::wire::schema::time;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::{StaffedChart, Staffing};
use arbiter_core::kernel::ids::{AgentId, ProjectId};
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::project::org_chart::Position;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::Method;

const ENTITY: &str = "/api/v1/org-charts/{id}";

/// The org chart of a project.
#[derive(Debug, Serialize, JsonSchema)]
struct OrgChartView {
    /// The project.
    project_id: String,
    /// The roles that it wants, the highest first.
    positions: Vec<PositionView>,
    /// Time of the last change of the positions.
    #[schemars(schema_with = "time")]
    updated_at: Timestamp,
    /// The revision of the positions.
    revision: u64,
}

/// A role that a project wants to be filled.
#[derive(Debug, Serialize, JsonSchema)]
struct PositionView {
    /// The role; beads with the tag `role:x` look for it.
    role_name: String,
    /// The persona of who fills it.
    persona_path: Option<String>,
    /// True if the project is not complete without it.
    required: bool,
    /// The most agents that fill it; 0: no limit.
    max_instances: u32,
    /// Agents that fill it: agents of the project matched by role, else by persona.
    agent_ids: Vec<String>,
    /// The role that it reports to.
    reports_to: Option<String>,
}

impl From<StaffedChart> for OrgChartView {
    fn from(staffed: StaffedChart) -> Self {
        let StaffedChart { chart, agents } = staffed;
        let view = |position: &Position| PositionView {
            agent_ids: chart
                .occupants(&position.role_name, &agents)
                .into_iter()
                .map(AgentId::to_string)
                .collect(),
            role_name: position.role_name.clone(),
            persona_path: position.persona_path.clone(),
            required: position.required,
            max_instances: position.max_instances,
            reports_to: position.reports_to.clone(),
        };
        Self {
            project_id: chart.project_id.to_string(),
            positions: chart.positions.iter().map(view).collect(),
            updated_at: chart.updated_at,
            revision: chart.revision,
        }
    }
}

/// The positions of a project.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OrgChartBody {
    /// All of them, the highest first.
    positions: Vec<PositionBody>,
}

/// A position.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PositionBody {
    /// The role.
    role_name: String,
    /// The persona of who fills it.
    #[serde(default)]
    persona_path: Option<String>,
    /// True if the project is not complete without it.
    #[serde(default)]
    required: bool,
    /// The most agents that fill it; 0 (the default): no limit.
    #[serde(default)]
    max_instances: u32,
    /// The role that it reports to.
    #[serde(default)]
    reports_to: Option<String>,
    /// Agents that fill it. Accepted only unchanged, because it follows from the agents.
    #[serde(default)]
    agent_ids: Option<Vec<String>>,
}

/// Change of an agent's project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// Assigns the agent to the project.
    Assign,
    /// Removes the agent from the project; it then works for all projects.
    Unassign,
}

/// An agent that joins or leaves a project.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StaffBody {
    /// The agent.
    agent_id: String,
    /// Change to make.
    action: Action,
    /// New role of the agent; it keeps its own by default.
    #[serde(default)]
    role: Option<String>,
}

/// Showing and changing org charts, and taking agents into projects.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(ENTITY, show)
            .scope(ProjectScope::ProjectInPath)
            .summary("The org chart of a project, by the project's id")
            .answers::<OrgChartView>(200),
        Endpoint::with_body(Method::PUT, ENTITY, replace)
            .scope(ProjectScope::ProjectInPath)
            .access(Access::Operator)
            .summary("Change the positions of a project")
            .answers::<OrgChartView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/projects/{id}/agents", staff)
            .scope(ProjectScope::ProjectInPath)
            .access(Access::Operator)
            .summary("Take an agent into a project, or out of it")
            .answers::<OrgChartView>(200),
    ]
}

fn id(request: &ApiRequest) -> ProjectId {
    ProjectId::from_trusted(request.param("id"))
}

fn answer(staffed: StaffedChart) -> Result<Reply, ApiError> {
    let revision = staffed.chart.revision;
    Reply::entity(&OrgChartView::from(staffed), revision)
}

async fn show(request: ApiRequest) -> Result<Reply, ApiError> {
    answer(request.handles().org_charts.get(&id(&request)).await?)
}

async fn replace(request: ApiRequest, body: OrgChartBody) -> Result<Reply, ApiError> {
    let (charts, id) = (&request.handles().org_charts, id(&request));
    let StaffedChart { chart, agents } = charts.get(&id).await?;
    let mut positions = Vec::with_capacity(body.positions.len());
    for (index, one) in body.positions.into_iter().enumerate() {
        let occupants: Vec<&str> =
            chart.occupants(&one.role_name, &agents).into_iter().map(AgentId::as_str).collect();
        if one.agent_ids.is_some_and(|ids| ids != occupants) {
            let detail =
                "follows from the agents' roles and personas: POST /api/v1/projects/{id}/agents assigns them";
            return Err(ApiError::field(&format!("positions/{index}/agent_ids"), detail));
        }
        positions.push(Position {
            role_name: one.role_name,
            persona_path: one.persona_path,
            required: one.required,
            max_instances: one.max_instances,
            reports_to: one.reports_to,
        });
    }
    answer(charts.put(&request.caller()?, &id, positions).await?)
}

async fn staff(request: ApiRequest, body: StaffBody) -> Result<Reply, ApiError> {
    let agent = AgentId::from_trusted(body.agent_id);
    check_agent(&request, &agent).await?;
    let staffing = match (body.action, body.role) {
        (Action::Assign, role) => Staffing::Assign { role },
        (Action::Unassign, None) => Staffing::Unassign,
        (Action::Unassign, Some(_)) => {
            return Err(ApiError::field("role", "must only be given for the action assign"));
        }
    };
    answer(request.handles().org_charts.staff(&request.caller()?, &id(&request), &agent, staffing).await?)
}
