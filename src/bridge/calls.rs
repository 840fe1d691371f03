//! Executes provider calls that came through a workflow, with the keys of this process.

use arbiter_actors::{NotAttempted, ProviderWorker};
use arbiter_temporal::control_plane::{CallOutcome, ProviderCall, ProviderCaller, ReplyFuture, Unavailable};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The provider caller of this process.
pub struct ProviderCalls(pub Arc<ProviderWorker>);

impl ProviderCaller for ProviderCalls {
    fn call(&self, call: ProviderCall) -> ReplyFuture<CallOutcome> {
        let calls = Arc::clone(&self.0);
        Box::pin(async move {
            let unreadable =
                |error: serde_json::Error| Unavailable(format!("the call cannot be read: {error}"));
            let provider = serde_json::from_value(call.provider).map_err(unreadable)?;
            let request = serde_json::from_value(call.request).map_err(unreadable)?;
            let timeout = Duration::from_millis(call.timeout_ms);
            match calls.execute(&provider, &request, timeout).await {
                Ok(Ok(answer)) => Ok(CallOutcome::Answered(json!(answer))),
                Ok(Err(error)) => Ok(CallOutcome::Failed(json!(error))),
                Err(NotAttempted(why)) => Err(Unavailable(why)),
            }
        })
    }
}
