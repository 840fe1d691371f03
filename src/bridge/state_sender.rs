//! Sends the newest state of each changed entity to its workflow, at most one at a time for each entity.

use crate::bridge::BridgeInner;
use crate::bridge::entities::{has_ended, kind, record, start_input};
use crate::bridge::log_reader::SEQ_BASE_CURSOR;
use arbiter_actors::Error;
use arbiter_core::kernel::event::{EventFilter, NewEvent, TypePattern};
use arbiter_core::kernel::event_type::EventType;
use arbiter_store::{Change, DueMirror, EventRange, SentMirror, StoreError, Unit};
use arbiter_temporal::client::{WorkflowClient, WorkflowClientError, WorkflowRun};
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::control_plane::Snapshot;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The most entities of one round.
const BATCH_SIZE: u32 = 64;
/// The longest time between two rounds without a notification.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The pause before the end of an earlier run is checked again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Sends states until the store fails.
pub async fn run(inner: &BridgeInner, client: &WorkflowClient) -> Result<(), Error> {
    let store = &inner.handles.store;
    let base = store.cursor(SEQ_BASE_CURSOR).await?.unwrap_or(0);
    loop {
        let due = store.due_mirrors(BATCH_SIZE).await?;
        if due.is_empty() {
            // A missed notification costs a delay, not a state.
            let _ = tokio::time::timeout(POLL_INTERVAL, inner.sender.notified()).await;
            continue;
        }
        let mut sending: Vec<BoxFuture<'_, Result<Option<Sent>, SendError>>> = Vec::with_capacity(due.len());
        for one in &due {
            sending.push(Box::pin(send(inner, client, one, base)));
        }
        let outcomes: Vec<_> =
            stream::iter(sending).buffer_unordered(inner.congestion.concurrency_limit()).collect().await;
        let mut sent = Vec::new();
        let mut pause = None;
        for outcome in outcomes {
            match outcome {
                Ok(Some(one)) => sent.push(one),
                Ok(None) => pause = pause.max(Some(RETRY_PAUSE)),
                Err(SendError::Error(fault)) => return Err(fault),
                Err(SendError::NotArrived(error)) => {
                    inner.counters.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(target: "integration", %error, "could not send a state; it is sent again");
                    pause = pause.max(Some(inner.congestion.on_failure()));
                }
            }
        }
        if !sent.is_empty() {
            let mut unit = Unit::new(inner.handles.clock.now(), "system", "mirror");
            let (marks, events): (Vec<SentMirror>, Vec<Vec<NewEvent>>) =
                sent.into_iter().map(|one| (one.mark, one.events)).unzip();
            unit.change(Change::MirrorSent(marks));
            for event in events.into_iter().flatten() {
                unit.emit(event);
            }
            store.commit(unit).await?;
        }
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
}

/// A state that has arrived, and the events of its workflow.
struct Sent {
    mark: SentMirror,
    events: Vec<NewEvent>,
}

impl From<SentMirror> for Sent {
    fn from(mark: SentMirror) -> Self {
        Self { mark, events: vec![] }
    }
}

enum SendError {
    Error(Error),
    NotArrived(WorkflowClientError),
}

/// Sends one state. Returns `None` while an earlier run of the entity's workflow has not ended.
async fn send(
    inner: &BridgeInner,
    client: &WorkflowClient,
    due: &DueMirror,
    base: u64,
) -> Result<Option<Sent>, SendError> {
    let Some(kind) = kind(&due.kind) else { return Ok(Some(mark_sent(due, None).into())) };
    // A record that is read after this number includes everything up to it.
    let seq = inner.handles.bus.last_seq().max(due.seq).saturating_add(base);
    let record = match record(&inner.handles, kind, &due.id).await {
        Ok(record) => record,
        // The mirror keeps its last state of a row that cannot be read, and other rows do not wait for it.
        Err(Error::Store(StoreError::Unreadable { table, id, reason })) => {
            inner.counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::error!(target: "integration", table, id, reason, "could not mirror a state: its row cannot be read");
            return Ok(Some(mark_sent(due, None).into()));
        }
        Err(error) => return Err(SendError::Error(error)),
    };
    let ended = has_ended(kind, &record);
    if record.is_null() && due.run.is_none() {
        return Ok(Some(mark_sent(due, None).into()));
    }
    let state = Snapshot { seq, run_no: due.run_no, record, attributes: false };
    let project = state.project(kind).map(str::to_owned);
    let began = Instant::now();
    let outcome = match &due.run {
        Some((_, of)) if ended && *of == due.run_no => {
            client.mirror_end(kind, &due.id, state).await.map(|()| Some(mark_sent(due, None)))
        }
        Some((_, of)) if *of < due.run_no => start_next_run(client, kind, due, state).await,
        _ => start_run(client, kind, due, state).await.map(Some),
    };
    match outcome {
        Ok(sent) => {
            inner.congestion.on_success(began.elapsed());
            inner.counters.states.fetch_add(1, Ordering::Relaxed);
            let Some(mark) = sent else { return Ok(None) };
            let mut events = Vec::new();
            if is_new_run(due, &mark) {
                events.push(workflow_event(EventType::WorkflowStarted, kind, due, project.clone()));
            }
            if ended && !is_completion_logged(inner, kind, due).await.map_err(SendError::Error)? {
                events.push(workflow_event(EventType::WorkflowCompleted, kind, due, project));
            }
            Ok(Some(Sent { mark, events }))
        }
        Err(WorkflowClientError::Refused(why)) => {
            inner.counters.refused.fetch_add(1, Ordering::Relaxed);
            let id = &due.id;
            tracing::error!(target: "integration", kind = due.kind, %id, why, "could not mirror a state: the Temporal server refuses it");
            Ok(Some(mark_sent(due, None).into()))
        }
        Err(error) => Err(SendError::NotArrived(error)),
    }
}

async fn start_run(
    client: &WorkflowClient,
    kind: Kind,
    due: &DueMirror,
    state: Snapshot,
) -> Result<SentMirror, WorkflowClientError> {
    let input = start_input(kind, &due.id, &state.record);
    let run = client.mirror(kind, &due.id, input, state).await?;
    Ok(mark_sent(due, Some(run)))
}

/// Starts the next run, for a reopened bead or a restarted agent. This state first ends the earlier run.
async fn start_next_run(
    client: &WorkflowClient,
    kind: Kind,
    due: &DueMirror,
    state: Snapshot,
) -> Result<Option<SentMirror>, WorkflowClientError> {
    match client.current_run(kind, &due.id).await? {
        WorkflowRun::Running(run_no) if run_no < due.run_no => {
            client.mirror_end(kind, &due.id, state).await?;
            Ok(None)
        }
        WorkflowRun::Running(_) | WorkflowRun::Ended => start_run(client, kind, due, state).await.map(Some),
    }
}

/// Returns whether the state began a run of the entity's workflow.
fn is_new_run(due: &DueMirror, mark: &SentMirror) -> bool {
    mark.run.is_some() && due.run.as_ref().is_none_or(|(_, of)| *of < due.run_no)
}

/// Returns whether the newest event of the workflow says that it has completed: an entity that changes after its end is
/// mirrored again.
async fn is_completion_logged(inner: &BridgeInner, kind: Kind, due: &DueMirror) -> Result<bool, Error> {
    if due.run.as_ref().is_none_or(|(_, of)| *of < due.run_no) {
        return Ok(false);
    }
    let filter = EventFilter {
        subject: Some(kind.workflow_id(&due.id)),
        types: vec![
            TypePattern::Exactly(EventType::WorkflowStarted),
            TypePattern::Exactly(EventType::WorkflowCompleted),
        ],
        ..EventFilter::default()
    };
    let before = Some(inner.handles.bus.last_seq().saturating_add(1));
    let page = inner
        .handles
        .store
        .events(EventRange { after: None, before, filter, limit: 1, max_bytes: None })
        .await?;
    Ok(page.events.last().is_some_and(|event| event.kind == EventType::WorkflowCompleted))
}

fn workflow_event(
    event_type: EventType,
    kind: Kind,
    due: &DueMirror,
    project_id: Option<String>,
) -> NewEvent {
    NewEvent {
        kind: event_type,
        project_id,
        subject: kind.workflow_id(&due.id),
        data: json!({
            "workflow_type": kind.workflow_type(),
            "kind": due.kind,
            "entity_id": due.id,
            "run_no": due.run_no,
        }),
    }
}

fn mark_sent(due: &DueMirror, run: Option<String>) -> SentMirror {
    SentMirror {
        kind: due.kind.clone(),
        id: due.id.clone(),
        seq: due.seq,
        run: run.map(|run| (run, due.run_no)),
    }
}
