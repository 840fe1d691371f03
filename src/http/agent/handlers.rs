//! Agents: who works, with what, and on which bead.

use crate::http::agent::dto::{AgentPatchBody, AssignBody, CloneBody, ReasonBody, StatusBody};
use crate::http::agent::dto::{AgentView, NewAgentBody};
use crate::http::agent::runs::RunSummaryView;
use crate::http::framework::endpoint::{QueryField, text, word as word_field};
use crate::http::framework::required_role::Access;
use crate::http::provider::handlers::CASCADE;
use crate::http::wire::page::PAGE;
use crate::http::wire::schema::Vocabulary;
use crate::http::{ApiError, Call, Endpoint, Reply};
use arbiter_actors::{AgentClone, Original};
use arbiter_core::agent::{Agent, Status};
use arbiter_core::kernel::ids::{AgentId, BeadId};
use arbiter_store::{AgentFilter, RunFilter};
use warp::http::Method;

const COLLECTION: &str = "/api/v1/agents";
const ENTITY: &str = "/api/v1/agents/{id}";
const FILTERS: &[QueryField] = &[
    text("project_id", "Only those of this project"),
    word_field("status", <Status as Vocabulary>::WORDS, "Only those with this status"),
];

/// Creating, showing, changing, commanding and deleting agents.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(COLLECTION, list)
            .query(FILTERS)
            .query(PAGE)
            .summary("The agents, oldest first")
            .answers::<Vec<AgentView>>(200),
        Endpoint::with_body(Method::POST, COLLECTION, create)
            .access(Access::Operator)
            .summary("Create an agent and start it")
            .answers::<AgentView>(201),
        Endpoint::get(ENTITY, show).summary("One agent").answers::<AgentView>(200),
        Endpoint::with_body(Method::PATCH, ENTITY, update)
            .access(Access::Operator)
            .summary("Change some of an agent's fields")
            .answers::<AgentView>(200),
        Endpoint::delete(ENTITY, remove)
            .access(Access::Operator)
            .query(CASCADE)
            .summary("Delete an agent; with cascade its bead is released")
            .answers_plainly(204),
        Endpoint::with_body(Method::POST, "/api/v1/agents/{id}/status", set_status)
            .access(Access::Operator)
            .summary("Bring an agent to a status: blocked, idle, shutdown or active")
            .answers::<AgentView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/agents/{id}/assign", assign)
            .access(Access::Operator)
            .summary("Let an agent claim a bead")
            .answers::<AgentView>(200),
        Endpoint::with_optional_body(Method::POST, "/api/v1/agents/{id}/shutdown", shutdown)
            .access(Access::Operator)
            .summary("Stop an agent; its bead is released")
            .answers::<AgentView>(200),
        Endpoint::post("/api/v1/agents/{id}/restart", restart)
            .access(Access::Operator)
            .summary("Start an agent anew")
            .answers::<AgentView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/agents/{id}/clone", duplicate)
            .access(Access::Operator)
            .summary("Make an agent after another one, which may leave in the same moment")
            .answers::<AgentView>(201),
        Endpoint::get("/api/v1/agents/{id}/runs", runs)
            .query(PAGE)
            .summary("What an agent did, oldest first")
            .answers::<Vec<RunSummaryView>>(200),
    ]
}

fn id(call: &Call) -> AgentId {
    AgentId::known(call.param("id"))
}

async fn row(call: &Call) -> Result<Agent, ApiError> {
    let found = call.handles().store.agent(call.param("id").to_owned()).await?;
    found.ok_or_else(|| ApiError::not_found("agent", call.param("id")))
}

fn answer(agent: Agent) -> Result<Reply, ApiError> {
    let revision = agent.revision;
    Reply::entity(&AgentView::from(agent), revision)
}

/// An agent as whoever asks may see it: on which bead one works that works for every project is not told to
/// those who see only some.
fn seen(call: &Call, agent: Agent) -> Agent {
    let hidden = agent.project_id.is_none() && call.identity.projects().is_some();
    if hidden { Agent { current_bead: None, ..agent } } else { agent }
}

async fn list(call: Call) -> Result<Reply, ApiError> {
    let filter = AgentFilter {
        project_id: call.query.owned("project_id")?,
        within: call.within(),
        status: call.query.word("status", Status::parse)?,
    };
    let page = call.handles().store.agents(filter, call.page()?).await?;
    let page = page.map(|agent| seen(&call, agent));
    Reply::page::<_, AgentView>(&call, page)
}

async fn create(call: Call, body: NewAgentBody) -> Result<Reply, ApiError> {
    let new = body.into_new()?;
    call.need_project(new.project_id.as_deref())?;
    let agent = call.handles().agents.create(&call.caller()?, new).await?;
    let (revision, view) = (agent.revision, AgentView::from(agent));
    Ok(Reply::created(&view, COLLECTION, &view.id)?.with_revision(revision))
}

async fn show(call: Call) -> Result<Reply, ApiError> {
    let agent = row(&call).await?;
    answer(seen(&call, agent))
}

async fn update(call: Call, body: AgentPatchBody) -> Result<Reply, ApiError> {
    let mut caller = call.caller()?;
    let (id, agents) = (id(&call), &call.handles().agents);
    let (wanted, patch) = body.into_patch()?;
    if let Some(project) = &patch.project_id {
        call.need_project(project.as_deref())?;
    }
    let Some(word) = wanted else {
        return answer(agents.update(&caller, &id, patch).await?);
    };
    if patch != Default::default() {
        agents.update(&caller, &id, patch).await?;
        caller.if_match = None;
    }
    answer(agents.set_status(&caller, &id, &word, None).await?)
}

async fn remove(call: Call) -> Result<Reply, ApiError> {
    call.handles().agents.delete(&call.caller()?, &id(&call), call.cascade()?).await?;
    Ok(Reply::no_content())
}

async fn set_status(call: Call, body: StatusBody) -> Result<Reply, ApiError> {
    let agents = &call.handles().agents;
    answer(agents.set_status(&call.caller()?, &id(&call), &body.status, body.reason).await?)
}

async fn assign(call: Call, body: AssignBody) -> Result<Reply, ApiError> {
    let bead = BeadId::known(body.bead_id);
    call.need_beads([&bead]).await?;
    answer(call.handles().agents.assign(&call.caller()?, &id(&call), &bead).await?)
}

async fn shutdown(call: Call, body: ReasonBody) -> Result<Reply, ApiError> {
    answer(call.handles().agents.shutdown(&call.caller()?, &id(&call), body.reason).await?)
}

async fn restart(call: Call) -> Result<Reply, ApiError> {
    answer(call.handles().agents.restart(&call.caller()?, &id(&call)).await?)
}

async fn duplicate(call: Call, body: CloneBody) -> Result<Reply, ApiError> {
    let wanted = AgentClone {
        id: body.id,
        name: body.name,
        persona_name: body.persona_name,
        original: if body.replace { Original::Leaves } else { Original::Stays },
    };
    let agent = call.handles().agents.clone_agent(&call.caller()?, &id(&call), wanted).await?;
    let (revision, view) = (agent.revision, AgentView::from(agent));
    Ok(Reply::created(&view, COLLECTION, &view.id)?.with_revision(revision))
}

async fn runs(call: Call) -> Result<Reply, ApiError> {
    let agent = row(&call).await?;
    let filter =
        RunFilter { agent_id: Some(agent.id.to_string()), within: call.within(), ..RunFilter::default() };
    let page = call.handles().store.runs(filter, call.page()?).await?;
    Reply::page::<_, RunSummaryView>(&call, page)
}
