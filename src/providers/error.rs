//! What can go wrong in a call to a provider, in one taxonomy for every wire format.
//!
//! Must not know HTTP routes or retries: who calls decides by [`CallErrorKind`] what follows.

use crate::redact::sanitize;
use arbiter_core::provider::rate_limit::RateHints;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallErrorKind {
    Auth,
    NotFound {
        model: String,
    },
    RateLimited {
        /// How long the provider asks to wait, where it says so; at most a day.
        retry_after: Option<Duration>,
    },
    /// Prompt and answer do not fit into the model's context.
    ContextTooLong,
    /// The provider will not serve this call however often it is made (malformed, filtered, unpaid), or
    /// our guard will not make it.
    Refused,
    /// The request has a field that this provider's protocol has nothing for; nothing was sent.
    Unsupported {
        /// The field, as a path within the request: `n`, `messages[2].content[0].input_audio`.
        field: String,
    },
    Overloaded,
    Broken,
    TimedOut,
    /// No connection came about, or it was lost before the answer was whole.
    Unreachable,
    Cancelled,
    TooLarge,
    Lost,
}

/// A failed call. It has no source: sources would carry a provider's words past the redaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallError {
    kind: CallErrorKind,
    detail: String,
    rate_hints: RateHints,
}

impl CallError {
    /// `detail` must have passed [`crate::redact::sanitize`] unless it is all our own words.
    pub(crate) fn new(kind: CallErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), rate_hints: RateHints::default() }
    }

    /// A field that cannot be translated, and why not.
    pub(crate) fn unsupported(field: impl Into<String>, why: &str) -> Self {
        // Paths may hold the caller's words.
        let field = sanitize(&field.into(), None);
        let detail = sanitize(&format!("{field}: {why}"), None);
        Self::new(CallErrorKind::Unsupported { field }, detail)
    }

    /// A call that was handed over and whose end is not known; `place` says where it is.
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

    /// What the provider said of its limits with the refusal.
    pub fn rate_hints(&self) -> &RateHints {
        &self.rate_hints
    }

    /// The field of the request that is at fault, where that is known.
    pub fn field(&self) -> Option<&str> {
        match &self.kind {
            CallErrorKind::Unsupported { field } => Some(field),
            _ => None,
        }
    }

    /// The words that go with the kind: short, and free of the key.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The error of a call that is not made because the provider failed too often just now.
    pub fn circuit_open() -> Self {
        Self::new(CallErrorKind::Overloaded, "it failed too often just now and is given a rest")
    }

    /// The error of a call for which a limit that is set for the provider leaves no room, and for how long
    /// that is so, where it is known.
    pub fn limit_reached(wait: Option<Duration>) -> Self {
        let detail = match wait {
            None => "it has as many calls at once as it may have",
            Some(_) => "its limits for a minute are reached",
        };
        let hints = RateHints { retry_after: wait, ..RateHints::default() };
        Self::new(CallErrorKind::RateLimited { retry_after: wait }, detail).with_rate_hints(hints)
    }

    /// The error of a call that was not begun to be answered within its time.
    pub fn timed_out(limit: Duration) -> Self {
        Self::new(CallErrorKind::TimedOut, format!("no answer within {limit:?}"))
    }

    /// What went wrong.
    pub fn kind(&self) -> &CallErrorKind {
        &self.kind
    }

    /// Returns whether the same call may well succeed later or elsewhere.
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
