//! The event bus: the broker between the writer and everybody who listens.
//!
//! Owns the order in which committed events reach subscribers. Talks to the store only to fetch what it
//! missed. Restart: at once; the broker's memory (`Broker`) outlives it, and what was committed while it
//! was away is read from the log.

use crate::actor_kind::ActorKind;
use crate::caller::Caller;
use crate::error::Error;
use crate::event::subscription::Subscription;
use crate::runtime::cell::{Behavior, BehaviorContext};
use crate::runtime::registry::{Affinity, IdlePolicy, Registry, SINGLETON_ID};
use crate::services::{Services, deref_to_services};
use arbiter_core::kernel::event::{Event, EventFilter, NewEvent};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::limits;
use arbiter_core::kernel::refusal::Problems;
use arbiter_store::EventRange;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::{Notify, broadcast};

/// Events read from the log at once.
const CHUNK: u32 = 500;

/// The largest data of an event that is kept in memory for subscribers, in bytes. Larger ones are read from the log.
const MAX_KEPT_DATA: usize = 16_384;

/// Notice of a committed event.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    Event(Arc<Event>),
    /// The event without its data, which are in the log.
    InLog(Arc<Event>),
}

/// State that outlives the actor: the channel to the subscribers and the last sequence number.
pub(crate) struct Broker {
    sender: broadcast::Sender<Notice>,
    published: AtomicU64,
    counts: Mutex<BTreeMap<EventType, u64>>,
}

impl Broker {
    pub(crate) fn new(buffer: usize, last_seq: u64) -> Self {
        let (sender, _) = broadcast::channel(buffer.max(1));
        Self { sender, published: AtomicU64::new(last_seq), counts: Mutex::default() }
    }

    /// A receiver, and the number of the newest event that it will not receive.
    pub(crate) fn listen(&self) -> (broadcast::Receiver<Notice>, u64) {
        let receiver = self.sender.subscribe();
        (receiver, self.published.load(Ordering::Acquire))
    }

    /// Passes an event on if it is the next one or later.
    fn forward(&self, event: &Arc<Event>) {
        let seq = event.seq;
        if seq <= self.published.load(Ordering::Acquire) {
            return;
        }
        // Update the number first: a client that subscribes in between then reads the event from the log. An
        // event sent before its number would wait there for the next one.
        self.published.store(seq, Ordering::Release);
        // There may be no subscriber.
        let _ = self.sender.send(match event.data_bytes() {
            bytes if bytes > MAX_KEPT_DATA => Notice::InLog(Arc::new(event.without_data())),
            _ => Notice::Event(Arc::clone(event)),
        });
        *self.counts.lock().entry(event.kind).or_default() += 1;
    }
}

/// A line for the log of events.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    pub source: &'static str,
    pub project_id: Option<String>,
    pub subject: String,
    /// Content: `level`, `message` and more.
    pub data: serde_json::Value,
}

/// Committed events on their way from the writer to the bus.
///
/// The writer never waits for observers. When more events wait than fit, the oldest leave; the bus finds the gap in
/// the numbers and reads them from the log.
pub(crate) struct Backlog {
    events: Mutex<VecDeque<Arc<Event>>>,
    arrived: Notify,
    capacity: usize,
}

impl Backlog {
    /// An empty backlog that holds at most `capacity` events, and at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { events: Mutex::default(), arrived: Notify::new(), capacity: capacity.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.events.lock()
    }

    /// Adds the events of a commit; never blocks.
    pub(crate) fn push(&self, events: Vec<Arc<Event>>) {
        let mut waiting = self.lock();
        waiting.extend(events);
        let excess = waiting.len().saturating_sub(self.capacity);
        waiting.drain(..excess);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Completes when events have arrived since the last time.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes the waiting events, in order.
    fn take(&self) -> VecDeque<Arc<Event>> {
        std::mem::take(&mut *self.lock())
    }
}

/// The parts that the event bus uses.
pub(crate) struct BusContext {
    pub(crate) services: Arc<Services>,
    pub(crate) broker: Broker,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) bus: Registry<BusActor>,
}

deref_to_services!(BusContext);

impl BusContext {
    pub(crate) fn new(services: Arc<Services>, backlog: Arc<Backlog>, last_seq: u64) -> Arc<Self> {
        let broker = Broker::new(services.settings.bus_buffer, last_seq);
        Arc::new_cyclic(|own| Self {
            services,
            broker,
            backlog,
            bus: Registry::new(Weak::clone(own), Affinity::Root, IdlePolicy::Keep),
        })
    }
}

/// Handle of the event bus.
#[derive(Clone)]
pub struct BusHandle(pub(crate) Arc<BusContext>);

impl BusHandle {
    /// Listens to events: those after `after` from the log first (only new ones without it), then live,
    /// without a gap and without a repeat.
    ///
    /// # Errors
    /// [`Error::Store`] when the log cannot be read.
    pub async fn subscribe(&self, filter: EventFilter, after: Option<u64>) -> Result<Subscription, Error> {
        Subscription::open(Arc::clone(&self.0), filter, after).await
    }

    /// Writes a `log.message`.
    ///
    /// # Errors
    /// [`Error::Refused`] for a subject or data that are too long or nested too deep, [`Error::Store`] when it cannot be
    /// stored.
    pub async fn log(&self, caller: &Caller, line: LogLine) -> Result<u64, Error> {
        let mut problems = Problems::default();
        let fits = line.subject.len() <= limits::MAX_TAG;
        problems.require(fits, "subject", limits::must_fit(limits::MAX_TAG));
        limits::check_free_form(&mut problems, "data", &line.data);
        problems.finish()?;
        let mut unit = caller.unit(self.0.clock.now(), line.source);
        unit.emit(NewEvent {
            kind: EventType::LogMessage,
            project_id: line.project_id,
            subject: line.subject,
            data: line.data,
        });
        Ok(self.0.store.commit(unit).await?.last_seq)
    }

    /// Returns the number of events since the start, by type.
    pub fn event_counts(&self) -> Vec<(EventType, u64)> {
        let counts = self.0.broker.counts.lock();
        counts.iter().map(|(kind, count)| (*kind, *count)).collect()
    }

    /// The number of the newest event that has passed.
    pub fn last_seq(&self) -> u64 {
        self.0.broker.published.load(Ordering::Acquire)
    }

    /// Lets the bus pass on the events of the backlog whenever some arrive.
    pub(crate) async fn forward_backlog(self) {
        loop {
            self.0.backlog.arrived().await;
            self.0.bus.wake(SINGLETON_ID, "publish", Command::Publish);
        }
    }
}

/// Command of the bus.
pub(crate) enum Command {
    /// Passes on the events of the backlog.
    Publish,
}

/// The bus.
pub(crate) struct BusActor {
    context: BehaviorContext<Self>,
}

impl BusActor {
    /// Passes on what is in the log and was never passed on.
    async fn catch_up(&self) {
        let shared = &self.context.shared;
        loop {
            let after = shared.broker.published.load(Ordering::Acquire);
            let range = EventRange { after: Some(after), limit: CHUNK, ..EventRange::default() };
            match shared.store.events(range).await {
                Ok(page) if page.events.is_empty() => return,
                Ok(page) => page.events.into_iter().for_each(|event| shared.broker.forward(&Arc::new(event))),
                Err(error) => {
                    tracing::error!(target: "event_bus", %error, "the log cannot be read");
                    return;
                }
            }
        }
    }
}

impl Behavior for BusActor {
    type Command = Command;
    type Host = BusContext;
    const KIND: ActorKind = ActorKind::EventBus;

    fn new(context: BehaviorContext<Self>) -> Self {
        Self { context }
    }

    async fn start(&mut self) {
        self.catch_up().await;
    }

    async fn handle(&mut self, command: Command) {
        let Command::Publish = command;
        for event in &self.context.shared.backlog.take() {
            if event.seq > self.context.shared.broker.published.load(Ordering::Acquire) + 1 {
                self.catch_up().await;
            }
            self.context.shared.broker.forward(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::kernel::time::Timestamp;

    fn event(seq: u64) -> Arc<Event> {
        let new = NewEvent::of(EventType::LogMessage, "test", serde_json::json!({}));
        Arc::new(Event {
            id: format!("evt-{seq}"),
            seq,
            timestamp: Timestamp::from_millis(0),
            source: "test".to_owned(),
            actor: "ann".to_owned(),
            kind: new.kind,
            project_id: new.project_id,
            subject: new.subject,
            data: new.data,
            origin: None,
        })
    }

    #[tokio::test]
    async fn full_backlog_keeps_the_newest_events() {
        let backlog = Backlog::new(3);
        backlog.push((1..=2).map(event).collect());
        backlog.push((3..=5).map(event).collect());
        backlog.arrived().await;
        let seqs: Vec<u64> = backlog.take().iter().map(|event| event.seq).collect();
        assert_eq!(seqs, [3, 4, 5]);
        assert!(backlog.take().is_empty());
    }
}
