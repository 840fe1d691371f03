//! The services that every noun builds on: store, clock, settings, runtime and background work.
//!
//! Knows no noun. A noun's own context holds these services and the parts and handles that the noun uses.

use crate::actor_kind::ActorKind;
use crate::error::{Error, Reply};
use crate::runtime::cell::ActorFailure;
use crate::runtime::clock::SharedClock;
use crate::runtime::failure_queue::FailureQueue;
use crate::runtime::fault_injection::FaultInjection;
use crate::runtime::host::{Host, Limits};
use crate::runtime::registry::ActorThreads;
use crate::runtime::thread_probe::ThreadProbes;
use crate::settings::Settings;
use arbiter_store::Store;
use std::ops::Deref;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// The services that do not depend on a noun.
pub(crate) struct Services {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) settings: Settings,
    /// Runs, timers and calls to providers live here, not on the actors' threads.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) fault_injection: FaultInjection,
    /// Work behind an answer that must end before the store closes.
    pub(crate) background_tasks: TaskTracker,
    threads: ActorThreads,
    pub(crate) thread_probes: ThreadProbes,
    /// Failures of actors that the orchestrator has not handled yet.
    pub(crate) failures: FailureQueue<ActorKind>,
    stopping: CancellationToken,
}

impl Services {
    pub(crate) fn new(
        store: Store,
        clock: SharedClock,
        settings: Settings,
        threads: ActorThreads,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            clock,
            settings,
            runtime: tokio::runtime::Handle::current(),
            fault_injection: FaultInjection::default(),
            background_tasks: TaskTracker::new(),
            thread_probes: ThreadProbes::new(&threads),
            threads,
            failures: FailureQueue::default(),
            stopping: CancellationToken::new(),
        })
    }

    /// Runs work in the background; the shutdown waits for it.
    pub(crate) fn spawn_tracked(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.background_tasks.spawn_on(work, &self.runtime);
    }

    /// Does work that must not stop halfway and returns its outcome. A caller that goes away, as a client does during
    /// a commit, loses the answer and nothing else.
    ///
    /// # Errors
    /// The errors of the work, and [`Error::Crashed`] when it panicked; `what` names it then.
    pub(crate) async fn run_to_completion<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, wait) = Reply::channel();
        self.spawn_tracked(answer.with(work).in_current_span());
        wait.await.unwrap_or_else(|_| Err(Error::Crashed { actor: what.to_owned() }))
    }

    /// Returns whether the server is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Begins the shutdown: nothing new is begun.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
    }

    /// Returns a token that is cancelled when the server begins to stop.
    pub(crate) fn stopping_token(&self) -> CancellationToken {
        self.stopping.clone()
    }
}

/// Every context that derefs to the services is a host of actors.
impl<C: Deref<Target = Services> + Send + Sync + 'static> Host for C {
    type Kind = ActorKind;

    fn clock(&self) -> &SharedClock {
        &self.clock
    }

    fn limits(&self) -> Limits {
        Limits {
            mailbox: self.settings.mailbox,
            restart_limit: self.settings.restart_limit,
            restart_window: self.settings.restart_window,
        }
    }

    fn threads(&self) -> &ActorThreads {
        &self.threads
    }

    fn timer_runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    fn report(&self, failure: ActorFailure<ActorKind>) {
        self.failures.push(failure);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    fn fault_injection(&self) -> &FaultInjection {
        &self.fault_injection
    }
}

/// Lets a context with a field `services` be used as the services.
macro_rules! deref_to_services {
    ($($context:ty),+) => {
        $(impl std::ops::Deref for $context {
            type Target = $crate::services::Services;

            fn deref(&self) -> &Self::Target {
                &self.services
            }
        })+
    };
}
pub(crate) use deref_to_services;
