//! A decision of a person, with its deadline.
//!
//! The row owns the deadline. The timer only triggers a check, so that a moved deadline or a wrong clock ends no decision
//! too early.

use super::Refusal;
use crate::activities::{ControlActivities, control_options, notice_options};
use crate::codec::names::Kind;
use crate::codec::payload;
use crate::control_plane::{DeadlineCheck, Snapshot};
use crate::workflows::entity_workflow::{
    EntityState, EntityWorkflow, NextStep, impl_entity_workflow, load_entity, next_run, process_signals,
    root_cause, send_command, workflow_failure,
};
use arbiter_core::kernel::time::Timestamp;
use futures::FutureExt;
use futures::future::FusedFuture;
use serde_json::{Value, json};
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::workflows::select;
use temporalio_sdk::{
    CancellableFuture, ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView,
    WorkflowResult, WorkflowTermination,
};

/// Mirrors a decision: `decision-{decisionID}`.
#[workflow]
pub struct DecisionWorkflow {
    entity: EntityState,
    /// The earliest time of the next check, in milliseconds since 1970; set when a check came too early.
    not_before_ms: i64,
}

impl_entity_workflow!(DecisionWorkflow, |s| s
    .entity
    .snapshot
    .status()
    .is_some_and(|status| status != "pending"));

impl DecisionWorkflow {
    /// Returns the time of the next deadline check; `None` without a deadline or after the end.
    fn next_check_at(&self) -> Option<i64> {
        if self.is_over() {
            return None;
        }
        let deadline: Timestamp = self.entity.snapshot.text("deadline")?.parse().ok()?;
        Some(deadline.as_millis().max(self.not_before_ms))
    }
}

#[workflow_methods]
impl DecisionWorkflow {
    /// Takes `{decision_id, project_id, question, requester_id, options}`.
    #[init]
    fn new(context: &WorkflowContextView, input: RawValue) -> Self {
        Self { entity: EntityState::new(Kind::Decision, context, &input), not_before_ms: 0 }
    }

    /// Ends with the decision, with `timeout` or with `cancelled`.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        load_entity(ctx).await?;
        let mut notifying = send_notice(ctx).boxed_local().fuse();
        loop {
            let next_check_at = ctx.state(Self::next_check_at);
            let changed = move |s: &Self| s.next_check_at() != next_check_at;
            let next = match next_check_at {
                None => Some(run_alongside(&mut notifying, process_signals(ctx, changed)).await?),
                Some(at) => {
                    let mut timer = ctx.timer(time_until(at, ctx.workflow_time()));
                    let next = select! {
                        next = run_alongside(&mut notifying, process_signals(ctx, changed)).boxed_local().fuse() => Some(next?),
                        _ = timer => None,
                    };
                    // A dropped timer would still run on the server.
                    if matches!(next, Some(NextStep::Interrupted)) {
                        timer.cancel();
                    }
                    next
                }
            };
            match next {
                Some(NextStep::Completed) => return Ok(ctx.state(final_status)),
                Some(NextStep::ContinueAsNew) => {
                    return Err(next_run(ctx, ContinueAsNewOptions::default()));
                }
                Some(NextStep::Interrupted) => {}
                None => check_deadline(ctx).await?,
            }
        }
    }

    #[update_validator(resolve)]
    fn validate_choice(&self, _: &WorkflowContextView, input: &RawValue) -> Result<(), Refusal> {
        payload::text(&payload::value(input)?, "decision")?;
        Ok(())
    }

    /// Resolves the decision: a text, or `{decision, rationale, decider_id}`.
    #[update(name = "resolve")]
    pub async fn resolve(ctx: &mut WorkflowContext<Self>, input: RawValue) -> Result<Value, Refusal> {
        let after = send_command(ctx, "resolve", payload::value(&input)?).await?;
        Ok(json!({"status": after.status(), "decision": after.text("decision"), "seq": after.seq}))
    }

    /// Receives the entity's state from the server.
    #[signal(name = "mirror")]
    pub fn mirror(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.entity.receive_mirror(ctx, &input);
    }

    /// Returns the decision's status.
    #[query(name = "getStatus")]
    pub fn get_status(&self, _: &WorkflowContextView) -> Option<String> {
        self.entity.snapshot.status().map(str::to_owned)
    }

    /// Returns the decision's record, or null.
    #[query(name = "getDecision")]
    pub fn get_decision(&self, _: &WorkflowContextView) -> Value {
        self.entity.snapshot.record.clone()
    }

    /// Returns the mirrored state with its position in the event log; a rebuild reads it.
    #[query(name = "getMirror")]
    pub fn get_mirror(&self, _: &WorkflowContextView) -> Snapshot {
        self.entity.snapshot.clone()
    }
}

/// Drives a future to its end while the workflow's background work goes on.
async fn run_alongside<T>(
    mut background: &mut (impl FusedFuture<Output = ()> + Unpin),
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work.fuse());
    loop {
        select! {
            done = work => return done,
            () = background => {}
        }
    }
}

/// Notifies the configured receiver of the question. Nothing waits for that, and a decision that
/// ends meanwhile leaves it to the log's own way there.
async fn send_notice(ctx: &WorkflowContext<DecisionWorkflow>) {
    // Those that were open before there was such an activity go on without it.
    if ctx.patched("notify") && ctx.state(|s| !s.is_over()) {
        let seq = ctx.state(|s| s.entity.snapshot.seq);
        // What never arrived was given up.
        let _ = ctx.execute_activity(ControlActivities::notify, seq, notice_options()).await;
    }
}

async fn check_deadline(ctx: &WorkflowContext<DecisionWorkflow>) -> Result<(), WorkflowTermination> {
    let id = ctx.state(|s| s.entity.id().to_owned());
    let due = ctx.execute_activity(ControlActivities::decision_due, id, control_options()).await;
    let due = due.map_err(|error| workflow_failure(&root_cause(&error)))?;
    let now = millis(ctx.workflow_time());
    ctx.state_mut(|s| match due {
        DeadlineCheck::TimedOut(after) | DeadlineCheck::Already(after) => s.entity.apply_snapshot(after),
        DeadlineCheck::NotYet { remaining_ms } => {
            s.not_before_ms = now.saturating_add(i64::try_from(remaining_ms.max(1)).unwrap_or(i64::MAX));
        }
    });
    Ok(())
}

fn final_status(state: &DecisionWorkflow) -> String {
    let snapshot = &state.entity.snapshot;
    match snapshot.status() {
        Some("resolved") => snapshot.text("decision").unwrap_or("resolved").to_owned(),
        Some(other) => other.to_owned(),
        None => "cancelled".to_owned(),
    }
}

fn millis(at: Option<SystemTime>) -> i64 {
    let since = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn time_until(at: i64, now: Option<SystemTime>) -> Duration {
    // Never zero, even after the deadline: the row may answer `not yet` repeatedly.
    Duration::from_millis(u64::try_from(at.saturating_sub(millis(now))).unwrap_or(0).max(100))
}
