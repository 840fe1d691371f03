//! Everything that happened in a project: the newest events, and how many there were of each type.

use crate::codec::names::Kind;
use crate::codec::payload;
use crate::codec::signed::Sealed;
use crate::control_plane::Snapshot;
use crate::workflows::activities::{ControlActivities, Said, control};
use crate::workflows::entity_workflow::{Core, Next, begin, deepest, failed, mirrors, serve};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
    WorkflowTermination,
};

/// The most events that are kept.
const MAX_EVENTS: usize = 1_000;
/// The most bytes they have together, as they are carried to the next run: with the counts it stays well under the server's 2 MB for one payload.
const MAX_BYTES: usize = 900_000;
/// After so many events a run continues as a new one.
const EVENTS_PER_RUN: u64 = 5_000;
/// The most batches from outside that wait to be published.
const MAX_WAITING: usize = 100;
/// The most events in one signal from outside.
const MAX_SAID: usize = 500;

/// Events as the server sends them, in their order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventBatch {
    /// The events, as the event stream shows them.
    pub events: Vec<Value>,
}

/// What a run hands to the next one.
#[derive(Default, Serialize, Deserialize)]
struct Gathered {
    last_seq: u64,
    counts: BTreeMap<String, u64>,
    events: VecDeque<Value>,
    #[serde(skip)]
    bytes: usize,
}

impl Gathered {
    fn add(&mut self, event: Value) {
        let seq = event["seq"].as_u64().unwrap_or(0);
        // Delivered once more: applied once.
        if seq <= self.last_seq {
            return;
        }
        self.last_seq = seq;
        let kind = event["type"].as_str().unwrap_or("unknown").to_owned();
        *self.counts.entry(kind).or_default() += 1;
        self.bytes += size(&event);
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= size(&oldest);
        }
    }
}

/// The bytes of an event as it is carried: JSON within JSON, where every quote takes two.
fn size(event: &Value) -> usize {
    let text = event.to_string();
    text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count()
}

/// Mirrors the events of a project, and its record: `events-{projectID}`.
#[workflow]
pub struct EventAggregatorWorkflow {
    core: Core,
    gathered: Gathered,
    in_this_run: u64,
    said: VecDeque<Value>,
    published: u64,
}

mirrors!(EventAggregatorWorkflow, |_state| false);

#[workflow_methods]
impl EventAggregatorWorkflow {
    /// Takes `{project_id}`.
    #[init]
    fn new(context: &WorkflowContextView, input: RawValue) -> Self {
        let value = payload::value(&input).unwrap_or_default();
        let carried: Option<Gathered> = Sealed::open_value(context.workflow_id(), &value["carried"]);
        let mut gathered = carried.unwrap_or_default();
        gathered.bytes = gathered.events.iter().map(size).sum();
        let core = Core::new(Kind::Events, context, &input);
        Self { core, gathered, in_this_run: 0, said: VecDeque::new(), published: 0 }
    }

    /// Ends only when the project is deleted.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        begin(ctx).await?;
        loop {
            match serve(ctx, |s| !s.said.is_empty()).await? {
                Next::Over => return Ok("deleted".to_owned()),
                Next::Woken => publish(ctx).await?,
                Next::Renew => {
                    // What somebody said is not carried on.
                    while ctx.state(|s| !s.said.is_empty()) {
                        publish(ctx).await?;
                    }
                    let input = ctx.state(|s| s.input(ctx.workflow_id()));
                    ctx.continue_as_new(input, ContinueAsNewOptions::default())?;
                }
            }
        }
    }

    /// Brings events: the server's own in a sealed batch, or somebody's, who wants them published.
    #[signal(name = "event")]
    pub fn event(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.core.signaled(ctx);
        let workflow = ctx.workflow_id();
        // What was said when it came is not said again when an old history is read: a warning is an event.
        let is_told = ctx.is_replaying_history_events();
        let value = match payload::value(&input) {
            Ok(value) if says_nothing(&value) => return,
            Ok(value) => value,
            Err(words) => {
                if !is_told {
                    tracing::warn!(target: "workflow", workflow, words, "an event is ignored");
                }
                return;
            }
        };
        if let Some(batch) = Sealed::open_value::<EventBatch>(workflow, &value) {
            // Late events of a project that is gone are still told here.
            self.core.vouched();
            self.in_this_run += batch.events.len() as u64;
            batch.events.into_iter().for_each(|event| self.gathered.add(event));
        } else if self.said.len() < MAX_WAITING {
            self.said.push_back(value);
        } else if !is_told {
            tracing::warn!(target: "workflow", workflow, "too many events wait; some are dropped");
        }
        if self.in_this_run >= EVENTS_PER_RUN {
            self.core.renew();
        }
    }

    /// Brings the project's record.
    #[signal(name = "mirror")]
    pub fn mirror(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.core.mirrored(ctx, &input);
    }

    /// The newest events, the oldest of them first.
    #[query(name = "getEvents")]
    pub fn get_events(&self, _: &WorkflowContextView) -> Vec<Value> {
        self.gathered.events.iter().cloned().collect()
    }

    /// How many events there were of each type.
    #[query(name = "getMetrics")]
    pub fn get_metrics(&self, _: &WorkflowContextView) -> BTreeMap<String, u64> {
        self.gathered.counts.clone()
    }

    /// The mirrored state with its place in the event log: what a data directory is rebuilt from.
    #[query(name = "getMirror")]
    pub fn get_mirror(&self, _: &WorkflowContextView) -> Snapshot {
        // Its events are ahead of its record.
        let seq = self.core.snapshot.seq.max(self.gathered.last_seq);
        Snapshot { seq, ..self.core.snapshot.clone() }
    }
}

impl EventAggregatorWorkflow {
    fn input(&self, workflow_id: &str) -> RawValue {
        let core = payload::value(&self.core.input(workflow_id)).unwrap_or_default();
        let carried = Sealed::new(workflow_id, &self.gathered);
        payload::raw(&json!({"project_id": core["project_id"], "mirror": core["mirror"], "carried": carried}))
    }
}

/// Whether there is nothing in it to be published.
fn says_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

async fn publish(ctx: &WorkflowContext<EventAggregatorWorkflow>) -> Result<(), WorkflowTermination> {
    let run = ctx.run_id().to_owned();
    let said = ctx.state_mut(|s| {
        let value = s.said.pop_front().unwrap_or_default();
        s.published += 1;
        let mut events = match value {
            Value::Array(events) => events,
            one => vec![one],
        };
        events.truncate(MAX_SAID);
        let project = s.core.id().to_owned();
        let project_id = (project != crate::codec::names::NO_PROJECT).then_some(project);
        Said { project_id, id: format!("{run}/e{}", s.published), events }
    });
    let outcome = ctx.execute_activity(ControlActivities::publish_event, said, control()).await;
    outcome.map_err(|error| failed(&deepest(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, kind: &str, text: &str) -> Value {
        json!({"seq": seq, "type": kind, "data": {"text": text}})
    }

    #[test]
    fn an_event_counts_once_however_often_it_comes() {
        let mut gathered = Gathered::default();
        for seq in [1, 2, 2, 1, 3] {
            gathered.add(event(seq, if seq == 3 { "b" } else { "a" }, ""));
        }
        assert_eq!(gathered.counts, BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 1)]));
        assert_eq!(gathered.events.len(), 3);
    }

    #[test]
    fn the_window_keeps_its_limits_and_the_counts_stay_exact() {
        let mut gathered = Gathered::default();
        (1..=2_500).for_each(|seq| gathered.add(event(seq, "a", "short")));
        assert_eq!((gathered.events.len(), gathered.counts["a"]), (MAX_EVENTS, 2_500));
        let long = "\"".repeat(4_000);
        (2_501..=2_700).for_each(|seq| gathered.add(event(seq, "a", &long)));
        assert!(gathered.bytes <= MAX_BYTES && gathered.events.len() < 100);
        assert_eq!(gathered.bytes, gathered.events.iter().map(size).sum::<usize>());
        assert_eq!(
            (gathered.counts["a"], gathered.events.back().unwrap()["seq"].as_u64()),
            (2_700, Some(2_700))
        );
    }
}
