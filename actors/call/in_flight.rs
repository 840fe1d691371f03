//! Calls that go on and can be ended from outside, by the id of their run: prompts to agents and chats of the
//! gateway. What agents do with beads ends with its hold.

use crate::call::CallContext;
use arbiter_core::kernel::ids::RunId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// Calls in flight.
#[derive(Default)]
pub(crate) struct InFlight(Mutex<HashMap<RunId, Cancellation>>);

/// Cancellation of one call.
#[derive(Clone, Default)]
pub(crate) struct Cancellation(Arc<CancelState>);

#[derive(Default)]
struct CancelState {
    requested: CancellationToken,
    why: OnceLock<String>,
    /// Cancelled when everything about the call is written down.
    done: CancellationToken,
}

impl Cancellation {
    /// Waits until the call is cancelled.
    pub(crate) async fn requested(&self) {
        self.0.requested.cancelled().await;
    }

    /// Returns the origin and the reason of the cancellation.
    pub(crate) fn why(&self) -> Option<&str> {
        self.0.why.get().map(String::as_str)
    }

    /// Builds the refusal for callers that wait for the call.
    pub(crate) fn refusal(&self) -> Refusal {
        Refusal::conflict(ProblemCode::RunCancelled, self.why().unwrap_or("the run was cancelled"))
    }
}

/// A call is underway until this is dropped.
pub(crate) struct InFlightGuard {
    shared: Arc<CallContext>,
    id: RunId,
    cancellation: Cancellation,
}

impl InFlightGuard {
    /// Enters a call.
    pub(crate) fn of(shared: &Arc<CallContext>, id: &RunId) -> Self {
        let cancellation = Cancellation::default();
        shared.in_flight.lock().insert(id.clone(), cancellation.clone());
        Self { shared: Arc::clone(shared), id: id.clone(), cancellation }
    }

    /// Returns the cancellation of the call.
    pub(crate) fn cancellation(&self) -> Cancellation {
        self.cancellation.clone()
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.shared.in_flight.lock().remove(&self.id);
        self.cancellation.0.done.cancel();
    }
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Cancellation>> {
        self.0.lock()
    }

    /// Ends a call and waits until that is written down; says whether it was underway.
    pub(crate) async fn end(&self, id: &RunId, why: String) -> bool {
        let Some(cancellation) = self.lock().get(id).cloned() else { return false };
        // The first cancellation is recorded.
        let _ = cancellation.0.why.set(why);
        cancellation.0.requested.cancel();
        cancellation.0.done.cancelled().await;
        true
    }
}
