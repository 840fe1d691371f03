//! Retry policy of failed calls: the next attempt and the pause before it.
//!
//! One loop covers the whole call, and a time budget ends it, not a number of tries. The elapsed time and a random
//! number are arguments.

use crate::kernel::call::ErrorKind;
use std::time::Duration;

/// Retry limits of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest pause after the first round of failures; it doubles with each further one.
    pub base: Duration,
    /// The longest pause of all that the provider did not ask for itself.
    pub longest: Duration,
    /// The time within which a round may begin, counted from the start of the call, pauses included.
    pub budget: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            longest: Duration::from_secs(20),
            budget: Duration::from_secs(15),
        }
    }
}

/// Progress of the answer when the call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    NoOutput,
    Started,
}

/// Choice of changing the model within this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelState {
    Open,
    Settled,
}

/// Availability of providers that were not asked in this round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    Available,
    None,
}

/// Permission of the circuit breaker to ask the provider again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    Open,
}

/// One failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptFailure {
    pub kind: ErrorKind,
    pub retry_after: Option<Duration>,
    pub progress: Progress,
    /// Round, from 1: each round asks every eligible provider once.
    pub round: u32,
    pub elapsed: Duration,
    pub model: ModelState,
    pub failover: Failover,
    pub breaker_state: BreakerState,
}

/// Action after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    Retry(Duration),
    /// The model is chosen anew, then the same provider is asked once more at once.
    Negotiate,
    FailOver,
    Fail,
}

impl RetryPolicy {
    /// Returns the action after a failed attempt. Failover comes before a pause. The pause has full jitter: `random`
    /// picks a duration between zero and the maximum of this round. The provider's requested pause is the minimum, if
    /// it fits the time budget.
    pub fn next(&self, failure: &AttemptFailure, random: u64) -> RetryDecision {
        if failure.progress == Progress::Started {
            return RetryDecision::Fail;
        }
        if failure.kind == ErrorKind::NotFound && failure.model == ModelState::Open {
            return RetryDecision::Negotiate;
        }
        if failure.failover == Failover::Available && failure.kind.can_fail_over() {
            return RetryDecision::FailOver;
        }
        if failure.kind.is_transient() && failure.breaker_state == BreakerState::Closed {
            let pause = self.pause(failure.round, random).max(failure.retry_after.unwrap_or_default());
            if failure.elapsed.saturating_add(pause) < self.budget {
                return RetryDecision::Retry(pause);
            }
        }
        RetryDecision::Fail
    }

    fn pause(&self, round: u32, random: u64) -> Duration {
        let doublings = round.saturating_sub(1).min(16);
        let most = self.base.saturating_mul(1 << doublings).min(self.longest);
        let nanos = most.as_nanos().saturating_mul(u128::from(random)) / u128::from(u64::MAX);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: ErrorKind) -> AttemptFailure {
        AttemptFailure {
            kind,
            retry_after: None,
            progress: Progress::NoOutput,
            round: 1,
            elapsed: Duration::ZERO,
            model: ModelState::Open,
            failover: Failover::None,
            breaker_state: BreakerState::Closed,
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn error_kind_maps_to_retry_decision() {
        let policy = RetryPolicy::default();
        for kind in ErrorKind::ALL {
            let alone = policy.next(&failure(*kind), 0);
            let failover =
                policy.next(&AttemptFailure { failover: Failover::Available, ..failure(*kind) }, 0);
            let wanted = match kind {
                ErrorKind::RateLimited
                | ErrorKind::Overloaded
                | ErrorKind::TimedOut
                | ErrorKind::Unreachable => (RetryDecision::Retry(Duration::ZERO), RetryDecision::FailOver),
                ErrorKind::NotFound => (RetryDecision::Negotiate, RetryDecision::Negotiate),
                ErrorKind::Auth | ErrorKind::Broken => (RetryDecision::Fail, RetryDecision::FailOver),
                ErrorKind::ContextTooLong
                | ErrorKind::Refused
                | ErrorKind::Cancelled
                | ErrorKind::TooLarge
                | ErrorKind::Lost => (RetryDecision::Fail, RetryDecision::Fail),
            };
            assert_eq!((alone, failover), wanted, "{kind}");
            let begun = AttemptFailure {
                progress: Progress::Started,
                failover: Failover::Available,
                ..failure(*kind)
            };
            assert_eq!(policy.next(&begun, 0), RetryDecision::Fail, "{kind} after the first byte");
            let breaker_state = AttemptFailure {
                breaker_state: BreakerState::Open,
                model: ModelState::Settled,
                ..failure(*kind)
            };
            assert_eq!(
                policy.next(&breaker_state, 0),
                RetryDecision::Fail,
                "{kind} of a provider that rests"
            );
        }
        let settled = AttemptFailure {
            model: ModelState::Settled,
            failover: Failover::Available,
            ..failure(ErrorKind::NotFound)
        };
        assert_eq!(policy.next(&settled, 0), RetryDecision::FailOver, "a model is chosen anew once");
    }

    #[test]
    fn retry_pause_is_full_jitter_up_to_the_maximum() {
        let policy = RetryPolicy { base: ms(100), longest: ms(300), budget: ms(10_000) };
        let longest =
            |round| policy.next(&AttemptFailure { round, ..failure(ErrorKind::Overloaded) }, u64::MAX);
        let pauses = [1, 2, 3, 4, 99].map(longest);
        assert_eq!(pauses, [100, 200, 300, 300, 300].map(|pause| RetryDecision::Retry(ms(pause))));
        assert_eq!(
            policy.next(&failure(ErrorKind::Overloaded), u64::MAX / 2),
            RetryDecision::Retry(Duration::from_nanos(49_999_999))
        );
    }

    #[test]
    fn retry_after_is_honored_within_the_budget() {
        let policy = RetryPolicy { base: ms(100), longest: ms(300), budget: ms(5_000) };
        let asked = |retry_after, elapsed| {
            let failure = AttemptFailure {
                retry_after: Some(ms(retry_after)),
                elapsed: ms(elapsed),
                ..failure(ErrorKind::RateLimited)
            };
            policy.next(&failure, u64::MAX)
        };
        assert_eq!(asked(2_000, 0), RetryDecision::Retry(ms(2_000)));
        assert_eq!(asked(10, 0), RetryDecision::Retry(ms(100)), "the pause of our own is not cut short");
        assert_eq!(asked(2_000, 3_000), RetryDecision::Fail, "it would end after the budget");
        assert_eq!(asked(0, 5_000), RetryDecision::Fail, "the budget is spent");
    }
}
