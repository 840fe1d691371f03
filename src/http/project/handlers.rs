//! Projects: what beads and agents belong to.

use crate::http::decision::DecisionView;
use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::project::dto::{ProjectDetail, ProjectView, StateView};
use crate::http::provider::handlers::CASCADE;
use crate::http::wire::page::PAGE;
use crate::http::wire::query::{QueryField, word as word_field};
use crate::http::wire::schema::{EnumValues, any_object};
use crate::http::wire::serde_fields::{nullable, present};
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::{CloseOutcome, Parking};
use arbiter_core::agent::Agent;
use arbiter_core::decision;
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::project::edit::{NewProject, ProjectPatch};
use arbiter_core::project::{Project, Status};
use arbiter_store::{AgentFilter, BeadFilter, DecisionFilter, PageRequest};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use warp::http::{Method, StatusCode};

const COLLECTION: &str = "/api/v1/projects";
const ENTITY: &str = "/api/v1/projects/{id}";
const FILTERS: &[QueryField] =
    &[word_field("status", <Status as EnumValues>::VALUES, "Only those with this status")];

/// A project to be created.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewProjectBody {
    /// Its id; else one is made.
    #[serde(default)]
    id: Option<String>,
    /// Its name.
    name: String,
    /// Location of the source repository.
    #[serde(default)]
    git_repo: Option<String>,
    /// The branch that counts.
    #[serde(default)]
    branch: Option<String>,
    /// The directory of its bead files: an absolute path that ends in `.beads`.
    #[serde(default)]
    beads_path: Option<String>,
    /// Prefix of the ids of new beads; `bd` by default.
    #[serde(default)]
    bead_prefix: Option<String>,
    /// Most beads in progress at once; no limit of its own by default.
    #[serde(default)]
    max_parallel: Option<u32>,
    /// Context of its work, by name.
    #[serde(default)]
    #[schemars(schema_with = "any_object")]
    context: Option<Map<String, Value>>,
    /// True if the project never closes.
    #[serde(default)]
    is_perpetual: bool,
    /// True if the project stays on top of lists.
    #[serde(default)]
    is_sticky: bool,
}

/// Fields of a project that are to change.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct ProjectPatchBody {
    /// Its name.
    #[serde(deserialize_with = "present")]
    name: Option<String>,
    /// Location of the source repository.
    #[serde(deserialize_with = "nullable")]
    git_repo: Option<Option<String>>,
    /// The branch that counts.
    #[serde(deserialize_with = "nullable")]
    branch: Option<Option<String>>,
    /// The directory of its bead files: an absolute path that ends in `.beads`.
    #[serde(deserialize_with = "nullable")]
    beads_path: Option<Option<String>>,
    /// Prefix of the ids of new beads.
    #[serde(deserialize_with = "nullable")]
    bead_prefix: Option<Option<String>>,
    /// Most beads in progress at once.
    #[serde(deserialize_with = "nullable")]
    max_parallel: Option<Option<u32>>,
    /// Context of its work, by name.
    #[serde(deserialize_with = "present")]
    #[schemars(schema_with = "any_object")]
    context: Option<Map<String, Value>>,
    /// True if the project never closes.
    #[serde(deserialize_with = "present")]
    is_perpetual: Option<bool>,
    /// True if the project stays on top of lists.
    #[serde(deserialize_with = "present")]
    is_sticky: Option<bool>,
}

/// Reason for parking a project.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ParkBody {
    /// Reason.
    reason: String,
}

/// Creating, showing, changing, closing and deleting projects.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(COLLECTION, list)
            .scope(ProjectScope::CheckedByHandler)
            .query(FILTERS)
            .query(PAGE)
            .summary("The projects, oldest first")
            .answers::<Vec<ProjectView>>(200),
        Endpoint::with_body(Method::POST, COLLECTION, create)
            .access(Access::Operator)
            .summary("Create a project")
            .answers::<ProjectView>(201),
        Endpoint::get(ENTITY, show)
            .scope(ProjectScope::ProjectInPath)
            .summary("One project, with its agents")
            .answers::<ProjectDetail>(200),
        Endpoint::with_body(Method::PATCH, ENTITY, update)
            .scope(ProjectScope::ProjectInPath)
            .access(Access::Operator)
            .summary("Change some of a project's fields")
            .answers::<ProjectView>(200),
        Endpoint::with_body(Method::PUT, ENTITY, replace)
            .scope(ProjectScope::ProjectInPath)
            .access(Access::Operator)
            .summary("Change all of a project's fields; what is not given gets its default")
            .answers::<ProjectView>(200),
        Endpoint::delete(ENTITY, remove)
            .scope(ProjectScope::ProjectInPath)
            .access(Access::Operator)
            .query(CASCADE)
            .summary("Delete a project; with cascade also its beads and agents")
            .answers_without_json(204),
        Endpoint::get("/api/v1/projects/{id}/state", state)
            .scope(ProjectScope::ProjectInPath)
            .summary("How a project's work stands")
            .answers::<StateView>(200),
        Endpoint::post("/api/v1/projects/{id}/close", close)
            .scope(ProjectScope::ProjectInPath)
            .access(Access::Operator)
            .summary("End a project; while work in it is open, the answer is the decision that will end it")
            .answers::<ProjectView>(200)
            .answers::<DecisionView>(202),
        Endpoint::post("/api/v1/projects/{id}/reopen", reopen)
            .scope(ProjectScope::ProjectInPath)
            .access(Access::Operator)
            .summary("Take a closed project up again")
            .answers::<ProjectView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/projects/{id}/park", park)
            .scope(ProjectScope::ProjectInPath)
            .access(Access::Operator)
            .summary("Hand out no more work of a project; what runs goes on")
            .answers::<ProjectView>(200),
        Endpoint::post("/api/v1/projects/{id}/resume", resume)
            .scope(ProjectScope::ProjectInPath)
            .access(Access::Operator)
            .summary("Hand out work of a project again")
            .answers::<ProjectView>(200),
    ]
}

fn id(request: &ApiRequest) -> ProjectId {
    ProjectId::from_trusted(request.param("id"))
}

async fn row(request: &ApiRequest) -> Result<Project, ApiError> {
    let found = request.handles().store.project(request.param("id").to_owned()).await?;
    found.ok_or_else(|| ApiError::not_found("project", request.param("id")))
}

async fn answer(request: &ApiRequest, project: Project) -> Result<Reply, ApiError> {
    let revision = project.revision;
    let report = request.handles().bead_files.report(&project.id).await?;
    Reply::entity(&ProjectView::new(project, report), revision)
}

async fn list(request: ApiRequest) -> Result<Reply, ApiError> {
    let status = request.query.word("status", Status::parse)?;
    let page = request.handles().store.projects(status, request.within(), request.page()?).await?;
    let mut reports: BTreeMap<_, _> = request.handles().bead_files.reports().await?.into_iter().collect();
    let view = |project: Project| {
        let report = reports.remove(project.id.as_str());
        ProjectView::new(project, report)
    };
    Reply::page::<_, ProjectView>(request.page_link(), page.map(view))
}

async fn create(request: ApiRequest, body: NewProjectBody) -> Result<Reply, ApiError> {
    let new = NewProject {
        id: body.id,
        name: body.name,
        git_repo: body.git_repo,
        branch: body.branch,
        beads_path: body.beads_path,
        bead_prefix: body.bead_prefix,
        max_parallel: body.max_parallel,
        context: body.context.unwrap_or_default(),
        is_perpetual: body.is_perpetual,
        is_sticky: body.is_sticky,
    };
    let project = request.handles().projects.create(&request.caller()?, new).await?;
    let (revision, view) = (project.revision, ProjectView::new(project, None));
    Ok(Reply::created(&view, COLLECTION, &view.id)?.with_revision(revision))
}

async fn show(request: ApiRequest) -> Result<Reply, ApiError> {
    let project = row(&request).await?;
    let (revision, agents) = (project.revision, own_agents(&request, &project).await?);
    let report = request.handles().bead_files.report(&project.id).await?;
    Reply::entity(&ProjectDetail::new(project, report, agents), revision)
}

/// The agents that work for this project alone.
async fn own_agents(request: &ApiRequest, project: &Project) -> Result<Vec<Agent>, ApiError> {
    let own = AgentFilter { project_id: Some(project.id.to_string()), ..AgentFilter::default() };
    Ok(request.handles().store.all_agents(own).await?)
}

async fn update(request: ApiRequest, body: ProjectPatchBody) -> Result<Reply, ApiError> {
    let patch = ProjectPatch {
        name: body.name,
        git_repo: body.git_repo,
        branch: body.branch,
        beads_path: body.beads_path,
        bead_prefix: body.bead_prefix,
        max_parallel: body.max_parallel,
        context: body.context,
        is_perpetual: body.is_perpetual,
        is_sticky: body.is_sticky,
    };
    let project = request.handles().projects.update(&request.caller()?, &id(&request), patch).await?;
    answer(&request, project).await
}

/// A whole project as a patch of all its fields.
async fn replace(request: ApiRequest, body: NewProjectBody) -> Result<Reply, ApiError> {
    if body.id.as_deref().is_some_and(|id| id != request.param("id")) {
        return Err(ApiError::field("id", "cannot be changed"));
    }
    let patch = ProjectPatchBody {
        name: Some(body.name),
        git_repo: Some(body.git_repo),
        branch: Some(body.branch),
        beads_path: Some(body.beads_path),
        bead_prefix: Some(body.bead_prefix),
        max_parallel: Some(body.max_parallel),
        context: Some(body.context.unwrap_or_default()),
        is_perpetual: Some(body.is_perpetual),
        is_sticky: Some(body.is_sticky),
    };
    update(request, patch).await
}

async fn remove(request: ApiRequest) -> Result<Reply, ApiError> {
    request.handles().projects.delete(&request.caller()?, &id(&request), request.cascade()?).await?;
    Ok(Reply::no_content())
}

async fn close(request: ApiRequest) -> Result<Reply, ApiError> {
    match request.handles().projects.close(&request.caller()?, &id(&request)).await? {
        CloseOutcome::Closed(project) => answer(&request, *project).await,
        CloseOutcome::Asked(decision) => {
            let view = DecisionView::from(*decision);
            Ok(Reply::created(&view, "/api/v1/decisions", &view.id)?.with_status(StatusCode::ACCEPTED))
        }
    }
}

async fn park(request: ApiRequest, body: ParkBody) -> Result<Reply, ApiError> {
    let rest = Parking::Yes(body.reason);
    let project = request.handles().projects.park(&request.caller()?, &id(&request), rest).await?;
    answer(&request, project).await
}

async fn resume(request: ApiRequest) -> Result<Reply, ApiError> {
    let project = request.handles().projects.park(&request.caller()?, &id(&request), Parking::No).await?;
    answer(&request, project).await
}

async fn reopen(request: ApiRequest) -> Result<Reply, ApiError> {
    let project = request.handles().projects.reopen(&request.caller()?, &id(&request)).await?;
    answer(&request, project).await
}

async fn state(request: ApiRequest) -> Result<Reply, ApiError> {
    let (project, store) = (row(&request).await?, &request.handles().store);
    let name = project.id.to_string();
    // Only the totals are wanted.
    let one = || PageRequest { limit: 1, cursor: None };
    let ready =
        BeadFilter { project_id: Some(name.clone()), ready_at: Some(request.now()), ..BeadFilter::default() };
    let pending = DecisionFilter {
        project_id: Some(name.clone()),
        status: Some(decision::Status::Pending),
        ..DecisionFilter::default()
    };
    let beads = store.bead_counts(name.clone()).await?.into_iter().collect();
    let agents = own_agents(&request, &project).await?;
    let ready = store.beads(ready, one()).await?.total;
    let pending = store.decisions(pending, one()).await?.total;
    Reply::json(&StateView::new(project, beads, agents, ready, pending))
}
