//! Aggregates the events of a project: the newest events and a count of each type.

use crate::activities::{ControlActivities, PublishInput, control_options};
use crate::codec::names::Kind;
use crate::codec::payload;
use crate::codec::signed::{Signed, SigningKeys};
use crate::control_plane::Snapshot;
use crate::workflows::entity_workflow::{
    EntityState, NextStep, impl_entity_workflow, load_entity, process_signals, root_cause, workflow_failure,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
    WorkflowTermination,
};

/// The most events kept.
const MAX_EVENTS: usize = 1_000;
/// The most bytes of all kept events as carried to the next run; with the counts well below the server's 2 MB limit.
const MAX_BYTES: usize = 900_000;
/// The number of events after which a run continues as a new one.
const EVENTS_PER_RUN: u64 = 5_000;
/// The most client batches that wait to be published.
const MAX_PENDING_BATCHES: usize = 100;
/// The most events of one client signal.
const MAX_EVENTS_PER_SIGNAL: usize = 500;

/// Events from the server, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventBatch {
    /// The events, as the event stream shows them.
    pub events: Vec<Value>,
}

/// The state that a run hands to the next one.
#[derive(Default, Serialize, Deserialize)]
struct EventAggregate {
    last_seq: u64,
    counts: BTreeMap<String, u64>,
    events: VecDeque<Value>,
    #[serde(skip)]
    bytes: usize,
}

impl EventAggregate {
    fn add(&mut self, event: Value) {
        let seq = event["seq"].as_u64().unwrap_or(0);
        // A repeated event is applied once.
        if seq <= self.last_seq {
            return;
        }
        self.last_seq = seq;
        let kind = event["type"].as_str().unwrap_or("unknown").to_owned();
        *self.counts.entry(kind).or_default() += 1;
        self.bytes += carried_size(&event);
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= carried_size(&oldest);
        }
    }
}

/// Returns an event's size as carried: JSON within JSON, where every quote takes two bytes.
fn carried_size(event: &Value) -> usize {
    let text = event.to_string();
    text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count()
}

/// Mirrors the events of a project, and its record: `events-{projectID}`.
#[workflow]
pub struct EventAggregatorWorkflow {
    entity: EntityState,
    aggregate: EventAggregate,
    events_this_run: u64,
    pending_events: VecDeque<Value>,
    published: u64,
}

impl_entity_workflow!(EventAggregatorWorkflow, |_state| false);

#[workflow_methods]
impl EventAggregatorWorkflow {
    /// Takes `{project_id}`.
    #[init]
    fn new(context: &WorkflowContextView, input: RawValue) -> Self {
        let value = payload::value(&input).unwrap_or_default();
        let carried: Option<EventAggregate> =
            Signed::verify_value(&SigningKeys::of_this_thread(), context.workflow_id(), &value["carried"]);
        let mut aggregate = carried.unwrap_or_default();
        aggregate.bytes = aggregate.events.iter().map(carried_size).sum();
        let entity = EntityState::new(Kind::Events, context, &input);
        Self { entity, aggregate, events_this_run: 0, pending_events: VecDeque::new(), published: 0 }
    }

    /// Ends only when the project is deleted.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        load_entity(ctx).await?;
        loop {
            match process_signals(ctx, |s| !s.pending_events.is_empty()).await? {
                NextStep::Completed => return Ok("deleted".to_owned()),
                NextStep::Interrupted => publish(ctx).await?,
                NextStep::ContinueAsNew => {
                    // Pending client events are not part of the next run's input.
                    while ctx.state(|s| !s.pending_events.is_empty()) {
                        publish(ctx).await?;
                    }
                    let input = ctx.state(|s| s.input(ctx.workflow_id()));
                    ctx.continue_as_new(input, ContinueAsNewOptions::default())?;
                }
            }
        }
    }

    /// Receives events: a signed batch of the server, or a client's events to be published.
    #[signal(name = "event")]
    pub fn event(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.entity.count_signal(ctx);
        let workflow = ctx.workflow_id();
        // A replay must not repeat a warning, which becomes an event.
        let is_replaying = ctx.is_replaying_history_events();
        let value = match payload::value(&input) {
            Ok(value) if is_empty_event(&value) => return,
            Ok(value) => value,
            Err(words) => {
                if !is_replaying {
                    tracing::warn!(target: "workflow", workflow, words, "could not read an event; it is ignored");
                }
                return;
            }
        };
        if let Some(batch) =
            Signed::verify_value::<EventBatch>(&SigningKeys::of_this_thread(), workflow, &value)
        {
            // Late events of a deleted project are still counted.
            self.entity.mark_known();
            self.events_this_run += batch.events.len() as u64;
            batch.events.into_iter().for_each(|event| self.aggregate.add(event));
        } else if self.pending_events.len() < MAX_PENDING_BATCHES {
            self.pending_events.push_back(value);
        } else if !is_replaying {
            tracing::warn!(target: "workflow", workflow, "could not queue events: too many are pending");
        }
        if self.events_this_run >= EVENTS_PER_RUN {
            self.entity.request_continue_as_new();
        }
    }

    /// Receives the project's record from the server.
    #[signal(name = "mirror")]
    pub fn mirror(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: RawValue) {
        self.entity.receive_mirror(ctx, &input);
    }

    /// Returns the newest events, oldest first.
    #[query(name = "getEvents")]
    pub fn get_events(&self, _: &WorkflowContextView) -> Vec<Value> {
        self.aggregate.events.iter().cloned().collect()
    }

    /// Returns the number of events of each type.
    #[query(name = "getMetrics")]
    pub fn get_metrics(&self, _: &WorkflowContextView) -> BTreeMap<String, u64> {
        self.aggregate.counts.clone()
    }

    /// Returns the mirrored state with its position in the event log; a rebuild reads it.
    #[query(name = "getMirror")]
    pub fn get_mirror(&self, _: &WorkflowContextView) -> Snapshot {
        // The events are ahead of the record.
        let seq = self.entity.snapshot.seq.max(self.aggregate.last_seq);
        Snapshot { seq, ..self.entity.snapshot.clone() }
    }
}

impl EventAggregatorWorkflow {
    fn input(&self, workflow_id: &str) -> RawValue {
        let entity = payload::value(&self.entity.input(workflow_id)).unwrap_or_default();
        let carried = Signed::new(&SigningKeys::of_this_thread(), workflow_id, &self.aggregate);
        payload::raw(
            &json!({"project_id": entity["project_id"], "mirror": entity["mirror"], "carried": carried}),
        )
    }
}

/// Returns whether there is no event to publish.
fn is_empty_event(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

async fn publish(ctx: &WorkflowContext<EventAggregatorWorkflow>) -> Result<(), WorkflowTermination> {
    let run = ctx.run_id().to_owned();
    let pending_events = ctx.state_mut(|s| {
        let value = s.pending_events.pop_front().unwrap_or_default();
        s.published += 1;
        let mut events = match value {
            Value::Array(events) => events,
            one => vec![one],
        };
        events.truncate(MAX_EVENTS_PER_SIGNAL);
        let project = s.entity.id().to_owned();
        let project_id = (project != crate::codec::names::NO_PROJECT).then_some(project);
        PublishInput { project_id, id: format!("{run}/e{}", s.published), events }
    });
    let outcome =
        ctx.execute_activity(ControlActivities::publish_event, pending_events, control_options()).await;
    outcome.map_err(|error| workflow_failure(&root_cause(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, kind: &str, text: &str) -> Value {
        json!({"seq": seq, "type": kind, "data": {"text": text}})
    }

    #[test]
    fn repeated_event_counts_once() {
        let mut aggregate = EventAggregate::default();
        for seq in [1, 2, 2, 1, 3] {
            aggregate.add(event(seq, if seq == 3 { "b" } else { "a" }, ""));
        }
        assert_eq!(aggregate.counts, BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 1)]));
        assert_eq!(aggregate.events.len(), 3);
    }

    #[test]
    fn event_window_is_bounded_and_counts_stay_exact() {
        let mut aggregate = EventAggregate::default();
        (1..=2_500).for_each(|seq| aggregate.add(event(seq, "a", "short")));
        assert_eq!((aggregate.events.len(), aggregate.counts["a"]), (MAX_EVENTS, 2_500));
        let long = "\"".repeat(4_000);
        (2_501..=2_700).for_each(|seq| aggregate.add(event(seq, "a", &long)));
        assert!(aggregate.bytes <= MAX_BYTES && aggregate.events.len() < 100);
        assert_eq!(aggregate.bytes, aggregate.events.iter().map(carried_size).sum::<usize>());
        assert_eq!(
            (aggregate.counts["a"], aggregate.events.back().unwrap()["seq"].as_u64()),
            (2_700, Some(2_700))
        );
    }
}
