//! Failed calls to a provider, and their kind in the terms of the call ledger.

use crate::error::{Error, FailedCall};
use arbiter_core::kernel::call::ErrorKind;
use arbiter_providers::{CallError, CallErrorKind};

/// A call that gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallFailure {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Error(#[from] Error),
}

/// Returns the kind of an error as the call ledger names it.
pub(crate) fn error_kind(error: &CallError) -> ErrorKind {
    match error.kind() {
        CallErrorKind::Auth => ErrorKind::Auth,
        CallErrorKind::NotFound { .. } => ErrorKind::NotFound,
        CallErrorKind::RateLimited { .. } => ErrorKind::RateLimited,
        CallErrorKind::ContextTooLong => ErrorKind::ContextTooLong,
        CallErrorKind::Refused | CallErrorKind::Unsupported { .. } => ErrorKind::Refused,
        CallErrorKind::Overloaded => ErrorKind::Overloaded,
        CallErrorKind::Broken => ErrorKind::Broken,
        CallErrorKind::TimedOut => ErrorKind::TimedOut,
        CallErrorKind::Unreachable => ErrorKind::Unreachable,
        CallErrorKind::Cancelled => ErrorKind::Cancelled,
        CallErrorKind::TooLarge => ErrorKind::TooLarge,
        CallErrorKind::Lost => ErrorKind::Lost,
    }
}

impl From<CallFailure> for Error {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Error(error) => error,
            CallFailure::Call(error) => Self::Call(Box::new(FailedCall {
                kind: error_kind(&error),
                text: error.to_string(),
                retry_after: error.rate_hints().retry_after,
                field: error.field().map(str::to_owned),
            })),
        }
    }
}
