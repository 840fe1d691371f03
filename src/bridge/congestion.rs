//! How much is sent at one time: less when the server is slow or gone, more when it is well.

use arbiter_core::kernel::backoff::Backoff;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// An answer that takes longer says that the server has too much to do.
const SLOW_RESPONSE: Duration = Duration::from_secs(1);
/// The pauses after failed requests.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

/// The pace of the mirror.
pub struct CongestionControl {
    max_limit: usize,
    window: Mutex<Window>,
}

struct Window {
    concurrency_limit: usize,
    failures: u32,
}

impl CongestionControl {
    /// A pace of at most so many requests at one time.
    pub fn new(max_limit: usize) -> Self {
        Self {
            max_limit: max_limit.max(1),
            window: Mutex::new(Window { concurrency_limit: max_limit.max(1), failures: 0 }),
        }
    }

    /// How many requests may be made at one time.
    pub fn concurrency_limit(&self) -> usize {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).concurrency_limit
    }

    /// A request arrived after so long.
    pub fn on_success(&self, took: Duration) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.failures = 0;
        if took > SLOW_RESPONSE {
            window.concurrency_limit = (window.concurrency_limit / 2).max(1);
        } else {
            window.concurrency_limit = (window.concurrency_limit + 1).min(self.max_limit);
        }
    }

    /// A request did not arrive. Returns how long to wait before another one.
    pub fn on_failure(&self) -> Duration {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.concurrency_limit = (window.concurrency_limit / 2).max(1);
        window.failures = window.failures.saturating_add(1);
        BACKOFF.delay(window.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_server_halves_limit_and_healthy_one_restores_it() {
        let congestion = CongestionControl::new(8);
        assert_eq!(congestion.concurrency_limit(), 8);
        congestion.on_success(2 * SLOW_RESPONSE);
        assert_eq!(congestion.concurrency_limit(), 4);
        let pauses: Vec<_> = (0..9).map(|_| congestion.on_failure()).collect();
        assert_eq!(pauses[0], BACKOFF.base);
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!((pauses[8], congestion.concurrency_limit()), (BACKOFF.max, 1));
        (0..20).for_each(|_| congestion.on_success(Duration::from_millis(5)));
        assert_eq!((congestion.concurrency_limit(), congestion.on_failure()), (8, BACKOFF.base));
    }
}
