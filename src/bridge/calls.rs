//! Calls to providers that came through a workflow, made with the keys at hand.

use arbiter_actors::{NotMade, RemoteCalls};
use arbiter_temporal::control_plane::{Answer, CallEnd, Caller, ProviderCall, Unavailable};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Whoever makes them in this process.
pub struct ProviderCalls(pub Arc<RemoteCalls>);

impl Caller for ProviderCalls {
    fn call(&self, call: ProviderCall) -> Answer<CallEnd> {
        let calls = Arc::clone(&self.0);
        Box::pin(async move {
            let unreadable =
                |error: serde_json::Error| Unavailable(format!("the call cannot be read: {error}"));
            let provider = serde_json::from_value(call.provider).map_err(unreadable)?;
            let request = serde_json::from_value(call.request).map_err(unreadable)?;
            let timeout = Duration::from_millis(call.timeout_ms);
            match calls.make(&provider, &request, timeout).await {
                Ok(Ok(answer)) => Ok(CallEnd::Answered(json!(answer))),
                Ok(Err(error)) => Ok(CallEnd::Failed(json!(error))),
                Err(NotMade(why)) => Err(Unavailable(why)),
            }
        })
    }
}
