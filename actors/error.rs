//! The errors of the actors.

use crate::runtime::reply::{self, AskError};
use arbiter_core::kernel::call::ErrorKind;
use arbiter_core::kernel::limits::MIN_PASSWORD_CHARS;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::StoreError;
use arbiter_vault::VaultError;
use std::time::Duration;

/// The reply to one question to an actor.
pub(crate) type Reply<T> = reply::Reply<Result<T, Error>>;

/// An operation of an actor that failed or was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule refuses the request; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(StoreError),
    /// More is waiting for the actor than it takes.
    #[error("{0} has too much to do; try again")]
    Busy(String),
    /// The actor failed during the request; it is restarting.
    #[error("{actor} failed while handling the request and is being restarted")]
    Crashed {
        /// Kind and id of the actor.
        actor: String,
    },
    #[error(transparent)]
    Vault(#[from] VaultAccessError),
    #[error("{0}")]
    Provider(String),
    #[error("{}", .0.text)]
    Call(Box<FailedCall>),
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// A failed call, as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCall {
    pub kind: ErrorKind,
    pub text: String,
    pub retry_after: Option<Duration>,
    pub field: Option<String>,
}

impl Error {
    /// No answer came in the time that the caller gave it.
    pub(crate) fn late(limit: Duration) -> Self {
        let text = format!("no answer came within {limit:?}");
        Self::Call(Box::new(FailedCall { kind: ErrorKind::TimedOut, text, retry_after: None, field: None }))
    }
}

impl From<AskError> for Error {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Busy { actor } => Self::Busy(actor),
            AskError::Crashed { actor } => Self::Crashed { actor },
            AskError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

/// An operation of the vault that failed or was refused.
#[derive(Debug, thiserror::Error)]
pub enum VaultAccessError {
    #[error("the vault is locked")]
    Locked,
    #[error("the password is wrong")]
    WrongPassword,
    /// Too many wrong passwords; wait.
    #[error("too many wrong passwords; try again in {retry_after_sec} s")]
    Throttled {
        /// Wait before the next attempt, in seconds.
        retry_after_sec: u64,
    },
    /// The key file is older than the newest one seen.
    #[error(
        "the key file is of generation {found}, and generation {seen} was seen: an older file was put back; \
         accept it with POST /api/v1/vault/accept-rollback, or put the newer one in its place"
    )]
    RolledBack { seen: u64, found: u64 },
    /// The key file has been there and is gone; nothing was written in its place.
    #[error(
        "the key file is missing from the data directory, and one was there before: put keys.json back, from a copy \
         or from keys.json.bak, and unlock; to go on without its keys, stop the server and run: arbiter vault reset \
         --forget-keys"
    )]
    KeyFileMissing,
    #[error("the vault failed")]
    Failed(#[source] VaultError),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(refusal) => Self::Refused(refusal),
            StoreError::Busy => Self::Busy("the store".to_owned()),
            other => Self::Store(other),
        }
    }
}

impl From<VaultError> for Error {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Locked => Self::Vault(VaultAccessError::Locked),
            VaultError::Missing { .. } => Self::Vault(VaultAccessError::KeyFileMissing),
            VaultError::WrongPassword => Self::Vault(VaultAccessError::WrongPassword),
            VaultError::NotFound(id) => Self::Refused(Refusal::not_found("key", id.as_str())),
            VaultError::Exists(id) => {
                Self::Refused(Refusal::Exists { entity: "key", id: id.as_str().to_owned() })
            }
            VaultError::HostRefused { id, host } => Self::Refused(Refusal::conflict(
                ProblemCode::KeyNotForHost,
                format!(
                    "key {id} is bound to other hosts and may not be sent to {host}; to bind it there give its \
                     value anew, as the provider's api_key or with PUT /api/v1/keys/{id}"
                ),
            )),
            VaultError::NotAKeyFile { reason } => Self::Refused(Refusal::field("file", reason)),
            VaultError::Taken(_) => Self::Refused(Refusal::conflict(ProblemCode::Exists, error.to_string())),
            VaultError::Superseded => {
                Self::Refused(Refusal::conflict(ProblemCode::Changed, error.to_string()))
            }
            VaultError::Iterations(_) => Self::Refused(Refusal::field("iterations", error.to_string())),
            VaultError::ShortPassword => Self::Refused(Refusal::field(
                "password",
                format!("must have at least {MIN_PASSWORD_CHARS} characters"),
            )),
            VaultError::Full => Self::Store(StoreError::Full),
            other => Self::Vault(VaultAccessError::Failed(other)),
        }
    }
}
