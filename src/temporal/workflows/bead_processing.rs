//! The life of a bead, from its creation to its closing.

use super::Refusal;
use crate::codec::names::Kind;
use crate::codec::payload;
use crate::control_plane::Snapshot;
use crate::workflows::entity_workflow::{EntityState, impl_entity_workflow, mirror_until_end, send_command};
use serde_json::{Value, json};
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult};

/// Mirrors a bead: `bead-{beadID}`.
#[workflow]
pub struct BeadProcessingWorkflow {
    entity: EntityState,
}

impl_entity_workflow!(BeadProcessingWorkflow, |s| s.entity.snapshot.status() == Some("closed"));

#[workflow_methods]
impl BeadProcessingWorkflow {
    /// Takes `{bead_id, project_id, title, description, priority, bead_type}`.
    #[init]
    fn new(context: &WorkflowContextView, input: RawValue) -> Self {
        Self { entity: EntityState::new(Kind::Bead, context, &input) }
    }

    /// Ends with the bead's last status.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        mirror_until_end(ctx).await
    }

    /// Requests a status: a word, or `{status, reason}`.
    #[signal(name = "statusChange")]
    pub fn status_change(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.entity.receive_command(ctx, "statusChange", &input);
    }

    /// Receives the entity's state from the server.
    #[signal(name = "mirror")]
    pub fn mirror(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.entity.receive_mirror(ctx, &input);
    }

    #[update_validator(assign_to_agent)]
    fn validate_agent(&self, _: &WorkflowContextView, input: &RawValue) -> Result<(), Refusal> {
        payload::text(&payload::value(input)?, "agent_id")?;
        Ok(())
    }

    /// Assigns the bead to an agent: its id, or `{agent_id}`.
    #[update(name = "assignToAgent")]
    pub async fn assign_to_agent(ctx: &mut WorkflowContext<Self>, input: RawValue) -> Result<Value, Refusal> {
        Ok(view(&send_command(ctx, "assignToAgent", payload::value(&input)?).await?))
    }

    #[update_validator(update_status)]
    fn validate_status(&self, _: &WorkflowContextView, input: &RawValue) -> Result<(), Refusal> {
        let status = payload::text(&payload::value(input)?, "status")?;
        arbiter_core::bead::Status::parse(&status)
            .ok_or_else(|| format!("no status of a bead is called {status:?}"))?;
        Ok(())
    }

    /// Changes the status: a word, or `{status, reason}`.
    #[update(name = "updateStatus")]
    pub async fn update_status(ctx: &mut WorkflowContext<Self>, input: RawValue) -> Result<Value, Refusal> {
        Ok(view(&send_command(ctx, "updateStatus", payload::value(&input)?).await?))
    }

    #[update_validator(complete)]
    fn validate_summary(&self, _: &WorkflowContextView, input: &RawValue) -> Result<(), Refusal> {
        payload::text(&payload::value(input)?, "summary")?;
        Ok(())
    }

    /// Completes the bead: a summary, or `{summary}`.
    #[update(name = "complete")]
    pub async fn complete(ctx: &mut WorkflowContext<Self>, input: RawValue) -> Result<Value, Refusal> {
        Ok(view(&send_command(ctx, "complete", payload::value(&input)?).await?))
    }

    /// Returns the bead's status.
    #[query(name = "getStatus")]
    pub fn get_status(&self, _: &WorkflowContextView) -> Option<String> {
        self.entity.snapshot.status().map(str::to_owned)
    }

    /// Returns the assigned agent, or null.
    #[query(name = "getAssignedAgent")]
    pub fn get_assigned_agent(&self, _: &WorkflowContextView) -> Option<String> {
        self.entity.snapshot.text("assigned_to").map(str::to_owned)
    }

    /// Returns the mirrored state with its position in the event log; a rebuild reads it.
    #[query(name = "getMirror")]
    pub fn get_mirror(&self, _: &WorkflowContextView) -> Snapshot {
        self.entity.snapshot.clone()
    }
}

/// Builds the answer to an update.
fn view(after: &Snapshot) -> Value {
    json!({"status": after.status(), "assigned_to": after.text("assigned_to"), "seq": after.seq})
}
