//! The registry of one kind of actor: starts an entity's actor when it is first addressed, lets it go
//! when nobody has addressed it for a while, and bounds what waits for it.

use crate::context::SharedContext;
use crate::error::Error;
use crate::runtime::cell::{ActorCell, Behavior, Envelope};
use actix::{Addr, AsyncContext, Supervisor};
use actix_rt::ArbiterHandle;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How long a question waits for a turn.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// The threads that actors live on.
#[derive(Clone)]
pub(crate) struct ActorThreads {
    /// The root's: bus and other single actors.
    pub(crate) root: ArbiterHandle,
    /// For entities, by hash of their id.
    pub(crate) entities: Arc<[ArbiterHandle]>,
}

/// What the registry and an actor share of the actor's life.
#[derive(Clone, Default)]
pub(crate) struct Lifecycle {
    /// When it was last addressed, in milliseconds since the epoch.
    pub(crate) used_at: Arc<AtomicI64>,
    /// Set while it has to stay in memory: from its beginning until its role says otherwise.
    pub(crate) pinned: Arc<AtomicBool>,
    /// Set when it was let go, so that its end is no death.
    pub(crate) retired: Arc<AtomicBool>,
}

struct RegistryEntry<R: Behavior> {
    address: Addr<ActorCell<R>>,
    permits: Arc<Semaphore>,
    lifecycle: Lifecycle,
}

/// Where a kind of actor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Affinity {
    /// On the root's thread.
    Root,
    /// On the entities' threads.
    Entities,
}

/// The living actors of one kind.
pub(crate) struct Registry<R: Behavior> {
    entries: Mutex<HashMap<String, RegistryEntry<R>>>,
    affinity: Affinity,
    restarts: AtomicU64,
}

impl<R: Behavior> Registry<R> {
    pub(crate) fn new(affinity: Affinity) -> Self {
        Self { entries: Mutex::default(), affinity, restarts: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, RegistryEntry<R>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of an actor that is started if need be.
    fn get_or_start(&self, shared: &Arc<SharedContext>, id: &str) -> (Addr<ActorCell<R>>, Arc<Semaphore>) {
        let mut entries = self.lock();
        if let Some(entry) = entries.get(id)
            && entry.address.connected()
        {
            entry.lifecycle.used_at.store(shared.clock.now().as_millis(), Ordering::Relaxed);
            return (entry.address.clone(), Arc::clone(&entry.permits));
        }
        let lifecycle = Lifecycle::default();
        // Until it has read what it is about, it may not be let go.
        lifecycle.pinned.store(true, Ordering::Release);
        lifecycle.used_at.store(shared.clock.now().as_millis(), Ordering::Relaxed);
        let thread = self.thread_of(shared, id);
        let (name, actor_context, actor_lifecycle) = (id.to_owned(), Arc::clone(shared), lifecycle.clone());
        let address =
            Supervisor::start_in_arbiter(&thread, move |context: &mut actix::Context<ActorCell<R>>| {
                ActorCell::new(name, actor_context, context.address().downgrade(), &actor_lifecycle)
            });
        let permits = Arc::new(Semaphore::new(shared.settings.mailbox));
        let entry = RegistryEntry { address: address.clone(), permits: Arc::clone(&permits), lifecycle };
        entries.insert(id.to_owned(), entry);
        (address, permits)
    }

    fn thread_of(&self, shared: &SharedContext, id: &str) -> ArbiterHandle {
        if self.affinity == Affinity::Root {
            return shared.threads.root.clone();
        }
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let count = u64::try_from(shared.threads.entities.len()).unwrap_or(1).max(1);
        let pick = usize::try_from(hasher.finish() % count).unwrap_or(0);
        shared.threads.entities.get(pick).cloned().unwrap_or_else(|| shared.threads.root.clone())
    }

    /// Starts an actor that has something to do by itself.
    pub(crate) fn ensure_started(&self, shared: &Arc<SharedContext>, id: &str) {
        self.get_or_start(shared, id);
    }

    /// Tells an actor something without waiting; such messages are our own and bounded by their causes.
    pub(crate) fn tell(&self, shared: &Arc<SharedContext>, id: &str, command: R::Command) {
        let (address, _) = self.get_or_start(shared, id);
        address.do_send(Envelope { command, permit: None });
    }

    /// Tells every living actor something.
    pub(crate) fn tell_all(&self, command: impl Fn() -> R::Command) {
        for entry in self.lock().values() {
            entry.address.do_send(Envelope { command: command(), permit: None });
        }
    }

    /// Asks an actor and waits for its answer; one that has too much to do refuses at once.
    pub(crate) async fn ask<T>(
        &self,
        shared: &Arc<SharedContext>,
        id: &str,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> R::Command,
    ) -> Result<T, Error> {
        self.ask_with(shared, id, async |permits| permits.try_acquire_owned().ok(), command).await
    }

    /// The same for what many ask at once and is answered quickly: whoever finds the actor busy waits for a turn, for
    /// at most [`QUEUE_TIMEOUT`].
    pub(crate) async fn ask_queued<T>(
        &self,
        shared: &Arc<SharedContext>,
        id: &str,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> R::Command,
    ) -> Result<T, Error> {
        let in_turn = async |permits: Arc<Semaphore>| {
            tokio::time::timeout(QUEUE_TIMEOUT, permits.acquire_owned()).await.ok().and_then(Result::ok)
        };
        self.ask_with(shared, id, in_turn, command).await
    }

    async fn ask_with<T>(
        &self,
        shared: &Arc<SharedContext>,
        id: &str,
        admit: impl AsyncFnOnce(Arc<Semaphore>) -> Option<OwnedSemaphorePermit>,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> R::Command,
    ) -> Result<T, Error> {
        if shared.is_stopping() {
            return Err(Error::ShuttingDown);
        }
        let (address, permits) = self.get_or_start(shared, id);
        let permit = admit(permits).await.ok_or_else(|| Error::Busy(format!("{} {id}", R::KIND)))?;
        let (answer, wait) = oneshot::channel();
        address.do_send(Envelope { command: command(answer), permit: Some(permit) });
        wait.await.unwrap_or_else(|_| Err(Error::Crashed { actor: format!("{} {id}", R::KIND) }))
    }

    /// Lets go of an actor whose entity is gone.
    pub(crate) fn remove(&self, id: &str) {
        if let Some(entry) = self.lock().remove(id) {
            entry.lifecycle.retired.store(true, Ordering::Release);
        }
    }

    /// Lets go of actors that nobody addressed since `before` (milliseconds since the epoch).
    pub(crate) fn retire(&self, shared: &SharedContext, before: i64) {
        self.lock().retain(|_, entry| {
            let keep = entry.lifecycle.pinned.load(Ordering::Acquire)
                || entry.lifecycle.used_at.load(Ordering::Relaxed) >= before
                || entry.permits.available_permits() < shared.settings.mailbox;
            if !keep {
                entry.lifecycle.retired.store(true, Ordering::Release);
            }
            keep
        });
    }

    /// Forgets a dead actor and starts it anew.
    pub(crate) fn restart_if_dead(&self, shared: &Arc<SharedContext>, id: &str) {
        let dead = self.lock().get(id).is_some_and(|entry| !entry.address.connected());
        if dead {
            self.get_or_start(shared, id);
        }
    }

    /// Counts a restart.
    pub(crate) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// Restarts since the start.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// What its actors are called.
    pub(crate) fn kind(&self) -> &'static str {
        R::KIND
    }

    /// Living actors.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}
