//! Where anybody can ask that a project's work be looked at. The one dispatcher decides: two would need two truths.

use crate::activities::{ControlActivities, control_options};
use crate::codec::names::Kind;
use crate::control_plane::Snapshot;
use crate::workflows::entity_workflow::{
    EntityState, NextStep, impl_entity_workflow, load_entity, next_run, process_signals, root_cause,
    workflow_failure,
};
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
    WorkflowTermination,
};

/// After so many triggers a run continues as a new one.
const DISPATCHES_PER_RUN: u32 = 250;

/// Looks for work when it is triggered: `dispatcher-{projectID}`.
#[workflow]
pub struct DispatcherWorkflow {
    entity: EntityState,
    is_triggered: bool,
    is_dispatching: bool,
    dispatches: u32,
}

impl_entity_workflow!(DispatcherWorkflow, |_state| false);

#[workflow_methods]
impl DispatcherWorkflow {
    /// Takes `{project_id}`.
    #[init]
    fn new(context: &WorkflowContextView, input: RawValue) -> Self {
        let entity = EntityState::new(Kind::Dispatcher, context, &input);
        Self { entity, is_triggered: false, is_dispatching: false, dispatches: 0 }
    }

    /// Ends only when the project is deleted.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        load_entity(ctx).await?;
        loop {
            match process_signals(ctx, |s| s.is_triggered).await? {
                NextStep::Completed => return Ok("deleted".to_owned()),
                NextStep::ContinueAsNew => {
                    // A trigger is not carried on.
                    while ctx.state(|s| s.is_triggered) {
                        dispatch_work(ctx).await?;
                    }
                    return Err(next_run(ctx, ContinueAsNewOptions::default()));
                }
                NextStep::Interrupted => dispatch_work(ctx).await?,
            }
        }
    }

    /// Asks that the project's work be looked at.
    #[signal(name = "trigger")]
    pub fn trigger(&mut self, ctx: &mut SyncWorkflowContext<Self>, _input: RawValue) {
        self.entity.count_signal(ctx);
        self.is_triggered = true;
    }

    /// Brings the server's own word.
    #[signal(name = "mirror")]
    pub fn mirror(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.entity.receive_mirror(ctx, &input);
    }

    /// `idle` or `looking`.
    #[query(name = "getStatus")]
    pub fn get_status(&self, _: &WorkflowContextView) -> String {
        if self.is_dispatching || self.is_triggered { "looking".to_owned() } else { "idle".to_owned() }
    }

    /// The mirrored state with its place in the event log: what a data directory is rebuilt from.
    #[query(name = "getMirror")]
    pub fn get_mirror(&self, _: &WorkflowContextView) -> Snapshot {
        self.entity.snapshot.clone()
    }
}

/// However many triggers came, one look answers all of them.
async fn dispatch_work(ctx: &WorkflowContext<DispatcherWorkflow>) -> Result<(), WorkflowTermination> {
    let id = ctx.state_mut(|s| {
        s.is_triggered = false;
        s.is_dispatching = true;
        s.entity.id().to_owned()
    });
    let dispatched = ctx.execute_activity(ControlActivities::dispatch, id, control_options()).await;
    dispatched.map_err(|error| workflow_failure(&root_cause(&error)))?;
    ctx.state_mut(|s| {
        s.is_dispatching = false;
        s.dispatches += 1;
        if s.dispatches >= DISPATCHES_PER_RUN {
            s.entity.request_continue_as_new();
        }
    });
    Ok(())
}
