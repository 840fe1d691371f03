//! The registry of one kind of actor: starts an entity's actor when it is first addressed, lets it go
//! when nobody has addressed it for a while, and bounds what waits for it.

use crate::context::Shared;
use crate::error::Fault;
use crate::runtime::cell::{Deliver, Role, Shell};
use actix::{Addr, AsyncContext, Supervisor};
use actix_rt::ArbiterHandle;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How long a question waits for a turn.
const TURN: Duration = Duration::from_secs(2);

/// The threads that actors live on.
#[derive(Clone)]
pub(crate) struct Threads {
    /// The root's: bus and other single actors.
    pub(crate) root: ArbiterHandle,
    /// For entities, by hash of their id.
    pub(crate) entities: Arc<[ArbiterHandle]>,
}

/// What the registry and an actor share of the actor's life.
#[derive(Clone, Default)]
pub(crate) struct Life {
    /// When it was last addressed, in milliseconds since the epoch.
    pub(crate) used_at: Arc<AtomicI64>,
    /// Set while it has to stay in memory: from its beginning until its role says otherwise.
    pub(crate) pinned: Arc<AtomicBool>,
    /// Set when it was let go, so that its end is no death.
    pub(crate) retired: Arc<AtomicBool>,
}

struct Entry<R: Role> {
    address: Addr<Shell<R>>,
    permits: Arc<Semaphore>,
    life: Life,
}

/// Where a kind of actor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the root's thread.
    Root,
    /// On the entities' threads.
    Entities,
}

/// The living actors of one kind.
pub(crate) struct Directory<R: Role> {
    entries: Mutex<HashMap<String, Entry<R>>>,
    place: Place,
    restarts: AtomicU64,
}

impl<R: Role> Directory<R> {
    pub(crate) fn new(place: Place) -> Self {
        Self { entries: Mutex::default(), place, restarts: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry<R>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of an actor that is started if need be.
    fn reach(&self, shared: &Arc<Shared>, id: &str) -> (Addr<Shell<R>>, Arc<Semaphore>) {
        let mut entries = self.lock();
        if let Some(entry) = entries.get(id)
            && entry.address.connected()
        {
            entry.life.used_at.store(shared.clock.now().as_millis(), Ordering::Relaxed);
            return (entry.address.clone(), Arc::clone(&entry.permits));
        }
        let life = Life::default();
        // Until it has read what it is about, it may not be let go.
        life.pinned.store(true, Ordering::Release);
        life.used_at.store(shared.clock.now().as_millis(), Ordering::Relaxed);
        let thread = self.thread_of(shared, id);
        let (name, world, beginning) = (id.to_owned(), Arc::clone(shared), life.clone());
        let address = Supervisor::start_in_arbiter(&thread, move |context: &mut actix::Context<Shell<R>>| {
            Shell::new(name, world, context.address().downgrade(), &beginning)
        });
        let permits = Arc::new(Semaphore::new(shared.settings.mailbox));
        let entry = Entry { address: address.clone(), permits: Arc::clone(&permits), life };
        entries.insert(id.to_owned(), entry);
        (address, permits)
    }

    fn thread_of(&self, shared: &Shared, id: &str) -> ArbiterHandle {
        if self.place == Place::Root {
            return shared.threads.root.clone();
        }
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let count = u64::try_from(shared.threads.entities.len()).unwrap_or(1).max(1);
        let pick = usize::try_from(hasher.finish() % count).unwrap_or(0);
        shared.threads.entities.get(pick).cloned().unwrap_or_else(|| shared.threads.root.clone())
    }

    /// Starts an actor that has something to do by itself.
    pub(crate) fn wake(&self, shared: &Arc<Shared>, id: &str) {
        self.reach(shared, id);
    }

    /// Tells an actor something without waiting; such messages are our own and bounded by their causes.
    pub(crate) fn tell(&self, shared: &Arc<Shared>, id: &str, command: R::Command) {
        let (address, _) = self.reach(shared, id);
        address.do_send(Deliver { command, permit: None });
    }

    /// Tells every living actor something.
    pub(crate) fn tell_all(&self, command: impl Fn() -> R::Command) {
        for entry in self.lock().values() {
            entry.address.do_send(Deliver { command: command(), permit: None });
        }
    }

    /// Asks an actor and waits for its answer; one that has too much to do refuses at once.
    pub(crate) async fn ask<T>(
        &self,
        shared: &Arc<Shared>,
        id: &str,
        command: impl FnOnce(oneshot::Sender<Result<T, Fault>>) -> R::Command,
    ) -> Result<T, Fault> {
        self.ask_with(shared, id, async |permits| permits.try_acquire_owned().ok(), command).await
    }

    /// The same for what many ask at once and is answered quickly: whoever finds the actor busy waits for a turn, for
    /// at most [`TURN`].
    pub(crate) async fn ask_in_turn<T>(
        &self,
        shared: &Arc<Shared>,
        id: &str,
        command: impl FnOnce(oneshot::Sender<Result<T, Fault>>) -> R::Command,
    ) -> Result<T, Fault> {
        let in_turn = async |permits: Arc<Semaphore>| {
            tokio::time::timeout(TURN, permits.acquire_owned()).await.ok().and_then(Result::ok)
        };
        self.ask_with(shared, id, in_turn, command).await
    }

    async fn ask_with<T>(
        &self,
        shared: &Arc<Shared>,
        id: &str,
        admit: impl AsyncFnOnce(Arc<Semaphore>) -> Option<OwnedSemaphorePermit>,
        command: impl FnOnce(oneshot::Sender<Result<T, Fault>>) -> R::Command,
    ) -> Result<T, Fault> {
        if shared.is_stopping() {
            return Err(Fault::ShuttingDown);
        }
        let (address, permits) = self.reach(shared, id);
        let permit = admit(permits).await.ok_or_else(|| Fault::Busy(format!("{} {id}", R::KIND)))?;
        let (answer, wait) = oneshot::channel();
        address.do_send(Deliver { command: command(answer), permit: Some(permit) });
        wait.await.unwrap_or_else(|_| Err(Fault::Crashed { actor: format!("{} {id}", R::KIND) }))
    }

    /// Lets go of an actor whose entity is gone.
    pub(crate) fn remove(&self, id: &str) {
        if let Some(entry) = self.lock().remove(id) {
            entry.life.retired.store(true, Ordering::Release);
        }
    }

    /// Lets go of actors that nobody addressed since `before` (milliseconds since the epoch).
    pub(crate) fn retire(&self, shared: &Shared, before: i64) {
        self.lock().retain(|_, entry| {
            let keep = entry.life.pinned.load(Ordering::Acquire)
                || entry.life.used_at.load(Ordering::Relaxed) >= before
                || entry.permits.available_permits() < shared.settings.mailbox;
            if !keep {
                entry.life.retired.store(true, Ordering::Release);
            }
            keep
        });
    }

    /// Forgets a dead actor and starts it anew.
    pub(crate) fn revive(&self, shared: &Arc<Shared>, id: &str) {
        let dead = self.lock().get(id).is_some_and(|entry| !entry.address.connected());
        if dead {
            self.reach(shared, id);
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
