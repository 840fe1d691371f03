//! The heartbeat of a provider, for as long as there is the provider.

use crate::codec::names::Kind;
use crate::control_plane::{Beaten, Snapshot};
use crate::workflows::activities::{ControlActivities, beat};
use crate::workflows::entity_workflow::{Core, Next, begin, deepest, failed, mirrors, serve};
use futures::FutureExt;
use std::time::Duration;
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::workflows::select;
use temporalio_sdk::{
    ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
};

/// After so many beats, of some eleven events of history each, a run continues as a new one.
const BEATS_PER_RUN: u32 = 250;

/// Mirrors a provider and lets it beat: `provider-heartbeat-{providerID}`.
#[workflow]
pub struct ProviderHeartbeatWorkflow {
    core: Core,
    is_stopped: bool,
    beats: u32,
}

mirrors!(ProviderHeartbeatWorkflow, |s| s.is_stopped);

#[workflow_methods]
impl ProviderHeartbeatWorkflow {
    /// Takes `{provider_id}`.
    #[init]
    fn new(context: &WorkflowContextView, input: RawValue) -> Self {
        Self { core: Core::new(Kind::Provider, context, &input), is_stopped: false, beats: 0 }
    }

    /// Ends when the provider is deleted, or with `stop`.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        begin(ctx).await?;
        loop {
            let id = ctx.state(|s| s.core.id().to_owned());
            let beaten = ctx.execute_activity(ControlActivities::provider_heartbeat, id, beat()).await;
            let interval_ms = match beaten.map_err(|error| failed(&deepest(&error)))? {
                Beaten::Gone => return Ok("deleted".to_owned()),
                Beaten::Next { snapshot, interval_ms } => {
                    ctx.state_mut(|s| {
                        s.core.take(snapshot);
                        s.beats += 1;
                        if s.beats >= BEATS_PER_RUN {
                            s.core.renew();
                        }
                    });
                    interval_ms
                }
            };
            let mut timer = ctx.timer(Duration::from_millis(interval_ms.max(1)));
            let next = select! {
                next = serve(ctx, |_| false).boxed_local().fuse() => Some(next?),
                _ = timer => None,
            };
            match next {
                Some(Next::Over) => return Ok(ctx.state(end).to_owned()),
                Some(Next::Renew) => {
                    let input = ctx.state(|s| s.core.input(ctx.workflow_id()));
                    // The next run beats at once; until then the pause is kept.
                    let pause = Duration::from_millis(interval_ms.max(1));
                    let options = ContinueAsNewOptions::builder().backoff_start_interval(pause).build();
                    ctx.continue_as_new(input, options)?;
                }
                Some(Next::Woken) | None => {}
            }
        }
    }

    /// Ends it: the provider's actor goes on beating by itself.
    #[signal(name = "stop")]
    pub fn stop(&mut self, ctx: &mut SyncWorkflowContext<Self>, _input: RawValue) {
        self.core.signaled(ctx);
        self.is_stopped = true;
    }

    /// Brings the server's own word.
    #[signal(name = "mirror")]
    pub fn mirror(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.core.mirrored(ctx, &input);
    }

    /// The provider's status.
    #[query(name = "getStatus")]
    pub fn get_status(&self, _: &WorkflowContextView) -> Option<String> {
        self.core.snapshot.status().map(str::to_owned)
    }

    /// The mirrored state with its place in the event log: what a data directory is rebuilt from.
    #[query(name = "getMirror")]
    pub fn get_mirror(&self, _: &WorkflowContextView) -> Snapshot {
        self.core.snapshot.clone()
    }
}

fn end(state: &ProviderHeartbeatWorkflow) -> &'static str {
    if state.is_stopped { "stopped" } else { "deleted" }
}
