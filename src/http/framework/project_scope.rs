//! How far a token that is limited to projects reaches. One check before every handler for what a path
//! names; lists and bodies are checked by their handlers, which know what is in them.

use crate::http::framework::request::ApiRequest;
use crate::http::wire::problem::ApiError;
use arbiter_core::kernel::ids::BeadId;
use warp::http::Method;

/// What names its project in the body or a header; the handlers check it.
const PROJECT_NAMED_IN_REQUEST: &[&str] = &[
    "/api/v1/beads",
    "/api/v1/beads/claim",
    "/api/v1/decisions",
    "/api/v1/agents",
    "/api/v1/file-locks",
    "/api/v1/file-locks/renew",
    "/api/v1/file-locks/{project_id}/{*path}",
    "/api/v1/events",
    "/api/v1/work",
    "/v1/chat/completions",
];
/// Changes that touch nothing of the company.
const UNSCOPED_ROUTES: &[&str] = &["/api/v1/session", "/api/v1/repl"];

/// Refuses what a path names and the token does not reach, as if it were not there.
///
/// # Errors
/// 404 for an entity of another project, 403 for a change of what belongs to no project.
pub async fn check(call: &ApiRequest, method: &Method, path: &str) -> Result<(), ApiError> {
    if call.identity.projects().is_none() {
        return Ok(());
    }
    let (store, id) = (&call.handles().store, call.param("id").to_owned());
    let below = |collection: &str| path.starts_with(&format!("/api/v1/{collection}/{{id}}"));
    let (entity, project) = if below("beads") {
        ("bead", store.bead(id.clone()).await?.map(|bead| bead.project_id.to_string()))
    } else if below("decisions") {
        ("decision", store.decision(id.clone()).await?.map(|decision| decision.project_id.to_string()))
    } else if below("runs") {
        ("run", store.run(id.clone()).await?.and_then(|run| run.project_id).map(|id| id.to_string()))
    } else if below("projects") || below("org-charts") {
        ("project", Some(id.clone()))
    } else if below("agents") {
        let agent = store.agent(id.clone()).await?.ok_or_else(|| ApiError::not_found("agent", &id))?;
        match agent.project_id {
            Some(project) => ("agent", Some(project.to_string())),
            // It works for every project, so whoever is limited to some may see it.
            None if *method == Method::GET => return Ok(()),
            None => return Err(out_of_scope("an agent that works for every project")),
        }
    } else if *method == Method::GET
        || PROJECT_NAMED_IN_REQUEST.contains(&path)
        || UNSCOPED_ROUTES.contains(&path)
    {
        return Ok(());
    } else {
        return Err(out_of_scope("what belongs to no project"));
    };
    match project {
        Some(project) if call.can_access(&project) => Ok(()),
        _ => Err(ApiError::not_found(entity, &id)),
    }
}

fn out_of_scope(what: &str) -> ApiError {
    ApiError::forbidden(format!("the token is limited to projects and does not change {what}"))
}

impl ApiRequest {
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
        match (self.identity.projects(), project) {
            (None, _) => Ok(()),
            (Some(_), Some(project)) if self.can_access(project) => Ok(()),
            (Some(_), Some(project)) => {
                Err(ApiError::forbidden(format!("the token is not for project {project}")))
            }
            (Some(_), None) => Err(out_of_scope("what belongs to no project")),
        }
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
