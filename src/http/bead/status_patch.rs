//! A status in `PATCH /beads/{id}`: runs the one trigger that leads there, with that trigger's rules.

use crate::http::bead::dto::BeadPatchBody;
use crate::http::bead::handlers::{answer, id, row};
use crate::http::{ApiError, Call, Reply};
use arbiter_actors::{BeadAction, BeadWay};
use arbiter_core::bead::edit::BeadPatch;
use arbiter_core::bead::{Bead, Claimant};
use arbiter_core::kernel::token::Role;

/// What is done after the fields.
enum Last {
    Claim(Claimant),
    Act(BeadAction),
}

/// Changes the fields that the body names, then the status.
///
/// # Errors
/// 409 when the bead has that status already or the trigger is refused; then no field has changed unless
/// something happened between the two steps.
pub async fn change(call: Call, mut body: BeadPatchBody) -> Result<Reply, ApiError> {
    let bead = row(&call).await?;
    let Some(wanted) = body.status else { return Err(ApiError::field("status", "is required")) };
    let mut caller = call.caller()?;
    let (lease_token, reason) = (body.lease_token.take(), body.reason.take());
    let reason = reason.unwrap_or_else(|| format!("set by {}", caller.name));
    let last = match BeadWay::to(&bead, wanted, reason)? {
        // Who is named takes it, so the name is not a change of its own.
        BeadWay::Claim => Last::Claim(claimant(&call, &bead, body.assigned_to.take()).await?),
        BeadWay::Act(action) => Last::Act(action),
    };
    let patch = BeadPatch::from(body);
    let beads = &call.handles().beads;
    if patch != BeadPatch::default() {
        patch.apply(&bead)?;
        beads.update(&caller, &id(&call), patch, lease_token.clone()).await?;
        caller.if_match = None;
    }
    let bead = match last {
        Last::Claim(claimant) => beads.claim(&caller, &id(&call), claimant, None).await?.bead,
        Last::Act(action) => beads.act(&caller, &id(&call), action, lease_token).await?,
    };
    answer(&call, bead)
}

/// Who takes a bead that is set to `in_progress`: the named or the already assigned agent, else the person
/// who says it.
async fn claimant(call: &Call, bead: &Bead, named: Option<Option<String>>) -> Result<Claimant, ApiError> {
    if call.identity.role() == Role::Agent {
        return Err(ApiError::forbidden("an agent takes a bead with POST /beads/{id}/claim"));
    }
    let own = call.identity.name();
    let Some(name) = named.flatten().or_else(|| bead.assigned_to.clone()) else {
        return Ok(Claimant::Person(own.to_owned()));
    };
    if let Some(agent) = call.handles().store.agent(name.clone()).await? {
        return Ok(Claimant::Agent(agent.id));
    }
    if name == own || call.identity.role() == Role::Admin {
        return Ok(Claimant::Person(name));
    }
    Err(ApiError::field("assigned_to", format!("no agent has the id {name}")))
}
