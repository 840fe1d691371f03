//! Whether a failed call is made again, and after which pause.
//!
//! One loop for the whole call: a budget of time, not a number of tries, says when it ends. Time that has
//! passed and a random number come in as arguments.

use crate::kernel::call::ErrorKind;
use std::time::Duration;

/// How patient a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The longest pause after the first round of failures; it doubles with each further one.
    pub base: Duration,
    /// The longest pause of all that the provider did not ask for itself.
    pub longest: Duration,
    /// The time within which a round may begin, counted from the start of the call, pauses included.
    pub budget: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            longest: Duration::from_secs(20),
            budget: Duration::from_secs(15),
        }
    }
}

/// How far the answer had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    NoByte,
    Begun,
}

/// Whether another model may be chosen within this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelState {
    Open,
    Settled,
}

/// Whether a round has providers that were not asked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    Left,
    None,
}

/// Whether the provider may be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    NotNeeded,
    Needed,
}

/// One failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: ErrorKind,
    pub retry_after: Option<Duration>,
    pub progress: Progress,
    /// Which round it was, from 1: in each, every provider that may serve the call is asked once.
    pub round: u32,
    pub elapsed: Duration,
    pub model: ModelState,
    pub others: Failover,
    pub rest: BreakerState,
}

/// What comes after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    Again(Duration),
    /// The model is chosen anew, then the same provider is asked once more at once.
    Negotiate,
    Elsewhere,
    Fail,
}

impl Policy {
    /// What comes after a failed attempt. Another provider comes before a pause. The pause is full jitter: `random` of all numbers picks any pause
    /// from none to the longest of this round; what the provider asks for is the least, if it fits.
    pub fn next(&self, failure: &Failure, random: u64) -> RetryDecision {
        if failure.progress == Progress::Begun {
            return RetryDecision::Fail;
        }
        if failure.kind == ErrorKind::NotFound && failure.model == ModelState::Open {
            return RetryDecision::Negotiate;
        }
        if failure.others == Failover::Left && failure.kind.is_worth_another_provider() {
            return RetryDecision::Elsewhere;
        }
        if failure.kind.is_transient() && failure.rest == BreakerState::NotNeeded {
            let pause = self.pause(failure.round, random).max(failure.retry_after.unwrap_or_default());
            if failure.elapsed.saturating_add(pause) < self.budget {
                return RetryDecision::Again(pause);
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

    fn failure(kind: ErrorKind) -> Failure {
        Failure {
            kind,
            retry_after: None,
            progress: Progress::NoByte,
            round: 1,
            elapsed: Duration::ZERO,
            model: ModelState::Open,
            others: Failover::None,
            rest: BreakerState::NotNeeded,
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn each_kind_of_error_is_followed_by_what_the_table_says() {
        let policy = Policy::default();
        for kind in ErrorKind::ALL {
            let alone = policy.next(&failure(*kind), 0);
            let others = policy.next(&Failure { others: Failover::Left, ..failure(*kind) }, 0);
            let wanted = match kind {
                ErrorKind::RateLimited
                | ErrorKind::Overloaded
                | ErrorKind::TimedOut
                | ErrorKind::Unreachable => (RetryDecision::Again(Duration::ZERO), RetryDecision::Elsewhere),
                ErrorKind::NotFound => (RetryDecision::Negotiate, RetryDecision::Negotiate),
                ErrorKind::Auth | ErrorKind::Broken => (RetryDecision::Fail, RetryDecision::Elsewhere),
                ErrorKind::ContextTooLong
                | ErrorKind::Refused
                | ErrorKind::Cancelled
                | ErrorKind::TooLarge
                | ErrorKind::Lost => (RetryDecision::Fail, RetryDecision::Fail),
            };
            assert_eq!((alone, others), wanted, "{kind}");
            let begun = Failure { progress: Progress::Begun, others: Failover::Left, ..failure(*kind) };
            assert_eq!(policy.next(&begun, 0), RetryDecision::Fail, "{kind} after the first byte");
            let rest = Failure { rest: BreakerState::Needed, model: ModelState::Settled, ..failure(*kind) };
            assert_eq!(policy.next(&rest, 0), RetryDecision::Fail, "{kind} of a provider that rests");
        }
        let settled =
            Failure { model: ModelState::Settled, others: Failover::Left, ..failure(ErrorKind::NotFound) };
        assert_eq!(policy.next(&settled, 0), RetryDecision::Elsewhere, "a model is chosen anew once");
    }

    #[test]
    fn pauses_are_full_jitter_that_doubles_up_to_the_longest() {
        let policy = Policy { base: ms(100), longest: ms(300), budget: ms(10_000) };
        let longest = |round| policy.next(&Failure { round, ..failure(ErrorKind::Overloaded) }, u64::MAX);
        let pauses = [1, 2, 3, 4, 99].map(longest);
        assert_eq!(pauses, [100, 200, 300, 300, 300].map(|pause| RetryDecision::Again(ms(pause))));
        assert_eq!(
            policy.next(&failure(ErrorKind::Overloaded), u64::MAX / 2),
            RetryDecision::Again(Duration::from_nanos(49_999_999))
        );
    }

    #[test]
    fn what_the_provider_asks_for_is_waited_for_as_long_as_the_budget_lasts() {
        let policy = Policy { base: ms(100), longest: ms(300), budget: ms(5_000) };
        let asked = |retry_after, elapsed| {
            let failure = Failure {
                retry_after: Some(ms(retry_after)),
                elapsed: ms(elapsed),
                ..failure(ErrorKind::RateLimited)
            };
            policy.next(&failure, u64::MAX)
        };
        assert_eq!(asked(2_000, 0), RetryDecision::Again(ms(2_000)));
        assert_eq!(asked(10, 0), RetryDecision::Again(ms(100)), "the pause of our own is not cut short");
        assert_eq!(asked(2_000, 3_000), RetryDecision::Fail, "it would end after the budget");
        assert_eq!(asked(0, 5_000), RetryDecision::Fail, "the budget is spent");
    }
}
