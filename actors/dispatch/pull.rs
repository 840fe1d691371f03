//! Work that is fetched, as others reach it: external agents ask for the next bead and wait for it.
//!
//! The module `pull_actor` serves the queued requests.

use crate::bead::ClaimedBead;
use crate::caller::Caller;
use crate::dispatch::DispatchContext;
use crate::dispatch::pull_actor::PullActor;
use crate::error::Error;
use crate::error::Reply;
use crate::runtime::cell::Behavior;
use crate::runtime::registry::SINGLETON_ID;
use arbiter_core::kernel::ids::{AgentId, ProjectId};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The longest wait for a bead, in seconds.
pub const MAX_WAIT_SEC: u64 = 60;
/// Requests that wait at one time.
const MAX_WAITING: usize = 4096;

/// Request for the next bead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    pub agent_id: AgentId,
    /// Only a bead of this project.
    pub project_id: Option<ProjectId>,
    /// Only a bead of these projects.
    pub within: Option<Vec<String>>,
    /// Only a bead with all of these tags.
    pub tags: Vec<String>,
    /// Duration of the lease without a heartbeat; `None`: the default.
    pub ttl_sec: Option<u64>,
    pub wait: Duration,
}

/// Handle of the pull queue.
#[derive(Clone)]
pub struct PullsHandle(pub(crate) Arc<DispatchContext>);

impl PullsHandle {
    /// Claims the next bead for an external agent; returns `None` if there is none in time. If the future is
    /// dropped, a bead claimed at that moment is released.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown agent, one that does not fetch its work, and one that is not idle.
    pub async fn next(&self, caller: &Caller, request: PullRequest) -> Result<Option<ClaimedBead>, Error> {
        // Beads have revisions; what is asked for is any of them.
        let caller = Caller { if_match: None, ..caller.clone() };
        if self.0.is_stopping() {
            return Err(Error::ShuttingDown);
        }
        let slot = QueueSlot::take(&self.0.queue)?;
        let (answer, wait) = Reply::channel();
        // The places of the queue bound such messages, of which many come at once when work is scarce.
        let pending = Box::new(PendingPull { caller, request, answer });
        self.0.pulls.tell(SINGLETON_ID, Command::Enqueue(pending));
        let answer = wait.await;
        drop(slot);
        answer
            .unwrap_or_else(|_| Err(Error::Crashed { actor: format!("{} {SINGLETON_ID}", PullActor::KIND) }))
    }

    /// Returns the number of requests that wait for a bead.
    pub fn waiting(&self) -> usize {
        self.0.queue.waiting.load(Ordering::Acquire)
    }

    /// Wakes the queue if requests wait in it.
    pub(crate) fn wake_if_waiting(&self) {
        if self.waiting() > 0 {
            self.wake();
        }
    }

    pub(crate) fn wake(&self) {
        self.0.pulls.wake(SINGLETON_ID, "recheck", Command::Recheck);
    }
}

/// State of the queue that is readable without a request.
#[derive(Default)]
pub(crate) struct PullQueue {
    /// Requests that were not answered yet.
    waiting: AtomicUsize,
}

/// A request's place in the queue, until it has its answer or wants none any more.
struct QueueSlot<'a>(&'a PullQueue);

impl<'a> QueueSlot<'a> {
    fn take(queue: &'a PullQueue) -> Result<Self, Error> {
        let slot = Self(queue);
        if queue.waiting.fetch_add(1, Ordering::AcqRel) < MAX_WAITING {
            return Ok(slot);
        }
        Err(Error::Busy("the queue for beads".to_owned()))
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A waiting request.
pub(crate) struct PendingPull {
    pub(crate) caller: Caller,
    pub(crate) request: PullRequest,
    pub(crate) answer: Reply<Option<ClaimedBead>>,
}

/// Command of the queue.
pub(crate) enum Command {
    Enqueue(Box<PendingPull>),
    Recheck,
}
