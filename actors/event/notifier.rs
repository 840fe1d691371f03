//! The notifier: posts events that need a person's attention to one webhook receiver.
//!
//! Owns a cursor over the log, stored as a row: committed events are delivered at least once, in order, across
//! restarts. Requests the secret from the vault. A receiver that does not answer delays no other work. Restart:
//! at once, from the cursor.

use crate::actor_kind::ActorKind;
use crate::error::Reply;
use crate::error::{Error, VaultAccessError};
use crate::provider::authorized_client::grace_after;
use crate::runtime::cell::{Behavior, BehaviorContext};
use crate::runtime::random;
use crate::runtime::registry::{Affinity, IdlePolicy, Registry, SINGLETON_ID};
use crate::services::{Services, deref_to_services};
use crate::settings::{NotifySecret, PublicHttp};
use crate::vault::VaultHandle;
use crate::vault::actor::KeyUse;
use arbiter_core::kernel::backoff::Backoff;
use arbiter_core::kernel::event::{Event, EventFilter, TypePattern};
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::notification::{self, LONGEST_PAUSE, MAX_AGE};
use arbiter_providers::{EndpointPolicy, HttpPolicy, Notice, SocketPolicy, Webhook};
use arbiter_store::{Change, EventRange, Unit};
use arbiter_vault::Scrubbed;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The name of the cursor, and what a use of the vault's entry is for.
pub(crate) const WEBHOOK: &str = "webhook";
/// The name of the timer of the next try.
const NEXT: &str = "next";
/// Events read from the log at once.
const CHUNK: u32 = 100;
/// The pause after the first notice that did not arrive; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);

/// The parts that the notifier uses.
pub(crate) struct NotifierContext {
    pub(crate) services: Arc<Services>,
    pub(crate) vault: VaultHandle,
    pub(crate) notices: SharedNoticeState,
    pub(crate) notifier: Registry<NotifierActor>,
}

deref_to_services!(NotifierContext);

impl NotifierContext {
    pub(crate) fn new(services: Arc<Services>, vault: VaultHandle) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            services,
            vault,
            notices: SharedNoticeState::default(),
            notifier: Registry::new(Weak::clone(own), Affinity::Root, IdlePolicy::Keep),
        })
    }
}

/// Handle of the notifier.
#[derive(Clone)]
pub struct NotifierHandle(pub(crate) Arc<NotifierContext>);

impl NotifierHandle {
    /// Returns the state of the notices; `None` without a receiver.
    pub fn state(&self) -> Option<NoticeState> {
        self.0.settings.notify.as_ref().map(|_| self.0.notices.get())
    }

    /// Waits until everything up to this event is delivered; returns at once without a receiver.
    ///
    /// # Errors
    /// [`Error::Provider`] if the receiver does not accept a notice; the notice is retried in any case.
    pub async fn wait_delivered(&self, seq: u64) -> Result<(), Error> {
        if self.0.settings.notify.is_none() {
            return Ok(());
        }
        self.0.notifier.ask_queued(SINGLETON_ID, |answer| Command::WaitDelivered(seq, answer)).await
    }

    /// Starts the notifier if there is a receiver.
    pub(crate) fn ensure_started(&self) {
        if self.0.settings.notify.is_some() {
            self.0.notifier.ensure_started(SINGLETON_ID);
        }
    }

    /// An event requires a notice.
    pub(crate) fn send_pending(&self) {
        self.wake("check", Command::Check);
    }

    /// Retries a failed notice now.
    pub(crate) fn try_again(&self) {
        self.wake("retry", Command::Retry);
    }

    fn wake(&self, name: &'static str, command: Command) {
        if self.0.settings.notify.is_some() {
            self.0.notifier.wake(SINGLETON_ID, name, command);
        }
    }
}

/// State of the notices since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoticeState {
    pub taken: u64,
    /// Number of notices that were given up.
    pub given_up: u64,
    /// Tries in a row that failed.
    pub failures: u32,
    /// Time of the next attempt; `None` if nothing is pending.
    pub next_try: Option<Timestamp>,
}

/// State of the notices, shared with readers.
#[derive(Default)]
pub(crate) struct SharedNoticeState(Mutex<NoticeState>);

impl SharedNoticeState {
    fn get(&self) -> NoticeState {
        *self.0.lock()
    }

    fn note(&self, change: impl FnOnce(&mut NoticeState)) {
        change(&mut self.0.lock());
    }
}

/// Command of the notifier.
pub(crate) enum Command {
    Check,
    Retry,
    /// Looks, and answers whether everything up to this event was told.
    WaitDelivered(u64, Reply<()>),
}

/// The notifier.
pub(crate) struct NotifierActor {
    context: BehaviorContext<Self>,
    receiver: Option<Webhook>,
    /// Everything up to this event was delivered, or needs no notice.
    position: Option<u64>,
    /// Tries in a row that failed.
    failures: u32,
    /// Nothing is tried before.
    paused_until: Option<Timestamp>,
}

impl Behavior for NotifierActor {
    type Command = Command;
    type Host = NotifierContext;
    const KIND: ActorKind = ActorKind::Notifier;

    fn new(context: BehaviorContext<Self>) -> Self {
        Self { context, receiver: None, position: None, failures: 0, paused_until: None }
    }

    async fn start(&mut self) {
        // What failed before it fell is tried at once.
        self.note_failures(None);
        self.context.timers.set(NEXT, self.context.shared.clock.now(), Command::Retry);
    }

    async fn handle(&mut self, command: Command) {
        if matches!(command, Command::Retry) {
            self.paused_until = None;
        }
        self.try_pending().await;
        if let Command::WaitDelivered(seq, answer) = command {
            let is_told = self.position.is_some_and(|position| position >= seq);
            let waits = || Error::Provider("a notice waits for its receiver".to_owned());
            answer.send(if is_told { Ok(()) } else { Err(waits()) });
        }
    }
}

impl NotifierActor {
    /// Delivers the pending notices, unless it waits after a failure.
    async fn try_pending(&mut self) {
        let now = self.context.shared.clock.now();
        if self.context.shared.is_stopping() || self.paused_until.is_some_and(|until| until > now) {
            return;
        }
        if let Err(error) = self.deliver_pending().await {
            self.failures += 1;
            let pause = Backoff::new(PAUSE, LONGEST_PAUSE).jittered(self.failures, random::number());
            // The first says that something is wrong; the others would only say it again.
            match self.failures {
                1 => {
                    tracing::warn!(target: "integration", %error, "a notice did not arrive; it is sent again")
                }
                n => tracing::debug!(target: "integration", %error, failures = n, "a notice did not arrive"),
            }
            let again = self.context.shared.clock.now().plus(pause);
            self.paused_until = Some(again);
            self.note_failures(Some(again));
            self.context.timers.set(NEXT, again, Command::Retry);
        }
    }

    fn note_failures(&self, next_try: Option<Timestamp>) {
        self.context.shared.notices.note(|state| {
            state.failures = self.failures;
            state.next_try = next_try;
        });
    }

    /// Delivers all pending notices.
    async fn deliver_pending(&mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.context.shared);
        let mut position = match self.position {
            Some(position) => position,
            None => self.load_cursor().await?,
        };
        loop {
            let types = notification::NOTIFIED_TYPES.map(TypePattern::Exactly).to_vec();
            let filter = EventFilter { types, ..EventFilter::default() };
            let range = EventRange { after: Some(position), filter, limit: CHUNK, ..EventRange::default() };
            let page = shared.store.events(range).await?;
            for event in page.events.iter().filter(|event| notification::is_notifiable(event)) {
                let late = shared.clock.now().since(event.timestamp) > MAX_AGE;
                if late {
                    tracing::warn!(target: "integration", event = event.id, "a notice was never taken and is given up");
                } else {
                    self.send(event).await?;
                }
                self.failures = 0;
                self.note_failures(None);
                let mut unit = Unit::new(shared.clock.now(), "system", WEBHOOK);
                unit.change(Change::MoveCursor { name: WEBHOOK, seq: event.seq });
                shared.store.commit(unit).await?;
                self.position = Some(event.seq);
                // Counted when it is certain, so that none is counted twice.
                shared.notices.note(|state| match late {
                    true => state.given_up += 1,
                    false => state.taken += 1,
                });
            }
            position = page.scanned_to.max(position);
            self.position = Some(position);
            if !page.is_cut {
                return Ok(());
            }
        }
    }

    /// Returns the cursor; a new receiver starts at the newest event.
    async fn load_cursor(&mut self) -> Result<u64, Error> {
        let store = &self.context.shared.store;
        let position = match store.cursor(WEBHOOK).await? {
            Some(seq) => seq,
            None => {
                let (_, last) = store.event_bounds().await?;
                let mut unit = Unit::new(self.context.shared.clock.now(), "system", WEBHOOK);
                unit.change(Change::MoveCursor { name: WEBHOOK, seq: last });
                store.commit(unit).await?;
                last
            }
        };
        self.position = Some(position);
        Ok(position)
    }

    fn receiver(&mut self) -> Result<Webhook, Error> {
        if let Some(receiver) = &self.receiver {
            return Ok(receiver.clone());
        }
        let settings = &self.context.shared.settings;
        let url = settings.notify.as_ref().map(|notify| notify.url.as_str()).unwrap_or_default();
        let endpoint = Webhook::check(url, policy(settings.public_http));
        let endpoint = endpoint.map_err(|error| Error::Provider(error.to_string()))?;
        let receiver = Webhook::new(endpoint).map_err(|error| Error::Provider(error.to_string()))?;
        self.receiver = Some(receiver.clone());
        Ok(receiver)
    }

    async fn send(&mut self, event: &Event) -> Result<(), Error> {
        let receiver = self.receiver()?;
        let shared = Arc::clone(&self.context.shared);
        let body = serde_json::to_string(event).map_err(|error| Error::Provider(error.to_string()))?;
        let sent_at_sec = shared.clock.now().as_millis().div_euclid(1000);
        let notice = Notice { id: &event.id, sent_at_sec, body: &body };
        let started = Instant::now();
        tracing::debug!(target: "integration", event = event.id, "notice starts");
        let outcome = match shared.settings.notify.as_ref().map(|notify| &notify.secret) {
            Some(NotifySecret::Given(secret)) => Scrubbed::new(receiver.send(secret, notice)).await,
            Some(NotifySecret::Key(key_id)) => {
                let next_lock = shared.vault.0.open_vault.next_lock();
                let wanted = KeyUse {
                    key_id: key_id.clone(),
                    holder: WEBHOOK.to_owned(),
                    host: receiver.host().to_owned(),
                    purpose: WEBHOOK,
                };
                let secret = shared.vault.use_key(wanted).await?;
                tokio::select! {
                    outcome = Scrubbed::new(receiver.send(&secret, notice)) => outcome,
                    () = grace_after(next_lock) => return Err(VaultAccessError::Locked.into()),
                }
            }
            None => return Ok(()),
        };
        let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let error = outcome.as_ref().err().map(ToString::to_string);
        tracing::debug!(target: "integration", event = event.id, latency_ms, error, "notice ends");
        outcome.map_err(|error| Error::Provider(error.to_string()))
    }
}

/// Returns the address rules of a receiver, which are those of providers.
pub(crate) fn policy(public_http: PublicHttp) -> EndpointPolicy {
    let allow_public_http = match public_http {
        PublicHttp::Allowed => HttpPolicy::Anywhere,
        PublicHttp::Refused => HttpPolicy::LocalOnly,
    };
    EndpointPolicy { allow_public_http, sockets: SocketPolicy::Refused }
}
