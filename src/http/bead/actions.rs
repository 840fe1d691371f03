//! What can be done with a bead: claim it, work under the lease, end it, and say what it depends on.

use crate::http::bead::dto::BeadView;
use crate::http::bead::handlers::{answer, check_claimed, check_own, id};
use crate::http::framework::required_role::Access;
use crate::http::wire::schema::{time, word};
use crate::http::{ApiError, Call, Endpoint, Reply};
use arbiter_actors::{BeadAction, Claimed, LeaseGrant};
use arbiter_core::bead::Claimant;
use arbiter_core::bead::edit::Edge;
use arbiter_core::bead::readiness::Gate;
use arbiter_core::kernel::ids::{AgentId, BeadId};
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::token::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::Method;

/// The type of a dependency that names none.
const DEFAULT_EDGE: &str = "blocks";

/// Who claims a bead.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct ClaimBody {
    /// The agent; an agent's own token may leave it out.
    agent_id: Option<String>,
    /// How long the lease lasts without a heartbeat, 10 to 3600 seconds.
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
    /// When the claim ends unless renewed.
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

/// Why something is done, where that may be left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct MaybeReasonBody {
    /// Why.
    reason: Option<String>,
    /// The token of the lease under which its holder writes.
    lease_token: Option<String>,
}

/// Why something is done.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BecauseBody {
    /// Why.
    reason: String,
    /// The token of the lease under which its holder writes.
    #[serde(default)]
    lease_token: Option<String>,
}

/// What came of a bead.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CompleteBody {
    /// What came of it.
    summary: String,
    /// The token of the lease under which its holder writes.
    #[serde(default)]
    lease_token: Option<String>,
}

/// What a bead depends on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DependencyBody {
    /// The bead it depends on.
    depends_on: String,
    /// How; `blocks` by default.
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
            .access(Access::Agent)
            .summary("Take a bead for an agent, under a lease")
            .answers::<ClaimView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/beads/{id}/heartbeat", heartbeat)
            .access(Access::Agent)
            .summary("Renew the lease of a claimed bead")
            .answers::<LeaseView>(200),
        Endpoint::with_optional_body(Method::POST, "/api/v1/beads/{id}/release", release)
            .access(Access::Agent)
            .summary("Give a bead back")
            .answers::<BeadView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/beads/{id}/complete", complete)
            .access(Access::Agent)
            .summary("End a bead with a result")
            .answers::<BeadView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/beads/{id}/close", close)
            .access(Access::Agent)
            .summary("End a bead without its work being done")
            .answers::<BeadView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/beads/{id}/block", block)
            .access(Access::Agent)
            .summary("Say that a bead cannot go on")
            .answers::<BeadView>(200),
        Endpoint::post("/api/v1/beads/{id}/unblock", unblock)
            .access(Access::Operator)
            .summary("Say that a bead can go on again")
            .answers::<BeadView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/beads/{id}/escalate", escalate)
            .access(Access::Agent)
            .summary("Ask a person what is to become of a bead; it waits for the answer")
            .answers::<BeadView>(200),
        Endpoint::post("/api/v1/beads/{id}/reopen", reopen)
            .access(Access::Operator)
            .summary("Want a closed bead again")
            .answers::<BeadView>(200),
        Endpoint::with_optional_body(Method::POST, "/api/v1/beads/{id}/redispatch", redispatch)
            .access(Access::Operator)
            .summary("Want a closed bead done anew by whoever fits")
            .answers::<BeadView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/beads/{id}/dependencies", depend)
            .access(Access::Agent)
            .summary("Make a bead depend on another")
            .answers::<BeadView>(200),
        Endpoint::delete("/api/v1/beads/{id}/dependencies/{depends_on}", separate)
            .access(Access::Operator)
            .summary("Make a bead no longer depend on another")
            .answers_plainly(204),
    ]
}

async fn act(call: Call, action: BeadAction, lease_token: Option<String>) -> Result<Reply, ApiError> {
    check_own(&call, lease_token.as_deref()).await?;
    check_claimed(&call).await?;
    let bead = call.handles().beads.act(&call.caller()?, &id(&call), action, lease_token).await?;
    answer(&call, bead)
}

/// An agent that the token does not reach is as good as none.
pub async fn check_agent(call: &Call, id: &AgentId) -> Result<(), ApiError> {
    if call.identity.projects().is_none() {
        return Ok(());
    }
    let project = call.handles().store.agent(id.to_string()).await?.map(|agent| agent.project_id);
    match project {
        Some(None) => Err(ApiError::forbidden(format!(
            "the token is limited to projects and does not use agent {id}, which works for all of them"
        ))),
        Some(Some(project)) if call.reaches(project.as_str()) => Ok(()),
        _ => Err(ApiError::field("agent_id", format!("no agent has the id {id}"))),
    }
}

/// The agent that a bead is claimed for: that of an agent's own token, else the one that is named.
///
/// # Errors
/// 403 when an agent names another one, 422 when there is none.
pub async fn claiming_agent(call: &Call, named: Option<String>) -> Result<AgentId, ApiError> {
    let own = call.identity.agent_id().filter(|_| call.identity.role() == Role::Agent).map(str::to_owned);
    let agent = match (own, named) {
        (Some(own), Some(named)) if own != named => {
            return Err(ApiError::forbidden(format!("the token is agent {own}'s and claims for no other")));
        }
        (Some(agent), _) | (None, Some(agent)) => AgentId::known(agent),
        (None, None) => return Err(ApiError::field("agent_id", "is required")),
    };
    check_agent(call, &agent).await?;
    Ok(agent)
}

async fn claim(call: Call, body: ClaimBody) -> Result<Reply, ApiError> {
    let claimant = Claimant::Agent(claiming_agent(&call, body.agent_id).await?);
    let bead = call.handles().beads.claim(&call.caller()?, &id(&call), claimant, body.ttl_sec).await?;
    claimed(&call, bead)
}

/// The answer that shows a claimed bead with its lease.
pub fn claimed(call: &Call, claimed: Claimed) -> Result<Reply, ApiError> {
    let bead = BeadView::new(claimed.bead, call.now());
    let revision = bead.revision;
    Reply::entity(&ClaimView { bead, lease: claimed.lease.map(LeaseView::from) }, revision)
}

async fn heartbeat(call: Call, body: HeartbeatBody) -> Result<Reply, ApiError> {
    check_own(&call, Some(&body.lease_token)).await?;
    let lease = call.handles().beads.heartbeat(&id(&call), body.lease_token).await?;
    Reply::json(&LeaseView::from(lease))
}

async fn release(call: Call, body: MaybeReasonBody) -> Result<Reply, ApiError> {
    let reason = body.reason.unwrap_or_else(|| format!("released by {}", call.identity.name()));
    act(call, BeadAction::Release { reason }, body.lease_token).await
}

async fn complete(call: Call, body: CompleteBody) -> Result<Reply, ApiError> {
    act(call, BeadAction::Complete { summary: body.summary }, body.lease_token).await
}

async fn close(call: Call, body: BecauseBody) -> Result<Reply, ApiError> {
    act(call, BeadAction::Close { reason: body.reason }, body.lease_token).await
}

async fn block(call: Call, body: BecauseBody) -> Result<Reply, ApiError> {
    act(call, BeadAction::Block { reason: body.reason }, body.lease_token).await
}

async fn unblock(call: Call) -> Result<Reply, ApiError> {
    act(call, BeadAction::Unblock, None).await
}

async fn escalate(call: Call, body: BecauseBody) -> Result<Reply, ApiError> {
    act(call, BeadAction::Escalate { reason: body.reason }, body.lease_token).await
}

async fn reopen(call: Call) -> Result<Reply, ApiError> {
    act(call, BeadAction::Reopen, None).await
}

async fn redispatch(call: Call, body: MaybeReasonBody) -> Result<Reply, ApiError> {
    act(call, BeadAction::Redispatch { reason: body.reason }, body.lease_token).await
}

async fn depend(call: Call, body: DependencyBody) -> Result<Reply, ApiError> {
    check_own(&call, body.lease_token.as_deref()).await?;
    let kind = body.kind.unwrap_or_else(|| DEFAULT_EDGE.to_owned());
    if body.gate.is_some() && kind != "waits-for" {
        return Err(ApiError::field("gate", "is of dependencies of the type waits-for"));
    }
    let target = BeadId::known(body.depends_on);
    call.need_beads([&target]).await?;
    let edge = Edge { gate: body.gate, ..Edge::new(id(&call), target, kind) };
    let bead = call.handles().beads.add_dependency(&call.caller()?, &id(&call), edge).await?;
    answer(&call, bead)
}

async fn separate(call: Call) -> Result<Reply, ApiError> {
    let target = BeadId::known(call.param("depends_on"));
    call.handles().beads.remove_dependency(&call.caller()?, &id(&call), &target).await?;
    Ok(Reply::no_content())
}
