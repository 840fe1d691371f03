//! Calls that go on and can be ended from outside, by the id of their run: prompts to agents and chats of the
//! gateway. What agents do with beads ends with its hold.

use crate::call::CallContext;
use arbiter_core::kernel::ids::RunId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::run::Run;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// Calls in flight.
#[derive(Default)]
pub(crate) struct InFlight(Mutex<HashMap<RunId, CallInFlight>>);

/// One call in flight.
#[derive(Clone)]
struct CallInFlight {
    cancellation: Cancellation,
    /// The run of a gateway chat, which the store has at its end only.
    run: Option<Run>,
}

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
    /// Enters a call whose run is stored.
    pub(crate) fn of(shared: &Arc<CallContext>, id: &RunId) -> Self {
        Self::enter(shared, id, None)
    }

    /// Enters a gateway chat; its run can be read from now on.
    pub(crate) fn of_chat(shared: &Arc<CallContext>, run: Run) -> Self {
        let id = run.id.clone();
        Self::enter(shared, &id, Some(run))
    }

    fn enter(shared: &Arc<CallContext>, id: &RunId, run: Option<Run>) -> Self {
        let cancellation = Cancellation::default();
        let call = CallInFlight { cancellation: cancellation.clone(), run };
        shared.in_flight.lock().insert(id.clone(), call);
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
    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, CallInFlight>> {
        self.0.lock()
    }

    /// Returns the run of a gateway chat that is in flight.
    pub(crate) fn chat(&self, id: &RunId) -> Option<Run> {
        self.lock().get(id).and_then(|call| call.run.clone())
    }

    /// Ends a call and waits until that is written down; says whether it was underway.
    pub(crate) async fn end(&self, id: &RunId, why: String) -> bool {
        let found = self.lock().get(id).map(|call| call.cancellation.clone());
        let Some(cancellation) = found else { return false };
        // The first cancellation is recorded.
        let _ = cancellation.0.why.set(why);
        cancellation.0.requested.cancel();
        cancellation.0.done.cancelled().await;
        true
    }
}
