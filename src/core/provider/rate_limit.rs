//! Rate limiter of a provider: the operator's limits, and the provider's own hints.
//!
//! A hint holds until the time that it names. If a provider rejects calls without a time, it gets a pause that doubles
//! with each repetition. The current time is an argument.

use crate::kernel::backoff::Backoff;
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Pauses after refusals that name no time.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
const MINUTE_MS: f64 = 60_000.0;

/// Operator's limits per minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Calls that begin; none: any number.
    pub requests_per_minute: Option<u32>,
    /// Tokens, in and out together; none: any number.
    pub tokens_per_minute: Option<u64>,
}

/// Limits that a provider reports with an answer; empty where it reports none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateHints {
    pub requests_left: Option<u64>,
    /// Tokens left before the limit resets; the lowest of its token counts.
    pub tokens_left: Option<u64>,
    /// After how long all its limits are full again; at most a day.
    pub reset_after: Option<Duration>,
    /// Requested pause before the next call; at most a day.
    pub retry_after: Option<Duration>,
}

/// Outcome of an answer with respect to rate limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitSignal {
    Served,
    TooMany,
}

/// Refusal of a call that has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

/// The pace of one provider.
#[derive(Clone, Debug, Default)]
pub struct RateLimiter {
    requests: Bucket,
    tokens: Bucket,
    window: Option<RateWindow>,
    cooldown: Option<Cooldown>,
    /// Refusals in a row that named no time.
    refusals: u32,
}

/// A time to wait. A clock that was set back does not make it longer.
#[derive(Clone, Copy, Debug)]
struct Cooldown {
    from: Timestamp,
    length: Duration,
}

impl Cooldown {
    fn left(&mut self, now: Timestamp) -> Option<Duration> {
        self.from = self.from.min(now);
        self.length.checked_sub(now.since(self.from)).filter(|left| !left.is_zero())
    }
}

/// Remaining allowance of the provider until its limits reset.
#[derive(Clone, Copy, Debug)]
struct RateWindow {
    until: Cooldown,
    requests_left: Option<u64>,
    tokens_left: Option<u64>,
}

/// Token bucket of one limit; it refills evenly in a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    used: f64,
    at: Timestamp,
}

impl Bucket {
    fn refill(&mut self, limit: f64, now: Timestamp) {
        #[allow(clippy::cast_precision_loss)] // a time in milliseconds
        let passed = now.since(self.at).as_millis() as f64;
        self.used = (self.used - passed * limit / MINUTE_MS).max(0.0);
        self.at = now;
    }

    /// Returns the time until `wanted` is available; an amount above the limit waits for a full bucket.
    fn wait(&self, wanted: f64, limit: f64) -> Option<Duration> {
        let missing = self.used + wanted.min(limit) - limit;
        // Less than a millionth is a matter of rounding.
        (missing > 1e-6)
            .then(|| Duration::from_secs_f64((missing * MINUTE_MS / limit / 1_000.0).min(3_600.0)))
    }
}

#[allow(clippy::cast_precision_loss)] // limits stay far below 2^52
fn number(count: u64) -> f64 {
    count as f64
}

impl RateLimiter {
    /// Asks whether a call of about so many tokens may begin now, and counts it if so.
    ///
    /// # Errors
    /// [`RetryAfter`] until it is worth asking again; nothing is counted then.
    pub fn admit(&mut self, limits: RateLimits, tokens: u64, now: Timestamp) -> Result<(), RetryAfter> {
        if let Some(left) = self.cooldown.as_mut().and_then(|cooldown| cooldown.left(now)) {
            return Err(RetryAfter(left));
        }
        self.cooldown = None;
        let left = self.window.as_mut().and_then(|window| window.until.left(now));
        self.window = self.window.filter(|_| left.is_some());
        if let Some((window, left)) = self.window.zip(left) {
            let is_full =
                window.requests_left == Some(0) || window.tokens_left.is_some_and(|left| left < tokens);
            if is_full {
                return Err(RetryAfter(left));
            }
        }
        let requests = limits.requests_per_minute.map(f64::from);
        let token_limit = limits.tokens_per_minute.map(number);
        let mut wait = None;
        for (bucket, limit, wanted) in
            [(&mut self.requests, requests, 1.0), (&mut self.tokens, token_limit, number(tokens))]
        {
            let Some(limit) = limit else { continue };
            bucket.refill(limit, now);
            wait = wait.max(bucket.wait(wanted, limit));
        }
        if let Some(wait) = wait {
            return Err(RetryAfter(wait));
        }
        if requests.is_some() {
            self.requests.used += 1.0;
        }
        if token_limit.is_some() {
            self.tokens.used += number(tokens);
        }
        if let Some(window) = &mut self.window {
            window.requests_left = window.requests_left.map(|left| left.saturating_sub(1));
            window.tokens_left = window.tokens_left.map(|left| left.saturating_sub(tokens));
        }
        Ok(())
    }

    /// Corrects the token count of a call from its estimate to its usage.
    pub fn settle(&mut self, counted: u64, took: u64) {
        self.tokens.used = (self.tokens.used - number(counted) + number(took)).max(0.0);
    }

    /// Returns the allowance of a call that was counted but never made.
    pub fn refund(&mut self, counted: u64) {
        self.requests.used = (self.requests.used - 1.0).max(0.0);
        self.settle(counted, 0);
        if let Some(window) = &mut self.window {
            window.requests_left = window.requests_left.map(|left| left.saturating_add(1));
            window.tokens_left = window.tokens_left.map(|left| left.saturating_add(counted));
        }
    }

    /// Records the rate hints of an answer.
    pub fn record_hints(&mut self, word: &RateHints, signal: LimitSignal, now: Timestamp) {
        if let Some(reset) =
            word.reset_after.filter(|_| word.requests_left.is_some() || word.tokens_left.is_some())
        {
            let RateHints { requests_left, tokens_left, .. } = *word;
            let until = Cooldown { from: now, length: reset };
            self.window = Some(RateWindow { until, requests_left, tokens_left });
        }
        if signal == LimitSignal::Served {
            self.refusals = 0;
            return;
        }
        let named = word.retry_after.or(word.reset_after);
        let pause = named.unwrap_or_else(|| {
            self.refusals = self.refusals.saturating_add(1);
            BACKOFF.delay(self.refusals)
        });
        let left = self.cooldown.as_mut().and_then(|cooldown| cooldown.left(now)).unwrap_or_default();
        self.cooldown = Some(Cooldown { from: now, length: pause.max(left) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn wait(ms: u64) -> Result<(), RetryAfter> {
        Err(RetryAfter(Duration::from_millis(ms)))
    }

    #[test]
    fn requests_are_limited_per_minute() {
        let mut rate_limiter = RateLimiter::default();
        let limits = RateLimits { requests_per_minute: Some(60), tokens_per_minute: None };
        let begun = (0..100).filter(|_| rate_limiter.admit(limits, 10, at(0)).is_ok()).count();
        assert_eq!(begun, 60, "a minute's worth at once");
        assert_eq!(rate_limiter.admit(limits, 10, at(0)), wait(1_000));
        assert_eq!(rate_limiter.admit(limits, 10, at(1_000)), Ok(()));
        assert_eq!(rate_limiter.admit(limits, 10, at(1_500)), wait(500));
        let begun = (0..100).filter(|_| rate_limiter.admit(limits, 10, at(600_000)).is_ok()).count();
        assert_eq!(begun, 60, "what was not used does not pile up");
    }

    #[test]
    fn token_estimates_are_corrected_after_the_call() {
        let mut rate_limiter = RateLimiter::default();
        let limits = RateLimits { requests_per_minute: None, tokens_per_minute: Some(6_000) };
        assert_eq!(rate_limiter.admit(limits, 5_000, at(0)), Ok(()));
        assert_eq!(rate_limiter.admit(limits, 2_000, at(0)), wait(10_000));
        rate_limiter.settle(5_000, 100);
        assert_eq!(rate_limiter.admit(limits, 2_000, at(0)), Ok(()));
        rate_limiter.refund(2_000);
        assert_eq!(rate_limiter.admit(limits, 5_900, at(0)), Ok(()));
        // A call that is larger than the limit gets through when nothing else was taken.
        assert_eq!(rate_limiter.admit(limits, 50_000, at(30_000)), wait(30_000));
        assert_eq!(rate_limiter.admit(limits, 50_000, at(60_000)), Ok(()));
    }

    #[test]
    fn provider_hints_hold_until_their_reset() {
        let mut rate_limiter = RateLimiter::default();
        let word = RateHints {
            requests_left: Some(2),
            tokens_left: Some(1_000),
            reset_after: Some(Duration::from_secs(5)),
            retry_after: None,
        };
        rate_limiter.record_hints(&word, LimitSignal::Served, at(0));
        let none = RateLimits::default();
        assert_eq!(rate_limiter.admit(none, 2_000, at(0)), wait(5_000), "more tokens than are left");
        assert_eq!(rate_limiter.admit(none, 400, at(0)), Ok(()));
        assert_eq!(rate_limiter.admit(none, 400, at(0)), Ok(()));
        assert_eq!(rate_limiter.admit(none, 0, at(1_000)), wait(4_000), "no request is left");
        assert_eq!(rate_limiter.admit(none, 2_000, at(5_000)), Ok(()));
        let later = RateHints { retry_after: Some(Duration::from_secs(3)), ..RateHints::default() };
        rate_limiter.record_hints(&later, LimitSignal::TooMany, at(6_000));
        rate_limiter.record_hints(&RateHints::default(), LimitSignal::Served, at(6_500));
        assert_eq!(
            rate_limiter.admit(none, 1, at(7_000)),
            wait(2_000),
            "a call that was on its way changes nothing"
        );
        assert_eq!(rate_limiter.admit(none, 1, at(9_000)), Ok(()));
        rate_limiter.record_hints(&later, LimitSignal::TooMany, at(9_000));
        assert_eq!(
            rate_limiter.admit(none, 1, at(1_000)),
            wait(3_000),
            "a clock set back makes no wait longer"
        );
    }

    #[test]
    fn cooldown_without_hint_doubles_each_time() {
        let mut rate_limiter = RateLimiter::default();
        let mut now = 0;
        for wanted in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            rate_limiter.record_hints(&RateHints::default(), LimitSignal::TooMany, at(now));
            assert_eq!(rate_limiter.admit(RateLimits::default(), 1, at(now)), wait(wanted));
            now += i64::try_from(wanted).unwrap();
            assert_eq!(rate_limiter.admit(RateLimits::default(), 1, at(now)), Ok(()));
        }
        rate_limiter.record_hints(&RateHints::default(), LimitSignal::Served, at(now));
        rate_limiter.record_hints(&RateHints::default(), LimitSignal::TooMany, at(now));
        assert_eq!(rate_limiter.admit(RateLimits::default(), 1, at(now)), wait(1_000));
    }
}
