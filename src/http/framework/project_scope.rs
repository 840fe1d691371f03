//! The reach of a token that is limited to projects. One check runs before every handler, by the scope in the
//! endpoint's row, on the entity that the path names; lists and bodies are checked by their handlers.

use crate::http::framework::endpoint::Endpoint;
use crate::http::framework::request::ApiRequest;
use crate::http::wire::problem::ApiError;
use arbiter_core::agent::{self, Agent};
use arbiter_core::bead::{self, Bead};
use arbiter_core::decision::{self, Decision};
use arbiter_core::kernel::ids::{BeadId, RunId};
use arbiter_core::kernel::run::{self, Run};
use arbiter_core::project;
use arbiter_store::BeadDetail;
use tokio::sync::OnceCell;
use warp::http::Method;

/// The entity that the `{id}` of a path names, where the project is a field of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityKind {
    Agent,
    Bead,
    Decision,
    Run,
}

/// The place where an endpoint's requests name their project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectScope {
    /// No project is known: a token that is limited to projects is refused. The default for a new endpoint.
    Closed,
    /// The row of the entity in the path.
    Entity(EntityKind),
    /// The `{id}` of the path is the project's.
    ProjectInPath,
    /// The query, the body or the rows of a list, which the handler checks.
    CheckedByHandler,
    /// The answer is the same for every project and holds no data of any.
    Unscoped,
}

/// The rows that a request's path names, each read at most once.
#[derive(Debug, Default)]
pub struct PathRows {
    agent: OnceCell<Agent>,
    bead: OnceCell<Bead>,
    decision: OnceCell<Decision>,
    run: OnceCell<Run>,
}

/// Refuses what a path names and the token does not reach, as if it were not there.
///
/// # Errors
/// 404 for an entity of another project, 403 for an endpoint that belongs to no project.
pub async fn check(call: &ApiRequest, endpoint: &Endpoint) -> Result<(), ApiError> {
    if call.identity.projects().is_none() {
        return Ok(());
    }
    let authority = call.identity.authority();
    let reads = endpoint.method == Method::GET;
    match endpoint.scope {
        ProjectScope::Closed => Err(closed(endpoint)),
        ProjectScope::CheckedByHandler | ProjectScope::Unscoped => Ok(()),
        ProjectScope::ProjectInPath => Ok(project::authorize::access(&authority, call.param("id"))?),
        ProjectScope::Entity(EntityKind::Bead) => {
            Ok(bead::authorize::access(&authority, call.bead().await?)?)
        }
        ProjectScope::Entity(EntityKind::Decision) => {
            Ok(decision::authorize::access(&authority, call.decision().await?)?)
        }
        ProjectScope::Entity(EntityKind::Agent) if reads => {
            Ok(agent::authorize::read(&authority, call.agent().await?)?)
        }
        ProjectScope::Entity(EntityKind::Agent) => {
            Ok(agent::authorize::change(&authority, call.agent().await?)?)
        }
        ProjectScope::Entity(EntityKind::Run) => Ok(run::authorize::access(&authority, call.run().await?)?),
    }
}

/// The refusal of an endpoint whose row names no scope.
fn closed(endpoint: &Endpoint) -> ApiError {
    let verb = if endpoint.method == Method::GET { "read" } else { "change" };
    ApiError::forbidden(format!(
        "the token is limited to projects and does not {verb} what belongs to no project"
    ))
}

impl ApiRequest {
    /// Returns the agent that the path names.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn agent(&self) -> Result<&Agent, ApiError> {
        let id = self.param("id");
        let read = async || {
            let found = self.handles().store.agent(id.to_owned()).await?;
            found.ok_or_else(|| ApiError::not_found("agent", id))
        };
        self.rows.agent.get_or_try_init(read).await
    }

    /// Returns the bead that the path names.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn bead(&self) -> Result<&Bead, ApiError> {
        let id = self.param("id");
        let read = async || {
            let found = self.handles().store.bead(id.to_owned()).await?;
            found.ok_or_else(|| ApiError::not_found("bead", id))
        };
        self.rows.bead.get_or_try_init(read).await
    }

    /// Returns the decision that the path names.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn decision(&self) -> Result<&Decision, ApiError> {
        let id = self.param("id");
        let read = async || {
            let found = self.handles().store.decision(id.to_owned()).await?;
            found.ok_or_else(|| ApiError::not_found("decision", id))
        };
        self.rows.decision.get_or_try_init(read).await
    }

    /// Returns the run that the path names.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn run(&self) -> Result<&Run, ApiError> {
        let id = self.param("id");
        let read = async || {
            let found = self.handles().gateway.run(&RunId::from_trusted(id)).await?;
            found.ok_or_else(|| ApiError::not_found("run", id))
        };
        self.rows.run.get_or_try_init(read).await
    }

    /// Returns whether the token reaches what belongs to this project.
    pub fn can_access(&self, project: &str) -> bool {
        self.identity.token().is_none_or(|token| token.can_access(project))
    }

    /// The projects whose rows a list may show; none: all of them.
    pub fn within(&self) -> Option<Vec<String>> {
        self.identity.projects().map(<[String]>::to_vec)
    }

    /// Refuses to put something into a project that the token does not reach, or into none.
    ///
    /// # Errors
    /// 403.
    pub fn require_project(&self, project: Option<&str>) -> Result<(), ApiError> {
        Ok(self.identity.authority().require_project(project)?)
    }

    /// Removes the beads that the token does not reach from two lists of a bead: `blocks` and `children`.
    ///
    /// # Errors
    /// As every read of the store.
    pub async fn hide_foreign_links(&self, details: &mut [BeadDetail]) -> Result<(), ApiError> {
        let Some(projects) = self.within() else { return Ok(()) };
        let linked = |detail: &BeadDetail| {
            let links = detail.links.blocks.iter().chain(&detail.links.children);
            links.map(BeadId::to_string).collect::<Vec<_>>()
        };
        let ids: Vec<String> = details.iter().flat_map(linked).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let reached = self.handles().store.beads_within(ids, projects).await?;
        for detail in details {
            detail.links.blocks.retain(|id| reached.contains(id.as_str()));
            detail.links.children.retain(|id| reached.contains(id.as_str()));
        }
        Ok(())
    }

    /// Refuses beads that the token does not reach, as if they were not there.
    ///
    /// # Errors
    /// 404.
    pub async fn require_beads<'a>(&self, ids: impl IntoIterator<Item = &'a BeadId>) -> Result<(), ApiError> {
        if self.identity.projects().is_none() {
            return Ok(());
        }
        for id in ids {
            let bead = self.handles().store.bead(id.to_string()).await?;
            if !bead.is_some_and(|bead| self.can_access(bead.project_id.as_str())) {
                return Err(ApiError::not_found("bead", id.as_str()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::reply::Reply;

    #[test]
    fn new_endpoint_is_closed_to_limited_tokens() {
        let handler = |_: ApiRequest| async { Ok(Reply::no_content()) };
        for endpoint in
            [Endpoint::get("/api/v1/widgets/{id}", handler), Endpoint::post("/api/v1/widgets", handler)]
        {
            assert_eq!(endpoint.scope, ProjectScope::Closed, "{}", endpoint.method);
            assert_eq!(closed(&endpoint).status().as_u16(), 403, "{}", endpoint.method);
        }
    }
}
