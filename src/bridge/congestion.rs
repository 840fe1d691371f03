//! Congestion control: fewer concurrent requests while the server is slow or unreachable, more while it is healthy.

use arbiter_core::kernel::backoff::Backoff;
use parking_lot::Mutex;
use std::time::Duration;

/// The response time above which the server counts as overloaded.
const SLOW_RESPONSE: Duration = Duration::from_secs(1);
/// The pauses after failed requests.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

/// A limit on concurrent requests that adapts to the server's response.
pub struct CongestionControl {
    max_limit: usize,
    window: Mutex<Window>,
}

struct Window {
    concurrency_limit: usize,
    failures: u32,
}

impl CongestionControl {
    /// Creates a limit of at most `max_limit` concurrent requests.
    pub fn new(max_limit: usize) -> Self {
        Self {
            max_limit: max_limit.max(1),
            window: Mutex::new(Window { concurrency_limit: max_limit.max(1), failures: 0 }),
        }
    }

    /// Returns the current limit of concurrent requests.
    pub fn concurrency_limit(&self) -> usize {
        self.window.lock().concurrency_limit
    }

    /// Records a request that arrived after `took`.
    pub fn on_success(&self, took: Duration) {
        let mut window = self.window.lock();
        window.failures = 0;
        if took > SLOW_RESPONSE {
            window.concurrency_limit = (window.concurrency_limit / 2).max(1);
        } else {
            window.concurrency_limit = (window.concurrency_limit + 1).min(self.max_limit);
        }
    }

    /// Records a request that did not arrive. Returns the delay before the next one.
    pub fn on_failure(&self) -> Duration {
        let mut window = self.window.lock();
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
