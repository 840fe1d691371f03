//! What can go wrong behind the handles, as problems. The one place that knows both.

use crate::http::problem::ApiError;
use arbiter_actors::Fault;
use arbiter_store::StoreError;

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Refused(refusal) => refusal.into(),
            StoreError::Stale { .. } => Self::new("changed", detail),
            StoreError::Full => Self::new("disk-full", "there is no space left on the disk"),
            StoreError::Busy => Self::new("busy", detail),
            StoreError::Failed => Self::new("store-failed", detail),
            StoreError::Sqlite { .. }
            | StoreError::Unreadable { .. }
            | StoreError::Schema(_)
            | StoreError::Io { .. } => internal(&error),
        }
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        todo(fault)
    }
}

/// A fault whose cause is for the log, not for the client.
pub fn internal(error: &dyn std::error::Error) -> ApiError {
    let mut chain = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        chain = format!("{chain}: {deeper}");
        cause = deeper.source();
    }
    tracing::error!(error = %chain, "a request met a fault");
    ApiError::new("internal", "the server met a fault; its log says which")
}
