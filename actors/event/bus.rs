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
use arbiter_store::EventRange;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::broadcast;

/// Events read from the log at once.
const CHUNK: u32 = 500;

/// State that outlives the actor: the channel to the subscribers and the last sequence number.
pub(crate) struct Broker {
    sender: broadcast::Sender<Arc<Event>>,
    published: AtomicU64,
    counts: Mutex<BTreeMap<EventType, u64>>,
}

impl Broker {
    pub(crate) fn new(buffer: usize, last_seq: u64) -> Self {
        let (sender, _) = broadcast::channel(buffer.max(1));
        Self { sender, published: AtomicU64::new(last_seq), counts: Mutex::default() }
    }

    /// A receiver, and the number of the newest event that it will not receive.
    pub(crate) fn listen(&self) -> (broadcast::Receiver<Arc<Event>>, u64) {
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
        let _ = self.sender.send(Arc::clone(event));
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

/// The parts that the event bus uses.
pub(crate) struct BusContext {
    pub(crate) services: Arc<Services>,
    pub(crate) broker: Broker,
    pub(crate) bus: Registry<BusActor>,
}

deref_to_services!(BusContext);

impl BusContext {
    pub(crate) fn new(services: Arc<Services>, last_seq: u64) -> Arc<Self> {
        let broker = Broker::new(services.settings.bus_buffer, last_seq);
        Arc::new_cyclic(|own| Self {
            services,
            broker,
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
    /// [`Error::Store`] when it cannot be stored.
    pub async fn log(&self, caller: &Caller, line: LogLine) -> Result<u64, Error> {
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

    /// Passes on what the writer has committed.
    pub(crate) fn publish(&self, events: Vec<Arc<Event>>) {
        self.0.bus.tell(SINGLETON_ID, Command::Publish(events));
    }
}

/// Command of the bus.
pub(crate) enum Command {
    Publish(Vec<Arc<Event>>),
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
        let Command::Publish(events) = command;
        for event in &events {
            if event.seq > self.context.shared.broker.published.load(Ordering::Acquire) + 1 {
                self.catch_up().await;
            }
            self.context.shared.broker.forward(event);
        }
    }
}
