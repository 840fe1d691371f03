//! Calls to providers: how one ended, what it took, and what its end says of the provider.

use crate::kernel::ids::{AgentId, BeadId, CallId, ProjectId, ProviderId, RunId, TokenId};
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};

string_enum! {
    /// For whom a provider was called.
    pub enum Kind {
        /// A run of an agent at a bead.
        Run = "run",
        /// A client of the gateway.
        Gateway = "gateway",
        /// A person at the REPL.
        Repl = "repl",
        /// A prompt given to an agent without a bead.
        Work = "work",
    }
}

string_enum! {
    /// How a call ended.
    pub enum Outcome {
        /// With an answer.
        Answered = "answered",
        /// With an error.
        Failed = "failed",
        /// The caller went away.
        Cancelled = "cancelled",
    }
}

string_enum! {
    /// What went wrong with a call.
    pub enum ErrorKind {
        /// The provider refused the key, or wants one.
        Auth = "auth",
        /// The provider does not have the model.
        NotFound = "not_found",
        /// The provider wants fewer calls.
        RateLimited = "rate_limited",
        /// Prompt and answer do not fit into the model's context.
        ContextTooLong = "context_too_long",
        /// The provider will not serve this call however often it is made.
        Refused = "refused",
        /// The provider failed or has no capacity.
        Overloaded = "overloaded",
        /// The answer is not what the protocol promises.
        Broken = "broken",
        /// The answer did not come, or not go on, in time.
        TimedOut = "timed_out",
        /// No connection came about, or it was lost.
        Unreachable = "unreachable",
        /// The caller gave up.
        Cancelled = "cancelled",
        /// The answer is larger than the limit.
        TooLarge = "too_large",
        /// It was handed to a worker elsewhere and its end is not known; it is not made a second time.
        Lost = "lost",
    }
}

/// What the end of a call says of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthSignal {
    /// It is there and serves.
    Well,
    /// It failed: one strike.
    Strike,
    /// It will fail every call until somebody changes something.
    Down,
    /// Nothing: the reason lies with the call or with who made it.
    Neither,
}

impl ErrorKind {
    /// What a call that ended so says of the provider. A limit on the rate is a word of a provider that is
    /// well; a refused call, an unknown model or a caller who left say nothing of it.
    pub const fn judgement(self) -> HealthSignal {
        match self {
            Self::Auth => HealthSignal::Down,
            Self::Overloaded | Self::TimedOut | Self::Unreachable | Self::Broken => HealthSignal::Strike,
            Self::NotFound
            | Self::RateLimited
            | Self::ContextTooLong
            | Self::Refused
            | Self::Cancelled
            | Self::TooLarge
            | Self::Lost => HealthSignal::Neither,
        }
    }

    /// The same of a beat. Its request is always the same and good, so all but a limit on the rate is the
    /// provider's failure.
    pub const fn judgement_of_beat(self) -> HealthSignal {
        match (self, self.judgement()) {
            (Self::RateLimited, _) => HealthSignal::Neither,
            (_, HealthSignal::Neither) => HealthSignal::Strike,
            (_, judgement) => judgement,
        }
    }

    /// Whether the same call may well succeed a little later at the same provider.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded | Self::TimedOut | Self::Unreachable)
    }

    /// Whether another provider may well serve what this one did not.
    pub const fn is_worth_another_provider(self) -> bool {
        self.is_transient() || matches!(self, Self::Auth | Self::NotFound | Self::Broken)
    }
}

/// How a real call went, as its provider is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// With an answer.
    Answered,
    /// With an error.
    Failed {
        /// What went wrong.
        kind: ErrorKind,
        /// The same in words that may be shown.
        error: String,
    },
}

impl CallOutcome {
    /// What it says of the provider.
    pub const fn judgement(&self) -> HealthSignal {
        match self {
            Self::Answered => HealthSignal::Well,
            Self::Failed { kind, .. } => kind.judgement(),
        }
    }
}

/// One line of the ledger: a call to a provider, its retries included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Its id.
    pub id: CallId,
    /// When it began; a call belongs to the day and the month it began in.
    pub at: Timestamp,
    /// Who was called.
    pub provider_id: ProviderId,
    /// The model that was asked.
    pub model: String,
    /// The agent it was for.
    pub agent_id: Option<AgentId>,
    /// The project it was for.
    pub project_id: Option<ProjectId>,
    /// The bead it was for.
    pub bead_id: Option<BeadId>,
    /// The run it was part of.
    pub run_id: Option<RunId>,
    /// The token of the client that wanted it.
    pub token_id: Option<TokenId>,
    /// For whom.
    pub kind: Kind,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong.
    pub error_kind: Option<ErrorKind>,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// What it cost, in US dollars.
    pub cost_usd: f64,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
    /// How often the provider was asked.
    pub attempts: u32,
    /// The provider that was asked before and failed.
    pub failover_from: Option<ProviderId>,
    /// Why that one did not serve it.
    pub failover_reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_says_of_the_provider_follows_the_table() {
        let table = [
            (ErrorKind::Auth, HealthSignal::Down, "once", "elsewhere"),
            (ErrorKind::NotFound, HealthSignal::Neither, "once", "elsewhere"),
            (ErrorKind::RateLimited, HealthSignal::Neither, "again", "elsewhere"),
            (ErrorKind::ContextTooLong, HealthSignal::Neither, "once", "here"),
            (ErrorKind::Refused, HealthSignal::Neither, "once", "here"),
            (ErrorKind::Overloaded, HealthSignal::Strike, "again", "elsewhere"),
            (ErrorKind::Broken, HealthSignal::Strike, "once", "elsewhere"),
            (ErrorKind::TimedOut, HealthSignal::Strike, "again", "elsewhere"),
            (ErrorKind::Unreachable, HealthSignal::Strike, "again", "elsewhere"),
            (ErrorKind::Cancelled, HealthSignal::Neither, "once", "here"),
            (ErrorKind::TooLarge, HealthSignal::Neither, "once", "here"),
            (ErrorKind::Lost, HealthSignal::Neither, "once", "here"),
        ];
        assert_eq!(table.len(), ErrorKind::ALL.len());
        for (kind, judgement, again, place) in table {
            assert_eq!(kind.judgement(), judgement, "{kind}");
            assert_eq!(kind.is_transient(), again == "again", "{kind}");
            assert_eq!(kind.is_worth_another_provider(), place == "elsewhere", "{kind}");
        }
        assert_eq!(CallOutcome::Answered.judgement(), HealthSignal::Well);
    }
}
