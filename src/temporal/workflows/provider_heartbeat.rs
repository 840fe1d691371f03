//! The heartbeat of a provider, until the provider is deleted.

use crate::activities::{ControlActivities, heartbeat_options};
use crate::codec::names::Kind;
use crate::control_plane::{HeartbeatOutcome, Snapshot};
use crate::workflows::entity_workflow::{
    EntityState, NextStep, impl_entity_workflow, load_entity, next_run, process_signals, root_cause,
    workflow_failure,
};
use futures::FutureExt;
use std::time::Duration;
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::workflows::select;
use temporalio_sdk::{
    ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
};

/// The number of heartbeats, each of about eleven history events, after which a run continues as a new one.
const HEARTBEATS_PER_RUN: u32 = 250;

/// Mirrors a provider and triggers its heartbeats: `provider-heartbeat-{providerID}`.
#[workflow]
pub struct ProviderHeartbeatWorkflow {
    entity: EntityState,
    is_stopped: bool,
    heartbeats: u32,
}

impl_entity_workflow!(ProviderHeartbeatWorkflow, |s| s.is_stopped);

#[workflow_methods]
impl ProviderHeartbeatWorkflow {
    /// Takes `{provider_id}`.
    #[init]
    fn new(context: &WorkflowContextView, input: RawValue) -> Self {
        Self { entity: EntityState::new(Kind::Provider, context, &input), is_stopped: false, heartbeats: 0 }
    }

    /// Ends when the provider is deleted, or with `stop`.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        load_entity(ctx).await?;
        loop {
            let id = ctx.state(|s| s.entity.id().to_owned());
            let outcome =
                ctx.execute_activity(ControlActivities::provider_heartbeat, id, heartbeat_options()).await;
            let interval_ms = match outcome.map_err(|error| workflow_failure(&root_cause(&error)))? {
                HeartbeatOutcome::Gone => return Ok("deleted".to_owned()),
                HeartbeatOutcome::Next { snapshot, interval_ms } => {
                    ctx.state_mut(|s| {
                        s.entity.apply_snapshot(snapshot);
                        s.heartbeats += 1;
                        if s.heartbeats >= HEARTBEATS_PER_RUN {
                            s.entity.request_continue_as_new();
                        }
                    });
                    interval_ms
                }
            };
            let mut timer = ctx.timer(Duration::from_millis(interval_ms.max(1)));
            let next = select! {
                next = process_signals(ctx, |_| false).boxed_local().fuse() => Some(next?),
                _ = timer => None,
            };
            match next {
                Some(NextStep::Completed) => return Ok(ctx.state(final_status).to_owned()),
                Some(NextStep::ContinueAsNew) => {
                    // The next run starts with a heartbeat, so its start is delayed by the interval.
                    let pause = Duration::from_millis(interval_ms.max(1));
                    let options = ContinueAsNewOptions::builder().backoff_start_interval(pause).build();
                    return Err(next_run(ctx, options));
                }
                Some(NextStep::Interrupted) | None => {}
            }
        }
    }

    /// Ends the workflow; the provider's actor continues its own heartbeats.
    #[signal(name = "stop")]
    pub fn stop(&mut self, ctx: &mut SyncWorkflowContext<Self>, _input: RawValue) {
        self.entity.count_signal(ctx);
        self.is_stopped = true;
    }

    /// Receives the entity's state from the server.
    #[signal(name = "mirror")]
    pub fn mirror(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.entity.receive_mirror(ctx, &input);
    }

    /// Returns the provider's status.
    #[query(name = "getStatus")]
    pub fn get_status(&self, _: &WorkflowContextView) -> Option<String> {
        self.entity.snapshot.status().map(str::to_owned)
    }

    /// Returns the mirrored state with its position in the event log; a rebuild reads it.
    #[query(name = "getMirror")]
    pub fn get_mirror(&self, _: &WorkflowContextView) -> Snapshot {
        self.entity.snapshot.clone()
    }
}

fn final_status(state: &ProviderHeartbeatWorkflow) -> &'static str {
    if state.is_stopped { "stopped" } else { "deleted" }
}
