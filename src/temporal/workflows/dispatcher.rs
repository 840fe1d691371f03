//! Triggers the dispatch of a project's work. The single dispatcher of the server decides.

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

/// The number of dispatches after which a run continues as a new one.
const DISPATCHES_PER_RUN: u32 = 250;

/// Requests a dispatch for each trigger: `dispatcher-{projectID}`.
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
                    // A pending trigger is not part of the next run's input.
                    while ctx.state(|s| s.is_triggered) {
                        dispatch_work(ctx).await?;
                    }
                    return Err(next_run(ctx, ContinueAsNewOptions::default()));
                }
                NextStep::Interrupted => dispatch_work(ctx).await?,
            }
        }
    }

    /// Requests a dispatch of the project's work.
    #[signal(name = "trigger")]
    pub fn trigger(&mut self, ctx: &mut SyncWorkflowContext<Self>, _input: RawValue) {
        self.entity.count_signal(ctx);
        self.is_triggered = true;
    }

    /// Receives the entity's state from the server.
    #[signal(name = "mirror")]
    pub fn mirror(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.entity.receive_mirror(ctx, &input);
    }

    /// Returns `idle` or `looking`.
    #[query(name = "getStatus")]
    pub fn get_status(&self, _: &WorkflowContextView) -> String {
        if self.is_dispatching || self.is_triggered { "looking".to_owned() } else { "idle".to_owned() }
    }

    /// Returns the mirrored state with its position in the event log; a rebuild reads it.
    #[query(name = "getMirror")]
    pub fn get_mirror(&self, _: &WorkflowContextView) -> Snapshot {
        self.entity.snapshot.clone()
    }
}

/// Requests one dispatch, which answers all triggers so far.
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
