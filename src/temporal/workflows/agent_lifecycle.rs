//! The life of an agent, from its creation to its shutdown.

use crate::codec::names::Kind;
use crate::control_plane::Snapshot;
use crate::workflows::entity_workflow::{EntityState, impl_entity_workflow, mirror_until_end};
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult};

/// Mirrors an agent: `agent-{agentID}`.
#[workflow]
pub struct AgentLifecycleWorkflow {
    entity: EntityState,
}

impl_entity_workflow!(AgentLifecycleWorkflow, |s| s.entity.snapshot.status() == Some("shutdown"));

#[workflow_methods]
impl AgentLifecycleWorkflow {
    /// Takes `{agent_id, project_id, persona_name, agent_name}`.
    #[init]
    fn new(context: &WorkflowContextView, input: RawValue) -> Self {
        Self { entity: EntityState::new(Kind::Agent, context, &input) }
    }

    /// Ends with the agent's last status.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        mirror_until_end(ctx).await
    }

    /// Requests a status: a word, or `{status, reason}`.
    #[signal(name = "updateStatus")]
    pub fn update_status(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.entity.receive_command(ctx, "updateStatus", &input);
    }

    /// Assigns a bead to the agent: its id, or `{bead_id}`.
    #[signal(name = "assignBead")]
    pub fn assign_bead(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.entity.receive_command(ctx, "assignBead", &input);
    }

    /// Requests the shutdown: a reason, or nothing.
    #[signal(name = "shutdown")]
    pub fn shutdown(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.entity.receive_command(ctx, "shutdown", &input);
    }

    /// Receives the entity's state from the server.
    #[signal(name = "mirror")]
    pub fn mirror(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.entity.receive_mirror(ctx, &input);
    }

    /// Returns the agent's status.
    #[query(name = "getStatus")]
    pub fn get_status(&self, _: &WorkflowContextView) -> Option<String> {
        self.entity.snapshot.status().map(str::to_owned)
    }

    /// Returns the agent's current bead, or null.
    #[query(name = "getCurrentBead")]
    pub fn get_current_bead(&self, _: &WorkflowContextView) -> Option<String> {
        self.entity.snapshot.text("current_bead").map(str::to_owned)
    }

    /// Returns the mirrored state with its position in the event log; a rebuild reads it.
    #[query(name = "getMirror")]
    pub fn get_mirror(&self, _: &WorkflowContextView) -> Snapshot {
        self.entity.snapshot.clone()
    }
}
