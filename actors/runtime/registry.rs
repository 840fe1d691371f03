//! The registry of one kind of actor: starts an entity's actor when it is first addressed, retires it when it is
//! idle, and bounds the questions that wait for it.

use crate::runtime::cell::{ActorCell, Behavior, Envelope};
use crate::runtime::host::Host;
use crate::runtime::reply::{AskError, Reply};
use actix::{Addr, AsyncContext, Supervisor};
use actix_rt::ArbiterHandle;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest wait of a question for a permit.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// The id of an actor that exists once.
pub(crate) const SINGLETON_ID: &str = "main";

/// The threads that actors live on.
#[derive(Clone)]
pub(crate) struct ActorThreads {
    /// The root's: bus and other single actors.
    pub(crate) root: ArbiterHandle,
    /// For entities, by hash of their id.
    pub(crate) entities: Arc<[ArbiterHandle]>,
}

/// The flags that a registry shares with one actor.
#[derive(Clone, Default)]
pub(crate) struct Lifecycle {
    /// Time of the last request, in milliseconds since the epoch.
    pub(crate) used_at: Arc<AtomicI64>,
    /// Set while it has to stay in memory: from its start until its behavior says otherwise.
    pub(crate) pinned: Arc<AtomicBool>,
    /// Set when it was retired, so that its end is not reported.
    pub(crate) retired: Arc<AtomicBool>,
}

/// The names of the wake-ups that wait for one actor.
type Wakes = Arc<Mutex<BTreeSet<&'static str>>>;

/// A wake-up on its way. Dropping it, handled or not, lets the next one of its name be sent.
pub(crate) struct WakeMark {
    wakes: Wakes,
    name: &'static str,
}

impl WakeMark {
    /// Returns a mark, or `None` while another one of this name lives.
    fn try_set(wakes: &Wakes, name: &'static str) -> Option<Self> {
        let is_new = wakes.lock().insert(name);
        is_new.then(|| Self { wakes: Arc::clone(wakes), name })
    }
}

impl Drop for WakeMark {
    fn drop(&mut self) {
        self.wakes.lock().remove(self.name);
    }
}

struct RegistryEntry<R: Behavior> {
    address: Addr<ActorCell<R>>,
    permits: Arc<Semaphore>,
    wakes: Wakes,
    lifecycle: Lifecycle,
}

/// The threads of a kind of actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Affinity {
    /// On the root's thread.
    Root,
    /// On the entities' threads.
    Entities,
}

/// The treatment of actors that nothing has addressed for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdlePolicy {
    /// Removed from memory, unless pinned; started anew when addressed.
    Retire,
    /// Kept in memory.
    Keep,
}

/// The operations on a registry that do not depend on its kind of actor.
pub(crate) trait RegistryAccess<K> {
    fn kind(&self) -> K;
    /// Returns the number of living actors.
    fn living(&self) -> usize;
    /// Returns the number of restarts since the start.
    fn restarts(&self) -> u64;
    fn count_restarts(&self, count: u64);
    /// Forgets a dead actor and starts it anew.
    fn restart_if_dead(&self, id: &str);
    /// Lets go of actors not addressed since `before` (milliseconds since the epoch), if the policy is to retire.
    fn retire(&self, before: i64);
}

/// The living actors of one kind.
pub(crate) struct Registry<R: Behavior> {
    /// The host owns its registries, so they do not keep it alive.
    host: Weak<R::Host>,
    idle: IdlePolicy,
    entries: Mutex<HashMap<String, RegistryEntry<R>>>,
    affinity: Affinity,
    restarts: AtomicU64,
}

impl<R: Behavior> Registry<R> {
    pub(crate) fn new(host: Weak<R::Host>, affinity: Affinity, idle: IdlePolicy) -> Self {
        Self { host, idle, entries: Mutex::default(), affinity, restarts: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, RegistryEntry<R>>> {
        self.entries.lock()
    }

    /// The address of an actor that is started if need be.
    fn get_or_start(&self, host: &Arc<R::Host>, id: &str) -> (Addr<ActorCell<R>>, Arc<Semaphore>) {
        let mut entries = self.lock();
        if let Some(entry) = entries.get(id)
            && entry.address.connected()
        {
            entry.lifecycle.used_at.store(host.clock().now().as_millis(), Ordering::Relaxed);
            return (entry.address.clone(), Arc::clone(&entry.permits));
        }
        let lifecycle = Lifecycle::default();
        // The actor must not be stopped before it has loaded its state.
        lifecycle.pinned.store(true, Ordering::Release);
        lifecycle.used_at.store(host.clock().now().as_millis(), Ordering::Relaxed);
        let thread = self.thread_of(host, id);
        let (name, actor_context, actor_lifecycle) = (id.to_owned(), Arc::clone(host), lifecycle.clone());
        let address =
            Supervisor::start_in_arbiter(&thread, move |context: &mut actix::Context<ActorCell<R>>| {
                ActorCell::new(name, actor_context, context.address().downgrade(), &actor_lifecycle)
            });
        let permits = Arc::new(Semaphore::new(host.limits().mailbox));
        let entry = RegistryEntry {
            address: address.clone(),
            permits: Arc::clone(&permits),
            wakes: Wakes::default(),
            lifecycle,
        };
        entries.insert(id.to_owned(), entry);
        (address, permits)
    }

    fn thread_of(&self, host: &R::Host, id: &str) -> ArbiterHandle {
        if self.affinity == Affinity::Root {
            return host.threads().root.clone();
        }
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let count = u64::try_from(host.threads().entities.len()).unwrap_or(1).max(1);
        let pick = usize::try_from(hasher.finish() % count).unwrap_or(0);
        host.threads().entities.get(pick).cloned().unwrap_or_else(|| host.threads().root.clone())
    }

    /// Starts an actor that has something to do by itself.
    pub(crate) fn ensure_started(&self, id: &str) {
        if let Some(host) = self.host.upgrade() {
            self.get_or_start(&host, id);
        }
    }

    /// Lets an actor look at what has changed. While a wake-up of the same name waits for it, this does nothing, so
    /// an actor has at most one waiting command of each name.
    pub(crate) fn wake(&self, id: &str, name: &'static str, command: R::Command) {
        let Some(host) = self.host.upgrade() else { return };
        let (address, _) = self.get_or_start(&host, id);
        let wakes = self.lock().get(id).map(|entry| Arc::clone(&entry.wakes));
        let wake_mark = wakes.and_then(|wakes| WakeMark::try_set(&wakes, name));
        if wake_mark.is_some() {
            address.do_send(Envelope { command, permit: None, wake_mark });
        }
    }

    /// Tells an actor something without waiting for an answer. Takes no permit: a command that was lost would leave
    /// stored state unattended. Only for commands that another resource bounds: one per open call, claim or cancelled
    /// decision, or a slot of a bounded queue. A command that only says that something changed is a [`Self::wake`].
    pub(crate) fn tell(&self, id: &str, command: R::Command) {
        if let Some(host) = self.host.upgrade() {
            let (address, _) = self.get_or_start(&host, id);
            address.do_send(Envelope { command, permit: None, wake_mark: None });
        }
    }

    /// Tells every living actor something.
    pub(crate) fn tell_all(&self, command: impl Fn() -> R::Command) {
        for entry in self.lock().values() {
            entry.address.do_send(Envelope { command: command(), permit: None, wake_mark: None });
        }
    }

    /// Asks an actor and waits for its answer; refused at once with [`AskError::Busy`] when its mailbox is full.
    pub(crate) async fn ask<T, E: From<AskError>>(
        &self,
        id: &str,
        command: impl FnOnce(Reply<Result<T, E>>) -> R::Command,
    ) -> Result<T, E> {
        self.ask_with(id, async |permits| permits.try_acquire_owned().ok(), command).await
    }

    /// Asks an actor and waits for its answer. If its mailbox is full, waits for a permit for at most
    /// [`QUEUE_TIMEOUT`]; for questions that come in bursts and are answered quickly.
    pub(crate) async fn ask_queued<T, E: From<AskError>>(
        &self,
        id: &str,
        command: impl FnOnce(Reply<Result<T, E>>) -> R::Command,
    ) -> Result<T, E> {
        let in_turn = async |permits: Arc<Semaphore>| {
            tokio::time::timeout(QUEUE_TIMEOUT, permits.acquire_owned()).await.ok().and_then(Result::ok)
        };
        self.ask_with(id, in_turn, command).await
    }

    async fn ask_with<T, E: From<AskError>>(
        &self,
        id: &str,
        admit: impl AsyncFnOnce(Arc<Semaphore>) -> Option<OwnedSemaphorePermit>,
        command: impl FnOnce(Reply<Result<T, E>>) -> R::Command,
    ) -> Result<T, E> {
        let host = self.host.upgrade().filter(|host| !host.is_stopping()).ok_or(AskError::ShuttingDown)?;
        let (address, permits) = self.get_or_start(&host, id);
        drop(host);
        let actor = || format!("{} {id}", R::KIND);
        let permit = admit(permits).await.ok_or_else(|| AskError::Busy { actor: actor() })?;
        let (reply, wait) = Reply::channel();
        address.do_send(Envelope { command: command(reply), permit: Some(permit), wake_mark: None });
        wait.await.unwrap_or_else(|_| Err(AskError::Crashed { actor: actor() }.into()))
    }

    /// Lets go of an actor whose entity is gone.
    pub(crate) fn remove(&self, id: &str) {
        if let Some(entry) = self.lock().remove(id) {
            entry.lifecycle.retired.store(true, Ordering::Release);
        }
    }
}

impl<R: Behavior> RegistryAccess<<R::Host as Host>::Kind> for Registry<R> {
    fn kind(&self) -> <R::Host as Host>::Kind {
        R::KIND
    }

    fn living(&self) -> usize {
        self.lock().len()
    }

    fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    fn count_restarts(&self, count: u64) {
        self.restarts.fetch_add(count, Ordering::Relaxed);
    }

    fn restart_if_dead(&self, id: &str) {
        let is_dead = self.lock().get(id).is_some_and(|entry| !entry.address.connected());
        if is_dead {
            self.ensure_started(id);
        }
    }

    fn retire(&self, before: i64) {
        let Some(host) = self.host.upgrade().filter(|_| self.idle == IdlePolicy::Retire) else { return };
        let mailbox = host.limits().mailbox;
        self.lock().retain(|_, entry| {
            let keep = entry.lifecycle.pinned.load(Ordering::Acquire)
                || entry.lifecycle.used_at.load(Ordering::Relaxed) >= before
                || entry.permits.available_permits() < mailbox;
            if !keep {
                entry.lifecycle.retired.store(true, Ordering::Release);
            }
            keep
        });
    }
}
