//! Work that is fetched: an external agent asks for the next bead, and waits for one.

use crate::http::bead::actions::{ClaimView, claimed, claiming_agent};
use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::{MAX_WAIT_SEC, PullRequest};
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::kernel::lease::{MAX_TTL_SEC, MIN_TTL_SEC};
use arbiter_core::kernel::limits::{self, MAX_TAGS};
use arbiter_core::kernel::problem_code::ProblemCode;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;
use warp::http::Method;

/// Request for the next bead.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct PullBody {
    /// The agent, of kind `external`; an agent's own token may leave it out.
    agent_id: Option<String>,
    /// Only a bead of this project.
    project_id: Option<String>,
    /// Only a bead with all of these tags.
    tags: Vec<String>,
    /// Longest wait for a bead, 0 (the default) to 60 seconds.
    wait_sec: u64,
    /// Duration of the lease without a heartbeat, 10 to 3600 seconds.
    ttl_sec: Option<u64>,
}

/// Asking for the next bead.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::with_optional_body(Method::POST, "/api/v1/beads/claim", next)
            .scope(ProjectScope::CheckedByHandler)
            .access(Access::Agent)
            .unlimited()
            .summary("Take the next ready bead for an external agent; 204 when there is none in time")
            .answers::<ClaimView>(200)
            .answers_without_json(204),
    ]
}

async fn next(request: ApiRequest, body: PullBody) -> Result<Reply, ApiError> {
    if body.wait_sec > MAX_WAIT_SEC {
        return Err(ApiError::field("wait_sec", limits::must_be_between(&(0..=MAX_WAIT_SEC))));
    }
    if body.ttl_sec.is_some_and(|ttl| !(MIN_TTL_SEC..=MAX_TTL_SEC).contains(&ttl)) {
        return Err(ApiError::field("ttl_sec", format!("is {MIN_TTL_SEC} to {MAX_TTL_SEC}")));
    }
    if body.tags.len() > MAX_TAGS {
        return Err(ApiError::field("tags", limits::must_have_at_most(MAX_TAGS)));
    }
    let agent_id = claiming_agent(&request, body.agent_id).await?;
    if let Some(project) = &body.project_id {
        request.require_project(Some(project))?;
        if request.handles().store.project(project.clone()).await?.is_none() {
            return Err(ApiError::field("project_id", format!("no project has the id {project}")));
        }
    }
    let wish = PullRequest {
        agent_id,
        project_id: body.project_id.map(ProjectId::from_trusted),
        within: request.within(),
        tags: body.tags,
        ttl_sec: body.ttl_sec,
        wait: Duration::from_secs(body.wait_sec),
    };
    let (pulls, caller) = (&request.handles().pulls, request.caller()?);
    let mut closing = request.context.closing();
    // A client that disconnects drops this future and gets no bead.
    let found = tokio::select! {
        found = pulls.next(&caller, wish) => found?,
        () = closing.triggered() => return Err(ApiError::new(ProblemCode::ShuttingDown, "the server is shutting down")),
    };
    match found {
        Some(bead) => claimed(&request, bead).await,
        None => Ok(Reply::no_content()),
    }
}
