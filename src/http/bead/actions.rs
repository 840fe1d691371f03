//! Actions on a bead: claim, work under the lease, end, and edit dependencies.

use crate::http::bead::dto::BeadView;
use crate::http::bead::handlers::{answer, check_agent_may_write, id, view};
use crate::http::framework::project_scope::{EntityKind, ProjectScope};
use crate::http::framework::required_role::Access;
use crate::http::wire::schema::{time, word};
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::{BeadAction, ClaimedBead, LeaseGrant};
use arbiter_core::bead::edit::Edge;
use arbiter_core::bead::readiness::Gate;
use arbiter_core::bead::{Claimant, authorize};
use arbiter_core::kernel::ids::{AgentId, BeadId};
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::token::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::Method;

/// The type of a dependency that names none.
const DEFAULT_EDGE: &str = "blocks";

/// Agent that claims a bead.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct ClaimBody {
    /// The agent; an agent's own token may leave it out.
    agent_id: Option<String>,
    /// Duration of the lease without a heartbeat, 10 to 3600 seconds.
    ttl_sec: Option<u64>,
}

/// A claimed bead.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ClaimView {
    /// The bead.
    bead: BeadView,
    /// The lease.
    lease: Option<LeaseView>,
}

/// The proof of a claim.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LeaseView {
    /// The token that later writes carry.
    token: String,
    /// Time at which the claim expires unless it is renewed.
    #[schemars(schema_with = "time")]
    expires_at: Timestamp,
}

impl From<LeaseGrant> for LeaseView {
    fn from(lease: LeaseGrant) -> Self {
        Self { token: lease.token, expires_at: lease.expires_at }
    }
}

/// The proof of a claim.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HeartbeatBody {
    /// The token of the lease.
    lease_token: String,
}

/// Body with an optional reason.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct MaybeReasonBody {
    /// Reason.
    reason: Option<String>,
    /// The token of the lease under which its holder writes.
    lease_token: Option<String>,
}

/// Body with a reason.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BecauseBody {
    /// Reason.
    reason: String,
    /// The token of the lease under which its holder writes.
    #[serde(default)]
    lease_token: Option<String>,
}

/// Result of a bead.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CompleteBody {
    /// Summary of the result.
    summary: String,
    /// The token of the lease under which its holder writes.
    #[serde(default)]
    lease_token: Option<String>,
}

/// Dependency of a bead.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DependencyBody {
    /// The bead it depends on.
    depends_on: String,
    /// Kind of dependency; `blocks` by default.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// Of `waits-for`: `all-children` (the default) or `any-children`.
    #[serde(default)]
    #[schemars(schema_with = "word::<Gate>")]
    gate: Option<Gate>,
    /// The token of the lease under which its holder writes.
    #[serde(default)]
    lease_token: Option<String>,
}

/// Everything that can be done with a bead.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::with_optional_body(Method::POST, "/api/v1/beads/{id}/claim", claim)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Agent)
            .summary("Take a bead for an agent, under a lease")
            .answers::<ClaimView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/beads/{id}/heartbeat", heartbeat)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Agent)
            .summary("Renew the lease of a claimed bead")
            .answers::<LeaseView>(200),
        Endpoint::with_optional_body(Method::POST, "/api/v1/beads/{id}/release", release)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Agent)
            .summary("Give a bead back")
            .answers::<BeadView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/beads/{id}/complete", complete)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Agent)
            .summary("End a bead with a result")
            .answers::<BeadView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/beads/{id}/close", close)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Agent)
            .summary("End a bead without its work being done")
            .answers::<BeadView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/beads/{id}/block", block)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Agent)
            .summary("Say that a bead cannot go on")
            .answers::<BeadView>(200),
        Endpoint::post("/api/v1/beads/{id}/unblock", unblock)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Operator)
            .summary("Say that a bead can go on again")
            .answers::<BeadView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/beads/{id}/escalate", escalate)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Agent)
            .summary("Ask a person what is to become of a bead; it waits for the answer")
            .answers::<BeadView>(200),
        Endpoint::post("/api/v1/beads/{id}/reopen", reopen)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Operator)
            .summary("Want a closed bead again")
            .answers::<BeadView>(200),
        Endpoint::with_optional_body(Method::POST, "/api/v1/beads/{id}/redispatch", redispatch)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Operator)
            .summary("Reopen a closed bead for any suitable agent")
            .answers::<BeadView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/beads/{id}/dependencies", depend)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Agent)
            .summary("Make a bead depend on another")
            .answers::<BeadView>(200),
        Endpoint::delete("/api/v1/beads/{id}/dependencies/{depends_on}", separate)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .access(Access::Operator)
            .summary("Make a bead no longer depend on another")
            .answers_without_json(204),
    ]
}

async fn act(
    request: ApiRequest,
    action: BeadAction,
    lease_token: Option<String>,
) -> Result<Reply, ApiError> {
    let authority = request.identity.authority();
    if authority.role == Role::Agent {
        authorize::act(&authority, request.bead().await?, lease_token.as_deref())?;
    }
    let bead = request.handles().beads.act(&request.caller()?, &id(&request), action, lease_token).await?;
    answer(&request, bead).await
}

/// An agent that the token does not reach is as good as none.
pub async fn check_agent(request: &ApiRequest, id: &AgentId) -> Result<(), ApiError> {
    if request.identity.projects().is_none() {
        return Ok(());
    }
    let project = request.handles().store.agent(id.to_string()).await?.map(|agent| agent.project_id);
    match project {
        Some(None) => Err(ApiError::forbidden(format!(
            "the token is limited to projects and does not use agent {id}, which works for all of them"
        ))),
        Some(Some(project)) if request.can_access(project.as_str()) => Ok(()),
        _ => Err(ApiError::field("agent_id", format!("no agent has the id {id}"))),
    }
}

/// The agent that a bead is claimed for: that of an agent's own token, else the one that is named.
///
/// # Errors
/// 403 when an agent names another one, 422 when there is none.
pub async fn claiming_agent(request: &ApiRequest, named: Option<String>) -> Result<AgentId, ApiError> {
    let own =
        request.identity.agent_id().filter(|_| request.identity.role() == Role::Agent).map(str::to_owned);
    let agent = match (own, named) {
        (Some(own), Some(named)) if own != named => {
            return Err(ApiError::forbidden(format!("the token is agent {own}'s and claims for no other")));
        }
        (Some(agent), _) | (None, Some(agent)) => AgentId::from_trusted(agent),
        (None, None) => return Err(ApiError::field("agent_id", "must be given")),
    };
    check_agent(request, &agent).await?;
    Ok(agent)
}

async fn claim(request: ApiRequest, body: ClaimBody) -> Result<Reply, ApiError> {
    let claimant = Claimant::Agent(claiming_agent(&request, body.agent_id).await?);
    let bead =
        request.handles().beads.claim(&request.caller()?, &id(&request), claimant, body.ttl_sec).await?;
    claimed(&request, bead).await
}

/// The answer that shows a claimed bead with its lease.
///
/// # Errors
/// As every read of the store.
pub async fn claimed(request: &ApiRequest, claimed: ClaimedBead) -> Result<Reply, ApiError> {
    let bead = view(request, claimed.bead).await?;
    let revision = bead.revision;
    Reply::entity(&ClaimView { bead, lease: claimed.lease.map(LeaseView::from) }, revision)
}

async fn heartbeat(request: ApiRequest, body: HeartbeatBody) -> Result<Reply, ApiError> {
    check_agent_may_write(&request, Some(&body.lease_token)).await?;
    let lease = request.handles().beads.heartbeat(&id(&request), body.lease_token).await?;
    Reply::json(&LeaseView::from(lease))
}

async fn release(request: ApiRequest, body: MaybeReasonBody) -> Result<Reply, ApiError> {
    let reason = body.reason.unwrap_or_else(|| format!("released by {}", request.identity.name()));
    act(request, BeadAction::Release { reason }, body.lease_token).await
}

async fn complete(request: ApiRequest, body: CompleteBody) -> Result<Reply, ApiError> {
    act(request, BeadAction::Complete { summary: body.summary }, body.lease_token).await
}

async fn close(request: ApiRequest, body: BecauseBody) -> Result<Reply, ApiError> {
    act(request, BeadAction::Close { reason: body.reason }, body.lease_token).await
}

async fn block(request: ApiRequest, body: BecauseBody) -> Result<Reply, ApiError> {
    act(request, BeadAction::Block { reason: body.reason }, body.lease_token).await
}

async fn unblock(request: ApiRequest) -> Result<Reply, ApiError> {
    act(request, BeadAction::Unblock, None).await
}

async fn escalate(request: ApiRequest, body: BecauseBody) -> Result<Reply, ApiError> {
    act(request, BeadAction::Escalate { reason: body.reason }, body.lease_token).await
}

async fn reopen(request: ApiRequest) -> Result<Reply, ApiError> {
    act(request, BeadAction::Reopen, None).await
}

async fn redispatch(request: ApiRequest, body: MaybeReasonBody) -> Result<Reply, ApiError> {
    act(request, BeadAction::Redispatch { reason: body.reason }, body.lease_token).await
}

async fn depend(request: ApiRequest, body: DependencyBody) -> Result<Reply, ApiError> {
    let lease_token = body.lease_token;
    check_agent_may_write(&request, lease_token.as_deref()).await?;
    let kind = body.kind.unwrap_or_else(|| DEFAULT_EDGE.to_owned());
    if body.gate.is_some() && kind != "waits-for" {
        return Err(ApiError::field("gate", "must only be given for the type waits-for"));
    }
    let target = BeadId::from_trusted(body.depends_on);
    request.require_beads([&target]).await?;
    let edge = Edge { gate: body.gate, ..Edge::new(id(&request), target, kind) };
    let (beads, caller) = (&request.handles().beads, request.caller()?);
    let bead = beads.add_dependency(&caller, &id(&request), edge, lease_token).await?;
    answer(&request, bead).await
}

async fn separate(request: ApiRequest) -> Result<Reply, ApiError> {
    let target = BeadId::from_trusted(request.param("depends_on"));
    request.handles().beads.remove_dependency(&request.caller()?, &id(&request), &target).await?;
    Ok(Reply::no_content())
}
