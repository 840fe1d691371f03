//! Every error type of this crate, and the types in their variants.
//!
//! [`StartError`] ends a start, [`Error`] a request, [`ConfigError`] the reading of a configuration and
//! [`WorkflowError`] a request to a Temporal workflow. A text of [`Error::Refused`] may be shown to clients;
//! the sources of the others name files and addresses and belong in the log.

pub use crate::app::{CatalogError, NotifyError, StartError};
#[cfg(feature = "temporal")]
pub use crate::bridge::{BridgeConfigError, WorkflowError};
pub use crate::config::{ConfigError, ConfigProblem};
pub use crate::http::TlsError;
pub use crate::key_file::KeyFileError;
pub use arbiter_actors::{Error, FailedCall, StartError as ActorSystemError, VaultAccessError};
pub use arbiter_core::kernel::refusal::Refusal;
pub use arbiter_store::{LockError, StoreError};
#[cfg(feature = "temporal")]
pub use arbiter_temporal::client::WorkflowClientError;
pub use arbiter_vault::VaultError;
