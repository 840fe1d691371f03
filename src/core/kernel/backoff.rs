//! Exponential back-off between attempts: the delay doubles from `base` up to `max`.

use std::time::Duration;

/// The delays between attempts, doubling from `base` and bounded by `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The delay after the first failure.
    pub base: Duration,
    /// The longest delay.
    pub max: Duration,
}

impl Backoff {
    /// Creates a back-off with these bounds.
    pub const fn new(base: Duration, max: Duration) -> Self {
        Self { base, max }
    }

    /// Returns the delay after so many failures in a row: `base · 2^(failures−1)`, at most `max`. No failure counts as
    /// the first one.
    pub fn delay(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        self.base.saturating_mul(2_u32.pow(doublings)).min(self.max)
    }

    /// Returns between half and all of the delay, spread by `random`, so that many waiters do not retry at the same
    /// moment. `random` is any number that the caller drew.
    pub fn jittered(&self, failures: u32, random: u64) -> Duration {
        let half = self.delay(failures) / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_nanos(random % spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
    const FULL: [(u32, u64); 8] = [(0, 1), (1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (60, 10), (u32::MAX, 10)];

    #[test]
    fn delay_doubles_from_base_to_maximum() {
        for (failures, seconds) in FULL {
            assert_eq!(BACKOFF.delay(failures), Duration::from_secs(seconds), "{failures}");
        }
    }

    #[test]
    fn jittered_delay_is_between_half_and_full() {
        for (failures, seconds) in FULL {
            let full = Duration::from_secs(seconds);
            for random in [0, 1, u64::MAX / 3, u64::MAX] {
                let delay = BACKOFF.jittered(failures, random);
                assert!(delay >= full / 2 && delay <= full, "{delay:?}");
            }
        }
    }
}
