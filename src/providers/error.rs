//! Errors of a provider call, in one taxonomy for every wire format.
//!
//! Must not know HTTP routes or retries: the caller decides by [`CallErrorKind`].

use crate::redact::sanitize;
use arbiter_core::provider::rate_limit::RateHints;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Classification of a failed call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallErrorKind {
    Auth,
    NotFound {
        model: String,
    },
    RateLimited {
        /// Wait requested by the provider, if any; at most a day.
        retry_after: Option<Duration>,
    },
    /// Prompt and answer exceed the model's context.
    ContextTooLong,
    /// The provider refuses this call permanently (malformed, filtered, unpaid), or the address guard blocks
    /// it.
    Refused,
    /// The provider's protocol has no counterpart for a field of the request; nothing was sent.
    Unsupported {
        /// Path of the field within the request: `n`, `messages[2].content[0].input_audio`.
        field: String,
    },
    Overloaded,
    Broken,
    TimedOut,
    /// The connection failed, or it was lost before the answer was complete.
    Unreachable,
    Cancelled,
    TooLarge,
    Lost,
}

/// A failed call. It has no source: a source would carry a provider's text past the redaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallError {
    kind: CallErrorKind,
    detail: String,
    rate_hints: RateHints,
}

impl CallError {
    /// Creates an error. `detail` must have passed [`crate::redact::sanitize`] unless it holds only this
    /// program's text.
    pub(crate) fn new(kind: CallErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), rate_hints: RateHints::default() }
    }

    /// Builds the error for a field that cannot be translated, with the reason.
    pub(crate) fn unsupported(field: impl Into<String>, why: &str) -> Self {
        // Paths may hold the caller's text.
        let field = sanitize(&field.into(), None);
        let detail = sanitize(&format!("{field}: {why}"), None);
        Self::new(CallErrorKind::Unsupported { field }, detail)
    }

    /// Builds the error of a call with an unknown outcome after its handover; `place` names where it runs.
    pub fn lost(place: &str) -> Self {
        Self::new(
            CallErrorKind::Lost,
            sanitize(&format!("{place} has it; it is not made a second time"), None),
        )
    }

    pub(crate) fn with_rate_hints(mut self, rate_hints: RateHints) -> Self {
        self.rate_hints = rate_hints;
        self
    }

    /// Returns the provider's rate-limit headers of the refusal.
    pub fn rate_hints(&self) -> &RateHints {
        &self.rate_hints
    }

    /// Returns the request field that caused the error, if known.
    pub fn field(&self) -> Option<&str> {
        match &self.kind {
            CallErrorKind::Unsupported { field } => Some(field),
            _ => None,
        }
    }

    /// Returns the detail of the kind: short, and free of the key.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Builds the error of a call that is not made because the circuit breaker is open.
    pub fn circuit_open() -> Self {
        Self::new(CallErrorKind::Overloaded, "it failed too often just now and is given a rest")
    }

    /// Builds the error of a call that exceeds the provider's configured limit. `wait` is the time until there
    /// is room, if known.
    pub fn limit_reached(wait: Option<Duration>) -> Self {
        let detail = match wait {
            None => "it has as many calls at once as it may have",
            Some(_) => "its limits for a minute are reached",
        };
        let hints = RateHints { retry_after: wait, ..RateHints::default() };
        Self::new(CallErrorKind::RateLimited { retry_after: wait }, detail).with_rate_hints(hints)
    }

    /// Builds the error of a call whose answer did not begin in time.
    pub fn timed_out(limit: Duration) -> Self {
        Self::new(CallErrorKind::TimedOut, format!("no answer within {limit:?}"))
    }

    pub fn kind(&self) -> &CallErrorKind {
        &self.kind
    }

    /// Returns whether the same call may succeed later or with another provider.
    pub fn is_transient(&self) -> bool {
        match self.kind {
            CallErrorKind::RateLimited { .. }
            | CallErrorKind::Overloaded
            | CallErrorKind::TimedOut
            | CallErrorKind::Unreachable => true,
            CallErrorKind::Auth
            | CallErrorKind::NotFound { .. }
            | CallErrorKind::ContextTooLong
            | CallErrorKind::Refused
            | CallErrorKind::Unsupported { .. }
            | CallErrorKind::Broken
            | CallErrorKind::Cancelled
            | CallErrorKind::TooLarge
            | CallErrorKind::Lost => false,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            CallErrorKind::Auth => "the provider refused the key",
            CallErrorKind::NotFound { .. } => "the provider does not have the model",
            CallErrorKind::RateLimited { .. } => "the provider limits the rate of calls",
            CallErrorKind::ContextTooLong => "the conversation does not fit the model's context",
            CallErrorKind::Refused => "the call was refused",
            CallErrorKind::Unsupported { .. } => {
                "the provider's protocol has nothing for a field of the request"
            }
            CallErrorKind::Overloaded => "the provider is failing or overloaded",
            CallErrorKind::Broken => "the provider's answer breaks the protocol",
            CallErrorKind::TimedOut => "the provider took too long",
            CallErrorKind::Unreachable => "the provider cannot be reached",
            CallErrorKind::Cancelled => "the call was cancelled",
            CallErrorKind::TooLarge => "the provider's answer is too large",
            CallErrorKind::Lost => "the end of the call is not known",
        })?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl std::error::Error for CallError {}
