//! Mapping of the actors' errors to problems; the only place that knows both.

use crate::http::wire::problem::ApiError;
use arbiter_actors::{Error, FailedCall, VaultAccessError};
use arbiter_core::kernel::call::ErrorKind;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::StoreError;

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Refused(Refusal::Invalid(errors))
                if errors.iter().all(|e| e.pointer == "/cursor") =>
            {
                Self::query("parameter \"cursor\" is not one that a Link header gave")
            }
            StoreError::Refused(refusal) => refusal.into(),
            StoreError::Stale { .. } => Self::new(ProblemCode::Changed, detail),
            StoreError::Full => Self::new(ProblemCode::DiskFull, "there is no space left on the disk"),
            StoreError::Busy => Self::new(ProblemCode::Busy, detail),
            StoreError::Failed => Self::new(ProblemCode::StoreFailed, detail),
            StoreError::Sqlite { .. }
            | StoreError::Unreadable { .. }
            | StoreError::Schema(_)
            | StoreError::Missing(_)
            | StoreError::Io { .. } => internal(&error),
        }
    }
}

impl From<Error> for ApiError {
    fn from(fault: Error) -> Self {
        let detail = fault.to_string();
        match fault {
            Error::Refused(refusal) => refusal.into(),
            Error::Store(error) => error.into(),
            Error::Busy(_) => Self::new(ProblemCode::Busy, detail),
            Error::Crashed { .. } => Self::new(ProblemCode::ActorCrashed, detail),
            Error::Vault(fault) => fault.into(),
            Error::Provider(_) => Self::new(ProblemCode::ProviderFailed, detail),
            Error::Call(call) => (*call).into(),
            Error::ShuttingDown => Self::new(ProblemCode::ShuttingDown, detail),
        }
    }
}

impl From<VaultAccessError> for ApiError {
    fn from(fault: VaultAccessError) -> Self {
        let detail = fault.to_string();
        match fault {
            VaultAccessError::Locked => Self::new(ProblemCode::VaultLocked, detail),
            VaultAccessError::WrongPassword => Self::new(ProblemCode::WrongPassword, detail),
            VaultAccessError::Throttled { retry_after_sec } => {
                Self::new(ProblemCode::Throttled, detail).retry_after(retry_after_sec)
            }
            VaultAccessError::KeyFileMissing => Self::new(ProblemCode::KeyFileMissing, detail),
            VaultAccessError::RolledBack { .. } => Self::new(ProblemCode::VaultRolledBack, detail),
            VaultAccessError::Failed(error) => internal(&error),
        }
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
    ApiError::new(ProblemCode::Internal, "the server met a fault; its log says which")
}

impl From<FailedCall> for ApiError {
    fn from(call: FailedCall) -> Self {
        let FailedCall { kind, text, retry_after, field } = call;
        let error = Self::new(problem_code(kind), text).with_field(field);
        match retry_after {
            Some(wait) => error.retry_after(wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)),
            None => error,
        }
    }
}

/// The problem that a failed call is to a client. That a provider refuses our key is nothing that the client's
/// key could mend.
const fn problem_code(kind: ErrorKind) -> ProblemCode {
    match kind {
        ErrorKind::NotFound => ProblemCode::ModelNotFound,
        ErrorKind::RateLimited => ProblemCode::ProviderLimited,
        ErrorKind::ContextTooLong => ProblemCode::ContextTooLong,
        ErrorKind::Refused => ProblemCode::ProviderRefused,
        ErrorKind::Overloaded => ProblemCode::ProviderOverloaded,
        ErrorKind::TimedOut | ErrorKind::Lost => ProblemCode::ProviderLate,
        ErrorKind::Auth
        | ErrorKind::Broken
        | ErrorKind::Unreachable
        | ErrorKind::Cancelled
        | ErrorKind::TooLarge => ProblemCode::ProviderFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_maps_to_its_http_status() {
        let status = |fault: Error| ApiError::from(fault).status().as_u16();
        assert_eq!(status(Error::Refused(Refusal::not_found("bead", "x"))), 404);
        assert_eq!(status(Error::Busy("bead x".into())), 503);
        assert_eq!(status(Error::Crashed { actor: "bead x".into() }), 500);
        assert_eq!(status(Error::Store(StoreError::Full)), 507);
        assert_eq!(status(Error::Store(StoreError::Failed)), 503);
        assert_eq!(status(Error::Vault(VaultAccessError::Locked)), 423);
        assert_eq!(status(Error::Vault(VaultAccessError::WrongPassword)), 403);
        assert_eq!(status(Error::Vault(VaultAccessError::Throttled { retry_after_sec: 4 })), 429);
        assert_eq!(status(Error::Vault(VaultAccessError::RolledBack { seen: 2, found: 1 })), 409);
        assert_eq!(status(Error::Vault(VaultAccessError::KeyFileMissing)), 409);
        assert_eq!(status(Error::Provider("away".into())), 502);
        assert_eq!(status(Error::ShuttingDown), 503);
    }

    #[test]
    fn internal_error_hides_its_cause_from_client() {
        let io = std::io::Error::other("/secret/place is broken");
        let error = StoreError::Io { operation: "open", path: "/secret/place".into(), source: io };
        assert!(!ApiError::from(error).detail().contains("secret"));
    }
}
