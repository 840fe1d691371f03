//! A change of a bead's fields together with its status: both are decided before anything is written, and one
//! unit carries them.

use crate::bead::actor::{BeadActor, add_edges, plan};
use crate::bead::release;
use crate::bead::status_change::StatusChange;
use crate::bead::{BeadAction, BeadEdit};
use crate::caller::Caller;
use crate::conflict_retry::{check_revision, retry_on_conflict};
use crate::error::Error;
use crate::runtime::random;
use arbiter_core::bead::edit::BeadPatch;
use arbiter_core::bead::{self, Bead, ClaimContext, Claimant, Status, authorize};
use arbiter_core::kernel::lease;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::token::Role;
use arbiter_store::{BeadDetail, Change, Unit};

/// The change of status that follows the change of fields.
enum StatusStep {
    Claim(Claimant),
    Act(BeadAction),
}

impl StatusStep {
    /// Takes the new assignee out of a patch when the step ends the present assignment: it is assigned after the
    /// step then.
    fn take_assignee(&self, patch: &mut BeadPatch) -> Option<Option<String>> {
        match self {
            Self::Act(
                BeadAction::Unblock
                | BeadAction::Reopen
                | BeadAction::Release { .. }
                | BeadAction::Redispatch { .. },
            ) => patch.assigned_to.take(),
            Self::Claim(_) | Self::Act(_) => None,
        }
    }
}

/// Adds the assignment of a bead to an agent or person, or to none, to a unit.
fn assign(
    unit: &mut Unit,
    bead: &Bead,
    assigned_to: Option<String>,
    claim_context: &ClaimContext,
) -> Result<Bead, Error> {
    let patch = BeadPatch { assigned_to: Some(assigned_to), ..BeadPatch::default() };
    let command = bead::Command::Update(Box::new(patch.apply(bead)?));
    let happenings = bead.decide(&command, claim_context, unit.at)?;
    Ok(unit.apply(bead, &happenings, Change::Bead))
}

impl BeadActor {
    pub(crate) async fn edit(&self, caller: &Caller, edit: &BeadEdit) -> Result<BeadDetail, Error> {
        let shared = &self.context.shared;
        let shown = edit.lease_token.as_deref();
        let token = random::secret_text();
        let claimed = retry_on_conflict(async || {
            let (bead, mut claim_context, lease) = self.state().await?;
            let mut patch = edit.patch.clone();
            let step = self.status_step(caller, edit, &bead, &mut patch).await?;
            check_revision(caller, &bead)?;
            let assignee = step.as_ref().and_then(|step| step.take_assignee(&mut patch));
            let changes_fields = step.is_none() || patch != BeadPatch::default();
            if changes_fields || !matches!(step, Some(StatusStep::Claim(_))) {
                lease::check_token(lease.as_ref(), shown, &bead.id)?;
            }
            let mut unit = self.unit(caller);
            let mut after = bead.clone();
            if changes_fields {
                if let Some(tags) = &patch.tags {
                    authorize::retag(&caller.authority, &bead, tags)?;
                }
                let command = bead::Command::Update(Box::new(patch.apply(&bead)?));
                let happenings = bead.decide(&command, &claim_context, unit.at)?;
                after = unit.apply(&bead, &happenings, Change::Bead);
                let present = shared.store.edges_of(bead.id.to_string()).await?;
                let (add, remove) = patch.edges(&bead.id, &present);
                add_edges(&mut unit, &bead, &add, &remove);
                if !add.is_empty() || !remove.is_empty() {
                    claim_context = shared.store.claim_context_after(bead.id.clone(), add, remove).await?;
                }
            }
            let mut claimed = None;
            match &step {
                None => {}
                Some(StatusStep::Claim(claimant)) => {
                    let command = bead::Command::Claim(claimant.clone());
                    let happenings = after.decide(&command, &claim_context, unit.at)?;
                    after = unit.apply(&after, &happenings, Change::Bead);
                    let ttl_sec = shared.settings.lease_ttl.as_secs();
                    claimed = Some(self.take(caller, &mut unit, &after, claimant, ttl_sec, &token).await?);
                }
                Some(StatusStep::Act(action)) => {
                    let (command, release_reason) = plan(action);
                    let happenings = after.decide(&command, &claim_context, unit.at)?;
                    after = unit.apply(&after, &happenings, Change::Bead);
                    if let Some(assigned_to) = assignee {
                        after = assign(&mut unit, &after, assigned_to, &claim_context)?;
                    }
                    if bead.status == Status::InProgress && after.status != Status::InProgress {
                        release::end(&shared.store, &mut unit, &bead, lease.as_ref(), &release_reason, None)
                            .await?;
                    }
                }
            }
            self.commit(unit).await?;
            if bead.status == Status::InProgress && after.status != Status::InProgress {
                self.release_hold(lease.as_ref());
            }
            Ok(claimed)
        })
        .await?;
        if let Some((lease, kind)) = claimed {
            self.begin_hold(lease.as_ref(), kind, &token);
        }
        self.detail().await
    }

    async fn status_step(
        &self,
        caller: &Caller,
        edit: &BeadEdit,
        bead: &Bead,
        patch: &mut BeadPatch,
    ) -> Result<Option<StatusStep>, Error> {
        let shown = edit.lease_token.as_deref();
        let Some(wanted) = edit.status else {
            authorize::write(&caller.authority, bead, shown)?;
            return Ok(None);
        };
        authorize::act(&caller.authority, bead, shown)?;
        let reason = edit.reason.clone().unwrap_or_else(|| format!("set by {}", caller.name));
        Ok(Some(match StatusChange::to(bead, wanted, reason)? {
            // The claim itself assigns the bead to the agent or person that the patch names.
            StatusChange::Claim => {
                let named = patch.assigned_to.take();
                // An assignment to another one ends before the claim, or the claim would be refused.
                patch.assigned_to =
                    named.clone().filter(|named| named.is_none() && bead.assigned_to.is_some());
                StatusStep::Claim(self.claimant(caller, bead, named).await?)
            }
            StatusChange::Act(action) => StatusStep::Act(action),
        }))
    }

    /// The claimant of a bead that is set to `in_progress`: the named or the already assigned agent, else the
    /// caller in person. Named as `null`, it is the caller.
    async fn claimant(
        &self,
        caller: &Caller,
        bead: &Bead,
        named: Option<Option<String>>,
    ) -> Result<Claimant, Error> {
        let authority = &caller.authority;
        if authority.role == Role::Agent {
            let detail = "an agent takes a bead with POST /beads/{id}/claim";
            return Err(Refusal::Forbidden(detail.to_owned()).into());
        }
        let Some(name) = named.unwrap_or_else(|| bead.assigned_to.clone()) else {
            return Ok(Claimant::Person(authority.name.clone()));
        };
        if let Some(agent) = self.known_agent(caller, &name).await? {
            return Ok(Claimant::Agent(agent.id));
        }
        if name == authority.name || authority.role == Role::Admin {
            return Ok(Claimant::Person(name));
        }
        Err(Refusal::field("assigned_to", format!("no agent has the id {name}")).into())
    }
}
