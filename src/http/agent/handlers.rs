//! Agents: who works, with what, and on which bead.

use crate::http::agent::dto::{AgentPatchBody, AssignBody, CloneBody, ReasonBody, StatusBody};
use crate::http::agent::dto::{AgentView, NewAgentBody};
use crate::http::agent::runs::RunSummaryView;
use crate::http::framework::project_scope::{EntityKind, ProjectScope};
use crate::http::framework::required_role::Access;
use crate::http::provider::handlers::CASCADE;
use crate::http::wire::page::PAGE;
use crate::http::wire::query::{QueryField, text, word as word_field};
use crate::http::wire::schema::EnumValues;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::{AgentClone, CloneMode};
use arbiter_core::agent::{Agent, Status};
use arbiter_core::kernel::ids::{AgentId, BeadId};
use arbiter_store::{AgentFilter, RunFilter};
use warp::http::Method;

const COLLECTION: &str = "/api/v1/agents";
const ENTITY: &str = "/api/v1/agents/{id}";
const FILTERS: &[QueryField] = &[
    text("project_id", "Only those of this project"),
    word_field("status", <Status as EnumValues>::VALUES, "Only those with this status"),
];

/// Creating, showing, changing, commanding and deleting agents.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(COLLECTION, list)
            .scope(ProjectScope::CheckedByHandler)
            .query(FILTERS)
            .query(PAGE)
            .summary("The agents, oldest first")
            .answers::<Vec<AgentView>>(200),
        Endpoint::with_body(Method::POST, COLLECTION, create)
            .scope(ProjectScope::CheckedByHandler)
            .access(Access::Operator)
            .summary("Create an agent and start it")
            .answers::<AgentView>(201),
        Endpoint::get(ENTITY, show)
            .scope(ProjectScope::Entity(EntityKind::Agent))
            .summary("One agent")
            .answers::<AgentView>(200),
        Endpoint::with_body(Method::PATCH, ENTITY, update)
            .scope(ProjectScope::Entity(EntityKind::Agent))
            .access(Access::Operator)
            .summary("Change some of an agent's fields")
            .answers::<AgentView>(200),
        Endpoint::delete(ENTITY, remove)
            .scope(ProjectScope::Entity(EntityKind::Agent))
            .access(Access::Operator)
            .query(CASCADE)
            .summary("Delete an agent; with cascade its bead is released")
            .answers_without_json(204),
        Endpoint::with_body(Method::POST, "/api/v1/agents/{id}/status", set_status)
            .scope(ProjectScope::Entity(EntityKind::Agent))
            .access(Access::Operator)
            .summary("Bring an agent to a status: blocked, idle, shutdown or active")
            .answers::<AgentView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/agents/{id}/assign", assign)
            .scope(ProjectScope::Entity(EntityKind::Agent))
            .access(Access::Operator)
            .summary("Let an agent claim a bead")
            .answers::<AgentView>(200),
        Endpoint::with_optional_body(Method::POST, "/api/v1/agents/{id}/shutdown", shutdown)
            .scope(ProjectScope::Entity(EntityKind::Agent))
            .access(Access::Operator)
            .summary("Stop an agent; its bead is released")
            .answers::<AgentView>(200),
        Endpoint::post("/api/v1/agents/{id}/restart", restart)
            .scope(ProjectScope::Entity(EntityKind::Agent))
            .access(Access::Operator)
            .summary("Start an agent anew")
            .answers::<AgentView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/agents/{id}/clone", duplicate)
            .scope(ProjectScope::Entity(EntityKind::Agent))
            .access(Access::Operator)
            .summary("Make an agent after another one, which may leave in the same moment")
            .answers::<AgentView>(201),
        Endpoint::get("/api/v1/agents/{id}/runs", runs)
            .scope(ProjectScope::Entity(EntityKind::Agent))
            .query(PAGE)
            .summary("What an agent did, oldest first")
            .answers::<Vec<RunSummaryView>>(200),
    ]
}

fn id(request: &ApiRequest) -> AgentId {
    AgentId::from_trusted(request.param("id"))
}

fn answer(agent: Agent) -> Result<Reply, ApiError> {
    let revision = agent.revision;
    Reply::entity(&AgentView::from(agent), revision)
}

/// Returns the agent as the caller may see it. A caller limited to projects does not see the current bead of an
/// agent that works for every project.
fn redact_current_bead(request: &ApiRequest, agent: Agent) -> Agent {
    let hidden = agent.project_id.is_none() && request.identity.projects().is_some();
    if hidden { Agent { current_bead: None, ..agent } } else { agent }
}

async fn list(request: ApiRequest) -> Result<Reply, ApiError> {
    let filter = AgentFilter {
        project_id: request.query.owned("project_id")?,
        within: request.within(),
        status: request.query.word("status", Status::parse)?,
    };
    let page = request.handles().store.agents(filter, request.page()?).await?;
    let page = page.map(|agent| redact_current_bead(&request, agent));
    Reply::page::<_, AgentView>(request.page_link(), page)
}

async fn create(request: ApiRequest, body: NewAgentBody) -> Result<Reply, ApiError> {
    let new = body.into_new()?;
    request.require_project(new.project_id.as_deref())?;
    let agent = request.handles().agents.create(&request.caller()?, new).await?;
    let (revision, view) = (agent.revision, AgentView::from(agent));
    Ok(Reply::created(&view, COLLECTION, &view.id)?.with_revision(revision))
}

async fn show(request: ApiRequest) -> Result<Reply, ApiError> {
    let agent = request.agent().await?.clone();
    answer(redact_current_bead(&request, agent))
}

async fn update(request: ApiRequest, body: AgentPatchBody) -> Result<Reply, ApiError> {
    let (status, patch) = body.into_patch()?;
    if let Some(project) = &patch.project_id {
        request.require_project(project.as_deref())?;
    }
    let agents = &request.handles().agents;
    answer(agents.edit(&request.caller()?, &id(&request), patch, status).await?)
}

async fn remove(request: ApiRequest) -> Result<Reply, ApiError> {
    request.handles().agents.delete(&request.caller()?, &id(&request), request.cascade()?).await?;
    Ok(Reply::no_content())
}

async fn set_status(request: ApiRequest, body: StatusBody) -> Result<Reply, ApiError> {
    let agents = &request.handles().agents;
    answer(agents.set_status(&request.caller()?, &id(&request), &body.status, body.reason).await?)
}

async fn assign(request: ApiRequest, body: AssignBody) -> Result<Reply, ApiError> {
    let bead = BeadId::from_trusted(body.bead_id);
    request.require_beads([&bead]).await?;
    answer(request.handles().agents.assign(&request.caller()?, &id(&request), &bead).await?)
}

async fn shutdown(request: ApiRequest, body: ReasonBody) -> Result<Reply, ApiError> {
    answer(request.handles().agents.shutdown(&request.caller()?, &id(&request), body.reason).await?)
}

async fn restart(request: ApiRequest) -> Result<Reply, ApiError> {
    answer(request.handles().agents.restart(&request.caller()?, &id(&request)).await?)
}

async fn duplicate(request: ApiRequest, body: CloneBody) -> Result<Reply, ApiError> {
    let wanted = AgentClone {
        id: body.id,
        name: body.name,
        persona_name: body.persona_name,
        original: if body.replace { CloneMode::ReplaceOriginal } else { CloneMode::KeepOriginal },
    };
    let agent = request.handles().agents.clone_agent(&request.caller()?, &id(&request), wanted).await?;
    let (revision, view) = (agent.revision, AgentView::from(agent));
    Ok(Reply::created(&view, COLLECTION, &view.id)?.with_revision(revision))
}

async fn runs(request: ApiRequest) -> Result<Reply, ApiError> {
    let agent = request.agent().await?;
    let filter =
        RunFilter { agent_id: Some(agent.id.to_string()), within: request.within(), ..RunFilter::default() };
    let page = request.handles().store.runs(filter, request.page()?).await?;
    Reply::page::<_, RunSummaryView>(request.page_link(), page)
}
