//! Follows the event log from its cursor, sends every event to its project's aggregator, and marks changed entities.
//!
//! The cursor moves after the events have arrived, in the same commit as the marks. A crash in between repeats events but
//! loses none; an aggregator applies a repeated event once.

use crate::bridge::BridgeInner;
use crate::bridge::entities::{changed_entities, kind_name, mirror_event, project_of};
use arbiter_actors::Error;
use arbiter_core::kernel::event::{Event, EventFilter};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{Change, ChangedEntity, EventRange, Unit};
use arbiter_temporal::client::{WorkflowClient, WorkflowClientError};
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::workflows::EventBatch;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The most events of one read and of one signal.
const PAGE_SIZE: u32 = 500;
/// The most bytes of JSON that one signal carries, one event excepted.
const MAX_SIGNAL_BYTES: usize = 256 * 1024;
/// The number of new beads in one page above which they count as a bulk import.
const BULK_THRESHOLD: usize = 50;
/// The time for which events are gathered before they are sent.
const BATCH_WINDOW: Duration = Duration::from_millis(50);
/// The longest time between two reads of the log without a notification.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The name of the cursor that holds the offset between a rebuilt store's sequence numbers and the workflows'.
pub const SEQ_BASE_CURSOR: &str = "mirror-base";

/// Reads and sends events until the store fails.
pub async fn run(inner: &BridgeInner, client: &WorkflowClient) -> Result<(), Error> {
    let store = &inner.handles.store;
    let base = store.cursor(SEQ_BASE_CURSOR).await?.unwrap_or(0);
    let mut cursor = store.mirror_state().await?.cursor.unwrap_or(0);
    let mut wakeups = inner.handles.bus.subscribe(EventFilter::default(), None).await?;
    loop {
        let range = EventRange {
            after: Some(cursor),
            before: None,
            filter: EventFilter::default(),
            limit: PAGE_SIZE,
            max_bytes: None,
        };
        let page = store.events(range).await?;
        if page.events.is_empty() {
            // A missed notification costs a delay, not an event.
            if tokio::time::timeout(POLL_INTERVAL, wakeups.next()).await.is_ok() {
                tokio::time::sleep(BATCH_WINDOW).await;
                while wakeups.try_next().is_some() {}
            }
            continue;
        }
        let last = page.events.last().map_or(cursor, |event| event.seq);
        send(inner, client, &page.events, base).await;
        let now = inner.handles.clock.now();
        let mut unit = Unit::new(now, "system", "mirror");
        unit.change(Change::MirrorRead { seq: last, changed: notes(&page.events) });
        store.commit(unit).await?;
        cursor = last;
        inner.counters.lag_ms.store(lag_millis(&page.events, now), Ordering::Relaxed);
        inner.sender.notify_one();
    }
}

/// Returns how long the newest event has waited, in milliseconds.
fn lag_millis(events: &[Event], now: Timestamp) -> u64 {
    let span = events.last().map(|event| now.since(event.timestamp)).unwrap_or_default();
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Collects the newest mark of each changed entity.
fn notes(events: &[Event]) -> Vec<ChangedEntity> {
    let mut newest: BTreeMap<(&'static str, String, bool), ChangedEntity> = BTreeMap::new();
    for note in events.iter().flat_map(changed_entities) {
        // Runs that end and begin within these events count as one new run: the states between were never mirrored.
        newest.insert((note.kind, note.id.clone(), note.begins), note);
    }
    let mut notes: Vec<ChangedEntity> = newest.into_values().collect();
    // Bulk-imported beads rank behind current changes, so that an import does not delay them.
    let created = events.iter().filter(|event| event.kind == EventType::BeadCreated).count();
    if created > BULK_THRESHOLD {
        notes.iter_mut().filter(|note| note.kind == kind_name(Kind::Bead)).for_each(|note| note.rank = 1);
    }
    notes.sort_by_key(|note| note.seq);
    notes
}

/// Sends events to the aggregators of their projects. Returns when each of them has arrived or was refused.
async fn send(inner: &BridgeInner, client: &WorkflowClient, events: &[Event], base: u64) {
    let mut projects: BTreeMap<&str, Vec<EventBatch>> = BTreeMap::new();
    let mut bytes: BTreeMap<&str, usize> = BTreeMap::new();
    for event in events {
        let project = project_of(event);
        let value = mirror_event(event, base);
        let size = value.to_string().len();
        let batches = projects.entry(project).or_default();
        let filled = bytes.entry(project).or_insert(0);
        match batches.last_mut() {
            Some(batch) if *filled + size <= MAX_SIGNAL_BYTES => {
                *filled += size;
                batch.events.push(value);
            }
            _ => {
                *filled = size;
                batches.push(EventBatch { events: vec![value] });
            }
        }
    }
    let mut sending: Vec<BoxFuture<'_, ()>> = Vec::with_capacity(projects.len());
    for (project, batches) in projects {
        sending.push(Box::pin(send_in_order(inner, client, project, batches)));
    }
    stream::iter(sending).buffer_unordered(inner.congestion.concurrency_limit()).collect::<()>().await;
}

/// Sends batches one after the other: an aggregator accepts only newer events than it has.
async fn send_in_order(
    inner: &BridgeInner,
    client: &WorkflowClient,
    project: &str,
    batches: Vec<EventBatch>,
) {
    for batch in batches {
        send_batch(inner, client, project, &batch).await;
    }
}

async fn send_batch(inner: &BridgeInner, client: &WorkflowClient, project: &str, batch: &EventBatch) {
    loop {
        let began = Instant::now();
        match client.events(project, batch).await {
            Ok(()) => {
                inner.congestion.on_success(began.elapsed());
                inner.counters.events.fetch_add(batch.events.len() as u64, Ordering::Relaxed);
                inner.counters.batches.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(WorkflowClientError::Refused(why)) => {
                inner.counters.refused.fetch_add(1, Ordering::Relaxed);
                let count = batch.events.len();
                tracing::error!(target: "integration", project, count, why, "could not mirror events: the Temporal server refuses them");
                return;
            }
            Err(error) => {
                let pause = inner.congestion.on_failure();
                inner.counters.failures.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(target: "integration", project, %error, ?pause, "could not send events; they are sent again");
                tokio::time::sleep(pause).await;
            }
        }
    }
}
