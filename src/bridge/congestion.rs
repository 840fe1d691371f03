//! How much is sent at one time: less when the server is slow or gone, more when it is well.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// An answer that takes longer says that the server has too much to do.
const SLOW: Duration = Duration::from_secs(1);
/// The pause after a first failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The pace of the mirror.
pub struct Pace {
    most: usize,
    now: Mutex<Now>,
}

struct Now {
    at_once: usize,
    failures: u32,
}

impl Pace {
    /// A pace of at most so many requests at one time.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), now: Mutex::new(Now { at_once: most.max(1), failures: 0 }) }
    }

    /// How many requests may be made at one time.
    pub fn at_once(&self) -> usize {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).at_once
    }

    /// A request arrived after so long.
    pub fn arrived(&self, took: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.failures = 0;
        if took > SLOW {
            now.at_once = (now.at_once / 2).max(1);
        } else {
            now.at_once = (now.at_once + 1).min(self.most);
        }
    }

    /// A request did not arrive. Returns how long to wait before another one.
    pub fn failed(&self) -> Duration {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.at_once = (now.at_once / 2).max(1);
        now.failures = now.failures.saturating_add(1);
        FIRST_PAUSE.saturating_mul(1 << (now.failures - 1).min(10)).min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_slow_or_gone_gets_less_and_a_well_one_all() {
        let pace = Pace::new(8);
        assert_eq!(pace.at_once(), 8);
        pace.arrived(2 * SLOW);
        assert_eq!(pace.at_once(), 4);
        let pauses: Vec<_> = (0..9).map(|_| pace.failed()).collect();
        assert_eq!(pauses[0], FIRST_PAUSE);
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!((pauses[8], pace.at_once()), (LONGEST_PAUSE, 1));
        (0..20).for_each(|_| pace.arrived(Duration::from_millis(5)));
        assert_eq!((pace.at_once(), pace.failed()), (8, FIRST_PAUSE));
    }
}
