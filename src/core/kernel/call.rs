//! Calls to providers: how one ended, what it took, and what its end says of the provider.

use crate::kernel::ids::{AgentId, BeadId, CallId, ProjectId, ProviderId, RunId, TokenId};
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};

string_enum! {
    /// Purpose of a provider call.
    pub enum Kind {
        Run = "run",
        Gateway = "gateway",
        Repl = "repl",
        Work = "work",
    }
}

string_enum! {
    /// Outcome of a call.
    pub enum Outcome {
        Answered = "answered",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

string_enum! {
    /// Kind of error of a call.
    pub enum ErrorKind {
        Auth = "auth",
        NotFound = "not_found",
        RateLimited = "rate_limited",
        /// Prompt and answer do not fit into the model's context.
        ContextTooLong = "context_too_long",
        Refused = "refused",
        Overloaded = "overloaded",
        Broken = "broken",
        TimedOut = "timed_out",
        /// Connection not established, or lost.
        Unreachable = "unreachable",
        Cancelled = "cancelled",
        TooLarge = "too_large",
        /// Handed to a remote worker with unknown outcome; it is not retried.
        Lost = "lost",
    }
}

/// Effect of a call's outcome on the provider's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthSignal {
    Healthy,
    /// One failure; counts as a strike.
    Failure,
    /// Failure that repeats for every call until an operator changes the configuration.
    Down,
    /// Neutral: the cause lies with the request or with the client.
    Neutral,
}

impl ErrorKind {
    /// Returns the health signal of this error. A rate limit comes from a healthy provider. A refused call, an unknown
    /// model or a client disconnect is neutral.
    pub const fn health_signal(self) -> HealthSignal {
        match self {
            Self::Auth => HealthSignal::Down,
            Self::Overloaded | Self::TimedOut | Self::Unreachable | Self::Broken => HealthSignal::Failure,
            Self::NotFound
            | Self::RateLimited
            | Self::ContextTooLong
            | Self::Refused
            | Self::Cancelled
            | Self::TooLarge
            | Self::Lost => HealthSignal::Neutral,
        }
    }

    /// Returns the health signal of this error on a heartbeat. The request is always valid, so every error but a rate
    /// limit is the provider's failure.
    pub const fn heartbeat_signal(self) -> HealthSignal {
        match (self, self.health_signal()) {
            (Self::RateLimited, _) => HealthSignal::Neutral,
            (_, HealthSignal::Neutral) => HealthSignal::Failure,
            (_, health_signal) => health_signal,
        }
    }

    /// Returns whether the same call may well succeed a little later at the same provider.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded | Self::TimedOut | Self::Unreachable)
    }

    /// Returns whether another provider may well serve what this one did not.
    pub const fn can_fail_over(self) -> bool {
        self.is_transient() || matches!(self, Self::Auth | Self::NotFound | Self::Broken)
    }
}

/// Outcome of a real call, as reported to its provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    Answered,
    Failed { kind: ErrorKind, error: String },
}

impl CallOutcome {
    /// Returns the health signal of this outcome.
    pub const fn health_signal(&self) -> HealthSignal {
        match self {
            Self::Answered => HealthSignal::Healthy,
            Self::Failed { kind, .. } => kind.health_signal(),
        }
    }
}

/// One line of the ledger: a call to a provider, its retries included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub id: CallId,
    /// Start time; a call belongs to the day and the month in which it began.
    pub at: Timestamp,
    pub provider_id: ProviderId,
    pub model: String,
    pub agent_id: Option<AgentId>,
    pub project_id: Option<ProjectId>,
    pub bead_id: Option<BeadId>,
    pub run_id: Option<RunId>,
    pub token_id: Option<TokenId>,
    pub kind: Kind,
    pub outcome: Outcome,
    pub error_kind: Option<ErrorKind>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Cost in US dollars.
    pub cost_usd: f64,
    /// Latency in milliseconds.
    pub latency_ms: u64,
    pub attempts: u32,
    pub failover_from: Option<ProviderId>,
    pub failover_reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_kind_maps_to_signal_retry_and_failover() {
        let table = [
            (ErrorKind::Auth, HealthSignal::Down, "once", "elsewhere"),
            (ErrorKind::NotFound, HealthSignal::Neutral, "once", "elsewhere"),
            (ErrorKind::RateLimited, HealthSignal::Neutral, "again", "elsewhere"),
            (ErrorKind::ContextTooLong, HealthSignal::Neutral, "once", "here"),
            (ErrorKind::Refused, HealthSignal::Neutral, "once", "here"),
            (ErrorKind::Overloaded, HealthSignal::Failure, "again", "elsewhere"),
            (ErrorKind::Broken, HealthSignal::Failure, "once", "elsewhere"),
            (ErrorKind::TimedOut, HealthSignal::Failure, "again", "elsewhere"),
            (ErrorKind::Unreachable, HealthSignal::Failure, "again", "elsewhere"),
            (ErrorKind::Cancelled, HealthSignal::Neutral, "once", "here"),
            (ErrorKind::TooLarge, HealthSignal::Neutral, "once", "here"),
            (ErrorKind::Lost, HealthSignal::Neutral, "once", "here"),
        ];
        assert_eq!(table.len(), ErrorKind::ALL.len());
        for (kind, health_signal, again, place) in table {
            assert_eq!(kind.health_signal(), health_signal, "{kind}");
            assert_eq!(kind.is_transient(), again == "again", "{kind}");
            assert_eq!(kind.can_fail_over(), place == "elsewhere", "{kind}");
        }
        assert_eq!(CallOutcome::Answered.health_signal(), HealthSignal::Healthy);
    }
}
