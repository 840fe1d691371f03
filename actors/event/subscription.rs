//! One subscriber's view of the events: from the log while it is behind, live when it has caught up.
//!
//! The broker's memory is never the source of truth: a subscriber that falls behind reads the log for a while,
//! and others do not wait.

use crate::error::Error;
use crate::event::bus::BusContext;
use crate::event::bus::Notice;
use arbiter_core::kernel::event::{Event, EventFilter};
use arbiter_store::EventRange;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// Events read from the log at once.
const CHUNK: u32 = 500;
/// Bytes of events read from the log at once; one event may be larger.
const CHUNK_BYTES: usize = 262_144;

/// Item delivered to a subscriber.
#[derive(Clone, Debug)]
pub enum Delivery {
    Event(Arc<Event>),
    /// Events it wanted are no longer there, or never were.
    Gap {
        from: u64,
        to: u64,
        available_from: u64,
    },
    Closed,
}

/// A subscription to the events.
pub struct Subscription {
    shared: Arc<BusContext>,
    filter: EventFilter,
    receiver: Receiver<Notice>,
    /// Every event up to this number was delivered or is not wanted.
    position: u64,
    waiting: VecDeque<Delivery>,
    behind: bool,
}

impl Subscription {
    pub(crate) async fn open(
        shared: Arc<BusContext>,
        filter: EventFilter,
        after: Option<u64>,
    ) -> Result<Self, Error> {
        let (receiver, published) = shared.broker.listen();
        let mut waiting = VecDeque::new();
        let mut position = after.unwrap_or(published);
        if let Some(after) = after {
            let (first, last) = shared.store.event_bounds().await?;
            if after > last {
                waiting.push_back(Delivery::Gap { from: last + 1, to: after, available_from: last + 1 });
                position = last;
            } else if first > after + 1 {
                waiting.push_back(Delivery::Gap { from: after + 1, to: first - 1, available_from: first });
                position = first - 1;
            }
        }
        let behind = position < published;
        Ok(Self { shared, filter, receiver, position, waiting, behind })
    }

    /// The number of the newest event when it was opened, or of the last one delivered since.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next delivery; waits for it. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Delivery {
        loop {
            if let Some(ready) = self.waiting.pop_front() {
                return ready;
            }
            if self.behind {
                if let Err(error) = self.read_log().await {
                    tracing::error!(target: "event_bus", %error, "a subscriber cannot read the log");
                    return Delivery::Closed;
                }
                continue;
            }
            match self.receiver.recv().await {
                Ok(notice) => self.take(notice),
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return Delivery::Closed,
            }
        }
    }

    /// The next delivery, if there is one without waiting. Used to send several at once.
    pub fn try_next(&mut self) -> Option<Delivery> {
        while self.waiting.is_empty() && !self.behind {
            match self.receiver.try_recv() {
                Ok(notice) => self.take(notice),
                Err(TryRecvError::Lagged(_)) => self.behind = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
        self.waiting.pop_front()
    }

    fn take(&mut self, notice: Notice) {
        let (Notice::Event(event) | Notice::InLog(event)) = &notice;
        if event.seq <= self.position {
            return;
        }
        if event.seq > self.position + 1 {
            // Something lies between: the log has it, this event included.
            self.behind = true;
            return;
        }
        if !self.filter.matches(event) {
            self.position = event.seq;
            return;
        }
        match notice {
            Notice::Event(event) => {
                self.position = event.seq;
                self.waiting.push_back(Delivery::Event(event));
            }
            Notice::InLog(_) => self.behind = true,
        }
    }

    async fn read_log(&mut self) -> Result<(), Error> {
        let range = EventRange {
            after: Some(self.position),
            before: None,
            filter: self.filter.clone(),
            limit: CHUNK,
            max_bytes: Some(CHUNK_BYTES),
        };
        let page = self.shared.store.events(range).await?;
        let is_cut = page.is_cut;
        self.waiting.extend(page.events.into_iter().map(|event| Delivery::Event(Arc::new(event))));
        self.position = page.scanned_to.max(self.position);
        self.behind = is_cut;
        Ok(())
    }
}
