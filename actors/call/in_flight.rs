//! Calls that go on and can be ended from outside, by the id of their run: prompts to agents and chats of the
//! gateway. What agents do with beads ends with its hold.

use crate::context::Shared;
use arbiter_core::kernel::ids::RunId;
use arbiter_core::kernel::refusal::Refusal;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio_util::sync::CancellationToken;

/// What a run is refused by that somebody ended.
pub(crate) const RUN_CANCELLED: &str = "run-cancelled";

/// The calls that go on.
#[derive(Default)]
pub(crate) struct Underway(Mutex<HashMap<RunId, Ending>>);

/// The end of one call, before it has come.
#[derive(Clone, Default)]
pub(crate) struct Ending(Arc<Words>);

#[derive(Default)]
struct Words {
    wanted: CancellationToken,
    why: OnceLock<String>,
    /// Cancelled when everything about the call is written down.
    done: CancellationToken,
}

impl Ending {
    /// Ends when somebody wants the call to end.
    pub(crate) async fn wanted(&self) {
        self.0.wanted.cancelled().await;
    }

    /// Who wanted it to end, and why.
    pub(crate) fn why(&self) -> Option<&str> {
        self.0.why.get().map(String::as_str)
    }

    /// The same as the answer to whoever waits for the call.
    pub(crate) fn refusal(&self) -> Refusal {
        Refusal::conflict(RUN_CANCELLED, self.why().unwrap_or("the run was cancelled"))
    }
}

/// A call is underway until this is dropped.
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    id: RunId,
    ending: Ending,
}

impl Ticket {
    /// Enters a call.
    pub(crate) fn of(shared: &Arc<Shared>, id: &RunId) -> Self {
        let ending = Ending::default();
        shared.underway.lock().insert(id.clone(), ending.clone());
        Self { shared: Arc::clone(shared), id: id.clone(), ending }
    }

    /// How it may end.
    pub(crate) fn ending(&self) -> Ending {
        self.ending.clone()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.underway.lock().remove(&self.id);
        self.ending.0.done.cancel();
    }
}

impl Underway {
    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Ending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a call and waits until that is written down; says whether it was underway.
    pub(crate) async fn end(&self, id: &RunId, why: String) -> bool {
        let Some(ending) = self.lock().get(id).cloned() else { return false };
        // Whoever was first is named.
        let _ = ending.0.why.set(why);
        ending.0.wanted.cancel();
        ending.0.done.cancelled().await;
        true
    }
}
