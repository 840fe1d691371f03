//! The sender: brings the newest state of each entity that has changed to its workflow, at most one at a time for each.

use crate::bridge::Inner;
use crate::bridge::entities::{has_ended, kind, record, start};
use crate::bridge::log_reader::BASE;
use arbiter_actors::Fault;
use arbiter_store::{Change, DueMirror, SentMirror, Unit};
use arbiter_temporal::client::{Delivery, DeliveryError, Life};
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::control_plane::Snapshot;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How many entities are looked at in one go.
const AT_A_TIME: u32 = 64;
/// How often is looked for something to send when nobody rings.
const LOOK: Duration = Duration::from_secs(5);
/// How long the end of an earlier life is waited for before it is asked for again.
const AGAIN: Duration = Duration::from_millis(200);

/// Sends, for ever.
pub async fn run(inner: &Inner, delivery: &Delivery) -> Result<(), Fault> {
    let store = &inner.handles.store;
    let base = store.cursor(BASE).await?.unwrap_or(0);
    loop {
        let due = store.due_mirrors(AT_A_TIME).await?;
        if due.is_empty() {
            // A ring that is missed costs a moment, no state.
            let _ = tokio::time::timeout(LOOK, inner.sender.notified()).await;
            continue;
        }
        let mut sending: Vec<BoxFuture<'_, Result<Option<SentMirror>, Trouble>>> =
            Vec::with_capacity(due.len());
        for one in &due {
            sending.push(Box::pin(send(inner, delivery, one, base)));
        }
        let outcomes: Vec<_> = stream::iter(sending).buffer_unordered(inner.pace.at_once()).collect().await;
        let mut sent = Vec::new();
        let mut pause = None;
        for outcome in outcomes {
            match outcome {
                Ok(Some(one)) => sent.push(one),
                Ok(None) => pause = pause.max(Some(AGAIN)),
                Err(Trouble::Fault(fault)) => return Err(fault),
                Err(Trouble::NotArrived(error)) => {
                    inner.counters.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(target: "integration", %error, "a state did not arrive");
                    pause = pause.max(Some(inner.pace.failed()));
                }
            }
        }
        if !sent.is_empty() {
            let mut unit = Unit::new(inner.handles.clock.now(), "system", "mirror");
            unit.change(Change::MirrorSent(sent));
            store.commit(unit).await?;
        }
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
}

enum Trouble {
    Fault(Fault),
    NotArrived(DeliveryError),
}

/// Sends one state; none: an earlier life of the entity has not ended yet.
async fn send(
    inner: &Inner,
    delivery: &Delivery,
    due: &DueMirror,
    base: u64,
) -> Result<Option<SentMirror>, Trouble> {
    let Some(kind) = kind(&due.kind) else { return Ok(Some(done(due, None))) };
    // What is read after this number holds at least everything up to it.
    let seq = inner.handles.bus.last_seq().max(due.seq).saturating_add(base);
    let record = record(&inner.handles, kind, &due.id).await.map_err(Trouble::Fault)?;
    let ended = has_ended(kind, &record);
    if record.is_null() && due.run.is_none() {
        return Ok(Some(done(due, None)));
    }
    let state = Snapshot { seq, run_no: due.run_no, record, attributes: false };
    let began = Instant::now();
    let outcome = match &due.run {
        Some((_, of)) if ended && *of == due.run_no => {
            delivery.mirror_end(kind, &due.id, state).await.map(|()| Some(done(due, None)))
        }
        Some((_, of)) if *of < due.run_no => another_life(delivery, kind, due, state).await,
        _ => begin(delivery, kind, due, state).await.map(Some),
    };
    match outcome {
        Ok(sent) => {
            inner.pace.arrived(began.elapsed());
            inner.counters.states.fetch_add(1, Ordering::Relaxed);
            Ok(sent)
        }
        Err(DeliveryError::Refused(why)) => {
            inner.counters.refused.fetch_add(1, Ordering::Relaxed);
            let id = &due.id;
            tracing::error!(target: "integration", kind = due.kind, %id, why, "the Temporal server refuses a state; it is left out");
            Ok(Some(done(due, None)))
        }
        Err(error) => Err(Trouble::NotArrived(error)),
    }
}

async fn begin(
    delivery: &Delivery,
    kind: Kind,
    due: &DueMirror,
    state: Snapshot,
) -> Result<SentMirror, DeliveryError> {
    let input = start(kind, &due.id, &state.record);
    let run = delivery.mirror(kind, &due.id, input, state).await?;
    Ok(done(due, Some(run)))
}

/// A reopened bead, a restarted agent: the workflow of the life before ends first, by this very state.
async fn another_life(
    delivery: &Delivery,
    kind: Kind,
    due: &DueMirror,
    state: Snapshot,
) -> Result<Option<SentMirror>, DeliveryError> {
    match delivery.life(kind, &due.id).await? {
        Life::Running(run_no) if run_no < due.run_no => {
            delivery.mirror_end(kind, &due.id, state).await?;
            Ok(None)
        }
        Life::Running(_) | Life::Ended => begin(delivery, kind, due, state).await.map(Some),
    }
}

fn done(due: &DueMirror, run: Option<String>) -> SentMirror {
    SentMirror {
        kind: due.kind.clone(),
        id: due.id.clone(),
        seq: due.seq,
        run: run.map(|run| (run, due.run_no)),
    }
}
