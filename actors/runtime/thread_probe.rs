//! Probes of the actors' threads: whether each still runs what it is given.
//!
//! A probe is a task on the thread. At most one is on its way to each thread, however often it is asked for, so a
//! thread that hangs does not gather them.

use crate::runtime::registry::ActorThreads;
use actix_rt::ArbiterHandle;
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// The probes of all threads.
pub(crate) struct ThreadProbes(Vec<(String, Probe)>);

impl ThreadProbes {
    pub(crate) fn new(threads: &ActorThreads) -> Self {
        let root = ("root thread".to_owned(), Probe::new(threads.root.clone()));
        let entities = threads.entities.iter().enumerate();
        let entities =
            entities.map(|(at, thread)| (format!("entity thread {at}"), Probe::new(thread.clone())));
        Self(std::iter::once(root).chain(entities).collect())
    }

    /// Returns the names of the threads that do not answer within this time.
    pub(crate) async fn silent(&self, within: Duration) -> Vec<String> {
        let answers = join_all(self.0.iter().map(|(_, probe)| probe.answers(within))).await;
        let silent = self.0.iter().zip(answers).filter(|(_, answers)| !answers);
        silent.map(|((name, _), _)| name.clone()).collect()
    }
}

struct Probe {
    thread: ArbiterHandle,
    state: Arc<ProbeState>,
}

#[derive(Default)]
struct ProbeState {
    is_on_its_way: AtomicBool,
    answered: Notify,
}

impl Probe {
    fn new(thread: ArbiterHandle) -> Self {
        Self { thread, state: Arc::default() }
    }

    async fn answers(&self, within: Duration) -> bool {
        let answer = self.state.answered.notified();
        tokio::pin!(answer);
        // Before the probe leaves, so that its answer is not missed.
        answer.as_mut().enable();
        if !self.state.is_on_its_way.swap(true, Ordering::AcqRel) {
            let state = Arc::clone(&self.state);
            let is_sent = self.thread.spawn(async move {
                state.is_on_its_way.store(false, Ordering::Release);
                state.answered.notify_waiters();
            });
            if !is_sent {
                // The thread has ended; the next question finds out again.
                self.state.is_on_its_way.store(false, Ordering::Release);
                return false;
            }
        }
        tokio::time::timeout(within, answer).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_rt::{Arbiter, System};
    use std::sync::mpsc;

    #[test]
    fn hanging_thread_is_named_until_it_runs_again() {
        System::new().block_on(async {
            let (first, second) = (Arbiter::new(), Arbiter::new());
            let threads = ActorThreads { root: first.handle(), entities: [second.handle()].into() };
            let probes = ThreadProbes::new(&threads);
            let long = Duration::from_secs(60);
            assert_eq!(probes.silent(long).await, Vec::<String>::new());
            let (resume, wait) = mpsc::channel::<()>();
            second.spawn_fn(move || {
                let _ = wait.recv();
            });
            for _ in 0..2 {
                assert_eq!(probes.silent(Duration::from_millis(50)).await, ["entity thread 0"]);
            }
            resume.send(()).unwrap();
            assert_eq!(probes.silent(long).await, Vec::<String>::new());
            first.stop();
            first.join().unwrap();
            assert_eq!(probes.silent(long).await, ["root thread"]);
        });
    }
}
