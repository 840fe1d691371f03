//! Failures of a command and their exit codes.
//!
//! Owns the exit codes. A failure's text never holds a secret.

use crate::app::{StartError, describe};
#[cfg(feature = "temporal")]
use crate::bridge::{RebuildError, WorkerError};
use crate::cli::client::problem::ServerProblem;
use crate::config::ConfigError;
use std::io::{self, Write};

/// The exit code of a failed operation.
pub const FAILED: u8 = 1;
/// The arguments cannot be used.
pub const USAGE: u8 = 2;
/// No server answers.
pub const UNREACHABLE: u8 = 69;
/// Reading or writing failed.
pub const IO: u8 = 74;
/// Wrong password, missing or insufficient token.
pub const REFUSED: u8 = 77;
/// The configuration cannot be used.
pub const CONFIGURATION: u8 = 78;

/// The failure of a command.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments cannot be used together, or something has to be given.
    #[error("{0}")]
    Usage(String),
    /// No server answers.
    #[error("{0}")]
    Unreachable(String),
    /// Reading or writing failed.
    #[error("{operation}")]
    Io {
        /// The operation that failed.
        operation: String,
        #[source]
        source: io::Error,
    },
    /// Refused on this side: a password or a password file that is not accepted.
    #[error("{0}")]
    Refused(String),
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// The server refused.
    #[error("{0}")]
    Server(Box<ServerProblem>),
    /// The server did not start, or ended with an error.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A provider worker could not start.
    #[cfg(feature = "temporal")]
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A rebuild left the data directory as it was.
    #[cfg(feature = "temporal")]
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The server sent an answer in an unknown format.
    #[error("{0}")]
    Failed(String),
    /// The reader of the output has closed it, which is no error.
    #[error("the reader of the output has gone")]
    BrokenPipe,
}

impl Failure {
    /// Returns the failure of `operation`.
    pub fn io(operation: impl Into<String>, source: io::Error) -> Self {
        Self::Io { operation: operation.into(), source }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Unreachable(_) => UNREACHABLE,
            Self::Io { .. } => IO,
            Self::Refused(_) => REFUSED,
            Self::Configuration(_) => CONFIGURATION,
            Self::Server(problem) if matches!(problem.status, 401 | 403) => REFUSED,
            Self::Start(error) => error.exit_code(),
            #[cfg(feature = "temporal")]
            Self::Worker(WorkerError::Settings(_) | WorkerError::NoServer)
            | Self::Rebuild(RebuildError::Settings(_) | RebuildError::NoServer) => USAGE,
            #[cfg(feature = "temporal")]
            Self::Worker(_)
            | Self::Rebuild(RebuildError::Vault(_) | RebuildError::NotEmpty(_) | RebuildError::NoCodec) => {
                REFUSED
            }
            #[cfg(feature = "temporal")]
            Self::Rebuild(_) => FAILED,
            Self::Server(_) | Self::Failed(_) => FAILED,
            Self::BrokenPipe => 0,
        }
    }

    /// Writes the failure with its causes to standard error.
    pub fn report(&self) {
        if !matches!(self, Self::BrokenPipe) {
            let _ = writeln!(io::stderr().lock(), "error: {}", describe(self));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16) -> Failure {
        Failure::Server(Box::new(ServerProblem { status, ..ServerProblem::default() }))
    }

    #[test]
    fn exit_code_follows_the_kind_of_failure() {
        assert_eq!(refusal(401).exit_code(), 77);
        assert_eq!(refusal(403).exit_code(), 77);
        assert_eq!(refusal(409).exit_code(), 1);
        assert_eq!(Failure::Unreachable(String::new()).exit_code(), 69);
        assert_eq!(Failure::io("reading", io::ErrorKind::NotFound.into()).exit_code(), 74);
        assert_eq!(Failure::BrokenPipe.exit_code(), 0);
    }

    #[test]
    fn failure_report_has_causes_on_one_line() {
        let failure = Failure::io("cannot read f", io::Error::other("disk on fire"));
        assert_eq!(describe(&failure), "cannot read f: disk on fire");
    }
}
