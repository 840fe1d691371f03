//! A question to a person, with the time it has.
//!
//! The row owns the deadline. The timer here only asks whether the time has come, so that a deadline that was moved, or
//! a clock that was wrong, ends nothing too early.

use super::Refusal;
use crate::codec::names::Kind;
use crate::codec::payload;
use crate::control_plane::{Due, Snapshot};
use crate::workflows::activities::{ControlActivities, control, notice};
use crate::workflows::entity_workflow::{Core, Mirrors, Next, ask, begin, deepest, failed, mirrors, serve};
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
    core: Core,
    /// Before this moment the row said that the time had not come, in milliseconds since 1970.
    not_before_ms: i64,
}

mirrors!(DecisionWorkflow, |s| s.core.snapshot.status().is_some_and(|status| status != "pending"));

impl DecisionWorkflow {
    /// When to ask whether the time has come; never, if it has none or is over.
    fn asks_at(&self) -> Option<i64> {
        if self.is_over() {
            return None;
        }
        let deadline: Timestamp = self.core.snapshot.text("deadline")?.parse().ok()?;
        Some(deadline.as_millis().max(self.not_before_ms))
    }
}

#[workflow_methods]
impl DecisionWorkflow {
    /// Takes `{decision_id, project_id, question, requester_id, options}`.
    #[init]
    fn new(context: &WorkflowContextView, input: RawValue) -> Self {
        Self { core: Core::new(Kind::Decision, context, &input), not_before_ms: 0 }
    }

    /// Ends with the choice, with `timeout` or with `cancelled`.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        begin(ctx).await?;
        let mut telling = tell(ctx).boxed_local().fuse();
        loop {
            let asks_at = ctx.state(Self::asks_at);
            let changed = move |s: &Self| s.asks_at() != asks_at;
            let next = match asks_at {
                None => Some(beside(&mut telling, serve(ctx, changed)).await?),
                Some(at) => {
                    let mut timer = ctx.timer(until(at, ctx.workflow_time()));
                    let next = select! {
                        next = beside(&mut telling, serve(ctx, changed)).boxed_local().fuse() => Some(next?),
                        _ = timer => None,
                    };
                    // One that is let go would still run at the server.
                    if matches!(next, Some(Next::Woken)) {
                        timer.cancel();
                    }
                    next
                }
            };
            match next {
                Some(Next::Over) => return Ok(ctx.state(result)),
                Some(Next::Renew) => {
                    let input = ctx.state(|s| s.core.input(ctx.workflow_id()));
                    ctx.continue_as_new(input, ContinueAsNewOptions::default())?;
                }
                Some(Next::Woken) => {}
                None => ask_whether_due(ctx).await?,
            }
        }
    }

    #[update_validator(resolve)]
    fn validate_choice(&self, _: &WorkflowContextView, input: &RawValue) -> Result<(), Refusal> {
        payload::text(&payload::value(input)?, "decision")?;
        Ok(())
    }

    /// Answers: the choice, or `{decision, rationale, decider_id}`.
    #[update(name = "resolve")]
    pub async fn resolve(ctx: &mut WorkflowContext<Self>, input: RawValue) -> Result<Value, Refusal> {
        let after = ask(ctx, "resolve", payload::value(&input)?).await?;
        Ok(json!({"status": after.status(), "decision": after.text("decision"), "seq": after.seq}))
    }

    /// Brings the server's own word.
    #[signal(name = "mirror")]
    pub fn mirror(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.core.mirrored(ctx, &input);
    }

    /// The decision's status.
    #[query(name = "getStatus")]
    pub fn get_status(&self, _: &WorkflowContextView) -> Option<String> {
        self.core.snapshot.status().map(str::to_owned)
    }

    /// The decision's record, or null.
    #[query(name = "getDecision")]
    pub fn get_decision(&self, _: &WorkflowContextView) -> Value {
        self.core.snapshot.record.clone()
    }

    /// The mirrored state with its place in the event log: what a data directory is rebuilt from.
    #[query(name = "getMirror")]
    pub fn get_mirror(&self, _: &WorkflowContextView) -> Snapshot {
        self.core.snapshot.clone()
    }
}

/// Does this to its end, and goes on with what nobody waits for meanwhile.
async fn beside<T>(
    mut aside: &mut (impl FusedFuture<Output = ()> + Unpin),
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work.fuse());
    loop {
        select! {
            done = work => return done,
            () = aside => {}
        }
    }
}

/// Sees to it that whoever is to be told outside learns of the question. Nothing waits for that, and a decision that
/// ends meanwhile leaves it to the log's own way there.
async fn tell(ctx: &WorkflowContext<DecisionWorkflow>) {
    // Those that were open before there was such an activity go on without it.
    if ctx.patched("notify") && ctx.state(|s| !s.is_over()) {
        let seq = ctx.state(|s| s.core.snapshot.seq);
        // What never arrived was given up.
        let _ = ctx.execute_activity(ControlActivities::notify, seq, notice()).await;
    }
}

async fn ask_whether_due(ctx: &WorkflowContext<DecisionWorkflow>) -> Result<(), WorkflowTermination> {
    let id = ctx.state(|s| s.core.id().to_owned());
    let due = ctx.execute_activity(ControlActivities::decision_due, id, control()).await;
    let due = due.map_err(|error| failed(&deepest(&error)))?;
    let now = millis(ctx.workflow_time());
    ctx.state_mut(|s| match due {
        Due::TimedOut(after) | Due::Already(after) => s.core.take(after),
        Due::NotYet { remaining_ms } => {
            s.not_before_ms = now.saturating_add(i64::try_from(remaining_ms.max(1)).unwrap_or(i64::MAX));
        }
    });
    Ok(())
}

fn result(state: &DecisionWorkflow) -> String {
    let snapshot = &state.core.snapshot;
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

fn until(at: i64, now: Option<SystemTime>) -> Duration {
    // Not at once even when the moment has passed: the row may say `not yet` again and again.
    Duration::from_millis(u64::try_from(at.saturating_sub(millis(now))).unwrap_or(0).max(100))
}
