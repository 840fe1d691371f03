//! Pauses between attempts: doubling, bounded, with full jitter so that the waiting do not march in step.

use std::time::Duration;

/// A pause before attempt `attempt` (1 is the first retry): between half and all of
/// `base · 2^(attempt−1)`, at most `longest`. `random` is any number the caller drew.
pub fn pause(attempt: u32, base: Duration, longest: Duration, random: u64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(30);
    let full = base.saturating_mul(2u32.pow(doublings)).min(longest);
    let half = full / 2;
    let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_nanos(random % spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_the_maximum_with_half_jitter() {
        let (base, longest) = (Duration::from_secs(1), Duration::from_secs(10));
        for (attempt, full) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (60, 10)] {
            for random in [0, 1, u64::MAX / 3, u64::MAX] {
                let pause = pause(attempt, base, longest, random);
                assert!(
                    pause >= Duration::from_secs(full) / 2 && pause <= Duration::from_secs(full),
                    "{pause:?}"
                );
            }
        }
    }
}
