//! The reader: follows the event log from where it stopped, brings every event to its project's aggregator, and notes
//! whose state has changed.
//!
//! The cursor moves in the store after the events have arrived, with the notes in the same commit: what arrives twice is
//! applied once, and nothing is missed, whoever dies in between.

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

/// The most events that are read at once, and that one signal carries.
const PAGE_SIZE: u32 = 500;
/// The most bytes of JSON that one signal carries, one event excepted.
const MAX_SIGNAL_BYTES: usize = 256 * 1024;
/// So many new beads at once come from a file.
const BULK_THRESHOLD: usize = 50;
/// How long events are gathered before they are sent.
const BATCH_WINDOW: Duration = Duration::from_millis(50);
/// How often the log is looked at when nobody rings.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The name of the cursor that says by how much the seqs of a rebuilt store are behind the workflows'.
pub const SEQ_BASE_CURSOR: &str = "mirror-base";

/// Reads and sends, for ever.
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
        };
        let page = store.events(range).await?;
        if page.events.is_empty() {
            // A ring that is missed costs a moment, no event.
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

/// How long the newest of these had waited, in milliseconds.
fn lag_millis(events: &[Event], now: Timestamp) -> u64 {
    let span = events.last().map(|event| now.since(event.timestamp)).unwrap_or_default();
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The newest note of each entity.
fn notes(events: &[Event]) -> Vec<ChangedEntity> {
    let mut newest: BTreeMap<(&'static str, String, bool), ChangedEntity> = BTreeMap::new();
    for note in events.iter().flat_map(changed_entities) {
        // However often lives end and begin within these events, one more begins: the states between were never mirrored.
        newest.insert((note.kind, note.id.clone(), note.begins), note);
    }
    let mut notes: Vec<ChangedEntity> = newest.into_values().collect();
    // Beads that come in together wait behind what happens now, or a file would hold everything up.
    let created = events.iter().filter(|event| event.kind == EventType::BeadCreated).count();
    if created > BULK_THRESHOLD {
        notes.iter_mut().filter(|note| note.kind == kind_name(Kind::Bead)).for_each(|note| note.rank = 1);
    }
    notes.sort_by_key(|note| note.seq);
    notes
}

/// Brings events to the aggregators of their projects. Ends when all of them have arrived, or never will.
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

/// One after the other: an aggregator takes what is newer than what it has.
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
                tracing::error!(target: "integration", project, count, why, "the Temporal server refuses events; they are left out");
                return;
            }
            Err(error) => {
                let pause = inner.congestion.on_failure();
                inner.counters.failures.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(target: "integration", project, %error, ?pause, "events did not arrive");
                tokio::time::sleep(pause).await;
            }
        }
    }
}
