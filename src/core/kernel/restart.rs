//! Restart limit of actors: a budget of restarts in a sliding window, with growing pauses.

use crate::kernel::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// Action to take with an actor that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartVerdict {
    /// Start it again after a pause.
    Restart { after: Duration },
    /// Leaves the actor stopped, after too many failures, and informs its parent.
    GiveUp,
}

/// The restarts of one actor.
#[derive(Clone, Debug)]
pub struct RestartBudget {
    limit: usize,
    window: Duration,
    failures: VecDeque<Timestamp>,
}

/// The pause before the second restart in a window; each later one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

impl RestartBudget {
    /// At most `limit` restarts within `window`.
    pub fn new(limit: usize, window: Duration) -> Self {
        Self { limit, window, failures: VecDeque::new() }
    }

    /// Counts a failure at `now`. The first restart in a window comes at once.
    pub fn fail(&mut self, now: Timestamp) -> RestartVerdict {
        while self.failures.front().is_some_and(|first| now.since(*first) >= self.window) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let count = self.failures.len();
        if count > self.limit {
            return RestartVerdict::GiveUp;
        }
        let doublings = u32::try_from(count.saturating_sub(2)).unwrap_or(u32::MAX).min(10);
        let after = if count == 1 { Duration::ZERO } else { FIRST_PAUSE * 2u32.pow(doublings) };
        RestartVerdict::Restart { after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_budget_backs_off_then_gives_up() {
        let mut budget = RestartBudget::new(5, Duration::from_secs(60));
        let verdicts: Vec<RestartVerdict> =
            (0..6).map(|s| budget.fail(Timestamp::from_millis(s * 1000))).collect();
        let pause = |ms| RestartVerdict::Restart { after: Duration::from_millis(ms) };
        assert_eq!(verdicts, [pause(0), pause(20), pause(40), pause(80), pause(160), RestartVerdict::GiveUp]);
    }

    #[test]
    fn failures_outside_the_window_are_not_counted() {
        let mut budget = RestartBudget::new(1, Duration::from_secs(60));
        let at = |s: i64| Timestamp::from_millis(s * 1000);
        assert!(matches!(budget.fail(at(0)), RestartVerdict::Restart { .. }));
        assert!(matches!(budget.fail(at(60)), RestartVerdict::Restart { .. }));
        assert_eq!(budget.fail(at(61)), RestartVerdict::GiveUp);
    }
}
