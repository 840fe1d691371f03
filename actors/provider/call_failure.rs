//! Failed calls to a provider, and their kind in the terms of the call ledger.

use crate::error::Error;
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
