//! Calls to providers: how one ended, what it took, and what its end says of the provider.

use crate::kernel::ids::{AgentId, BeadId, CallId, ProjectId, ProviderId, RunId, TokenId};
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};

string_enum! {
    /// For whom a provider was called.
    pub enum Kind {
        Run = "run",
        Gateway = "gateway",
        Repl = "repl",
        Work = "work",
    }
}

string_enum! {
    /// How a call ended.
    pub enum Outcome {
        Answered = "answered",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

string_enum! {
    /// What went wrong with a call.
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
        /// No connection came about, or it was lost.
        Unreachable = "unreachable",
        Cancelled = "cancelled",
        TooLarge = "too_large",
        /// It was handed to a worker elsewhere and its end is not known; it is not made a second time.
        Lost = "lost",
    }
}

/// What the end of a call says of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthSignal {
    Healthy,
    /// It failed: one strike.
    Failure,
    /// It will fail every call until somebody changes something.
    Down,
    /// Nothing: the reason lies with the call or with who made it.
    Neutral,
}

impl ErrorKind {
    /// What a call that ended so says of the provider. A limit on the rate is a word of a provider that is
    /// well; a refused call, an unknown model or a caller who left say nothing of it.
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

    /// The same of a beat. Its request is always the same and good, so all but a limit on the rate is the
    /// provider's failure.
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

/// How a real call went, as its provider is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    Answered,
    Failed { kind: ErrorKind, error: String },
}

impl CallOutcome {
    /// What it says of the provider.
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
    /// When it began; a call belongs to the day and the month it began in.
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
    /// What it cost, in US dollars.
    pub cost_usd: f64,
    /// How long it took, in milliseconds.
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
