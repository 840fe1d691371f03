//! Where anybody can ask that a project's work be looked at. The one dispatcher decides: two would need two truths.

use crate::codec::names::Kind;
use crate::control_plane::Snapshot;
use crate::workflows::activities::{ControlActivities, control};
use crate::workflows::entity_workflow::{Core, Next, begin, deepest, failed, mirrors, serve};
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
    WorkflowTermination,
};

/// After so many triggers a run continues as a new one.
const LOOKS_PER_RUN: u32 = 250;

/// Looks for work when it is triggered: `dispatcher-{projectID}`.
#[workflow]
pub struct DispatcherWorkflow {
    core: Core,
    is_triggered: bool,
    is_looking: bool,
    looks: u32,
}

mirrors!(DispatcherWorkflow, |_state| false);

#[workflow_methods]
impl DispatcherWorkflow {
    /// Takes `{project_id}`.
    #[init]
    fn new(context: &WorkflowContextView, input: RawValue) -> Self {
        let core = Core::new(Kind::Dispatcher, context, &input);
        Self { core, is_triggered: false, is_looking: false, looks: 0 }
    }

    /// Ends only when the project is deleted.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        begin(ctx).await?;
        loop {
            match serve(ctx, |s| s.is_triggered).await? {
                Next::Over => return Ok("deleted".to_owned()),
                Next::Renew => {
                    // A trigger is not carried on.
                    while ctx.state(|s| s.is_triggered) {
                        look(ctx).await?;
                    }
                    let input = ctx.state(|s| s.core.input(ctx.workflow_id()));
                    ctx.continue_as_new(input, ContinueAsNewOptions::default())?;
                }
                Next::Woken => look(ctx).await?,
            }
        }
    }

    /// Asks that the project's work be looked at.
    #[signal(name = "trigger")]
    pub fn trigger(&mut self, ctx: &mut SyncWorkflowContext<Self>, _input: RawValue) {
        self.core.signaled(ctx);
        self.is_triggered = true;
    }

    /// Brings the server's own word.
    #[signal(name = "mirror")]
    pub fn mirror(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.core.mirrored(ctx, &input);
    }

    /// `idle` or `looking`.
    #[query(name = "getStatus")]
    pub fn get_status(&self, _: &WorkflowContextView) -> String {
        if self.is_looking || self.is_triggered { "looking".to_owned() } else { "idle".to_owned() }
    }

    /// The mirrored state with its place in the event log: what a data directory is rebuilt from.
    #[query(name = "getMirror")]
    pub fn get_mirror(&self, _: &WorkflowContextView) -> Snapshot {
        self.core.snapshot.clone()
    }
}

/// However many triggers came, one look answers all of them.
async fn look(ctx: &WorkflowContext<DispatcherWorkflow>) -> Result<(), WorkflowTermination> {
    let id = ctx.state_mut(|s| {
        s.is_triggered = false;
        s.is_looking = true;
        s.core.id().to_owned()
    });
    let looked = ctx.execute_activity(ControlActivities::dispatch, id, control()).await;
    looked.map_err(|error| failed(&deepest(&error)))?;
    ctx.state_mut(|s| {
        s.is_looking = false;
        s.looks += 1;
        if s.looks >= LOOKS_PER_RUN {
            s.core.renew();
        }
    });
    Ok(())
}
