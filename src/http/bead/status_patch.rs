//! A status in `PATCH /beads/{id}`: runs the one trigger that leads there, with that trigger's rules.

use crate::http::bead::dto::BeadPatchBody;
use crate::http::bead::handlers::{answer, id, row};
use crate::http::{ApiError, ApiRequest, Reply};
use arbiter_actors::{BeadAction, StatusChange};
use arbiter_core::bead::edit::BeadPatch;
use arbiter_core::bead::{Bead, Claimant};
use arbiter_core::kernel::token::Role;

/// What is done after the fields.
enum StatusAction {
    Claim(Claimant),
    Act(BeadAction),
}

/// Changes the fields that the body names, then the status.
///
/// # Errors
/// 409 when the bead has that status already or the trigger is refused; then no field has changed unless
/// something happened between the two steps.
pub async fn change(request: ApiRequest, mut body: BeadPatchBody) -> Result<Reply, ApiError> {
    let bead = row(&request).await?;
    let Some(wanted) = body.status else { return Err(ApiError::field("status", "must be given")) };
    let mut caller = request.caller()?;
    let (lease_token, reason) = (body.lease_token.take(), body.reason.take());
    let reason = reason.unwrap_or_else(|| format!("set by {}", caller.name));
    let status_action = match StatusChange::to(&bead, wanted, reason)? {
        // Who is named takes it, so the name is not a change of its own.
        StatusChange::Claim => StatusAction::Claim(claimant(&request, &bead, body.assigned_to.take()).await?),
        StatusChange::Act(action) => StatusAction::Act(action),
    };
    let patch = BeadPatch::from(body);
    let beads = &request.handles().beads;
    if patch != BeadPatch::default() {
        patch.apply(&bead)?;
        beads.update(&caller, &id(&request), patch, lease_token.clone()).await?;
        caller.if_match = None;
    }
    let bead = match status_action {
        StatusAction::Claim(claimant) => beads.claim(&caller, &id(&request), claimant, None).await?.bead,
        StatusAction::Act(action) => beads.act(&caller, &id(&request), action, lease_token).await?,
    };
    answer(&request, bead)
}

/// Who takes a bead that is set to `in_progress`: the named or the already assigned agent, else the person
/// who says it.
async fn claimant(
    request: &ApiRequest,
    bead: &Bead,
    named: Option<Option<String>>,
) -> Result<Claimant, ApiError> {
    if request.identity.role() == Role::Agent {
        return Err(ApiError::forbidden("an agent takes a bead with POST /beads/{id}/claim"));
    }
    let own = request.identity.name();
    let Some(name) = named.flatten().or_else(|| bead.assigned_to.clone()) else {
        return Ok(Claimant::Person(own.to_owned()));
    };
    if let Some(agent) = request.handles().store.agent(name.clone()).await? {
        return Ok(Claimant::Agent(agent.id));
    }
    if name == own || request.identity.role() == Role::Admin {
        return Ok(Claimant::Person(name));
    }
    Err(ApiError::field("assigned_to", format!("no agent has the id {name}")))
}
