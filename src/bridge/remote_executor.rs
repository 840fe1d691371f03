//! Executes chats with providers through workflows, on any free worker.

use crate::bridge::BridgeInner;
use arbiter_actors::{RemoteCall, RemoteExecutor, RemoteOutcome, RemoteScope};
use arbiter_core::kernel::lease::hex;
use arbiter_providers::CallError;
use arbiter_temporal::client::{WorkflowClient, WorkflowClientError};
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::control_plane::{CallOutcome, TRANSIT_ALLOWANCE};
use arbiter_temporal::workflows::QueryOutcome;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The longest time for the start of a workflow; after it the call is made directly.
const START_TIMEOUT: Duration = Duration::from_secs(2);

/// A remote executor over Temporal workflows.
pub struct TemporalExecutor {
    inner: Arc<BridgeInner>,
    client: WorkflowClient,
}

impl TemporalExecutor {
    /// Creates an executor over this connection.
    pub fn new(inner: Arc<BridgeInner>, client: WorkflowClient) -> Self {
        Self { inner, client }
    }

    async fn execute(&self, call: RemoteCall) -> RemoteOutcome {
        let mut bytes = [0_u8; 16];
        if getrandom::fill(&mut bytes).is_err() {
            return RemoteOutcome::Declined;
        }
        let id = hex(&bytes);
        let workflow_id = Kind::Query.workflow_id(&id);
        let limit = call.timeout + TRANSIT_ALLOWANCE;
        let mut guard = PendingCallGuard::new(self, &id, call);
        if let Err(error) = self.client.start_query(&id, START_TIMEOUT).await {
            tracing::warn!(target: "integration", %error, "could not start a call over Temporal; it is made directly");
            // The drop of the guard withdraws the grant: if the start arrived after all, the call is not made.
            return RemoteOutcome::Declined;
        }
        self.inner.counters.calls.fetch_add(1, Ordering::Relaxed);
        let query_outcome = tokio::time::timeout(limit, self.query_outcome(&id)).await;
        guard.has_ended = matches!(query_outcome, Ok(Ok(_)));
        let outcome = match query_outcome {
            Ok(Ok(QueryOutcome::Called(CallOutcome::Answered(answer)))) => {
                serde_json::from_value(answer).map_err(|_| CallError::lost(&workflow_id))
            }
            Ok(Ok(QueryOutcome::Called(CallOutcome::Failed(error)))) => {
                Err(serde_json::from_value(error).unwrap_or_else(|_| CallError::lost(&workflow_id)))
            }
            // The call was not made, and will not be.
            Ok(Ok(QueryOutcome::NotGranted(why))) => {
                tracing::warn!(target: "integration", why, "could not get a grant for a call; it is made directly");
                return RemoteOutcome::Declined;
            }
            Ok(Ok(QueryOutcome::Lost(why))) => {
                tracing::warn!(target: "integration", workflow = workflow_id, why, "could not complete a call on any worker");
                Err(CallError::lost(&workflow_id))
            }
            Ok(Err(_)) | Err(_) => Err(CallError::lost(&workflow_id)),
        };
        RemoteOutcome::Completed(Box::new(outcome), workflow_id)
    }

    /// Waits for the outcome, across outages of the server.
    async fn query_outcome(&self, id: &str) -> Result<QueryOutcome, WorkflowClientError> {
        loop {
            match self.client.query_outcome(id).await {
                Err(WorkflowClientError::Unavailable(why)) => {
                    tracing::debug!(target: "integration", why, "could not read the outcome of a call; it is read again");
                    tokio::time::sleep(START_TIMEOUT).await;
                }
                other => return other,
            }
        }
    }
}

impl RemoteExecutor for TemporalExecutor {
    fn execute(&self, call: RemoteCall) -> BoxFuture<'_, RemoteOutcome> {
        Box::pin(self.execute(call))
    }

    fn scope(&self) -> RemoteScope {
        if self.inner.settings.run_beads { RemoteScope::Runs } else { RemoteScope::Console }
    }
}

/// A pending call. When dropped, it withdraws the grant and cancels the workflow unless that has ended.
struct PendingCallGuard<'a> {
    executor: &'a TemporalExecutor,
    id: &'a str,
    has_ended: bool,
}

impl<'a> PendingCallGuard<'a> {
    fn new(executor: &'a TemporalExecutor, id: &'a str, call: RemoteCall) -> Self {
        let pending = &executor.inner.pending;
        pending.lock().insert(id.to_owned(), Arc::new(call));
        Self { executor, id, has_ended: false }
    }
}

impl Drop for PendingCallGuard<'_> {
    fn drop(&mut self) {
        self.executor.inner.pending.lock().remove(self.id);
        if self.has_ended {
            return;
        }
        // At the end of the process there is no runtime left; the call's own time limits end it then.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (client, id) = (self.executor.client.clone(), self.id.to_owned());
        runtime.spawn(async move {
            if let Err(error) = client.cancel_query(&id).await {
                tracing::debug!(target: "integration", %error, "could not cancel an abandoned call");
            }
        });
    }
}
