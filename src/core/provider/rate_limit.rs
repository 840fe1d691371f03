//! How fast a provider is asked: by the limits that the operator set, and by what the provider says of its own.
//!
//! What it says is believed until the time it names. One that wants fewer calls and does not say for how long
//! is left alone for a while that doubles each time it says so again. The time comes in as an argument.

use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a provider is left alone that wants fewer calls and says no more than that.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const MINUTE_MS: f64 = 60_000.0;

/// What the operator allows in a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls that begin; none: any number.
    pub requests_per_minute: Option<u32>,
    /// Tokens, in and out together; none: any number.
    pub tokens_per_minute: Option<u64>,
}

/// What a provider said of its limits with an answer; nothing where it said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateHints {
    pub requests_left: Option<u64>,
    /// How many more tokens it takes before the limit resets; the least of its counts of tokens.
    pub tokens_left: Option<u64>,
    /// After how long all its limits are full again; at most a day.
    pub reset_after: Option<Duration>,
    /// How long it asks to wait before the next call; at most a day.
    pub retry_after: Option<Duration>,
}

/// What an answer was, as far as limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitSignal {
    Served,
    TooMany,
}

/// A call that may not begin yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// The pace of one provider.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    requests: Bucket,
    tokens: Bucket,
    told: Option<Told>,
    closed: Option<Rest>,
    /// Refusals in a row that named no time.
    refusals: u32,
}

/// A time to wait. A clock that was set back does not make it longer.
#[derive(Clone, Copy, Debug)]
struct Rest {
    from: Timestamp,
    length: Duration,
}

impl Rest {
    fn left(&mut self, now: Timestamp) -> Option<Duration> {
        self.from = self.from.min(now);
        self.length.checked_sub(now.since(self.from)).filter(|left| !left.is_zero())
    }
}

/// What the provider lets through until its limits reset.
#[derive(Clone, Copy, Debug)]
struct Told {
    until: Rest,
    requests_left: Option<u64>,
    tokens_left: Option<u64>,
}

/// What is left of a limit; it fills evenly, a minute from empty to full.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    taken: f64,
    at: Timestamp,
}

impl Bucket {
    fn flow(&mut self, limit: f64, now: Timestamp) {
        #[allow(clippy::cast_precision_loss)] // a time in milliseconds
        let passed = now.since(self.at).as_millis() as f64;
        self.taken = (self.taken - passed * limit / MINUTE_MS).max(0.0);
        self.at = now;
    }

    /// How long it takes until so much is there; what is more than the whole is there when it is full.
    fn wait(&self, wanted: f64, limit: f64) -> Option<Duration> {
        let missing = self.taken + wanted.min(limit) - limit;
        // Less than a millionth is a matter of rounding.
        (missing > 1e-6)
            .then(|| Duration::from_secs_f64((missing * MINUTE_MS / limit / 1_000.0).min(3_600.0)))
    }
}

#[allow(clippy::cast_precision_loss)] // limits stay far below 2^52
fn number(count: u64) -> f64 {
    count as f64
}

impl Pace {
    /// Asks whether a call of about so many tokens may begin now, and counts it if so.
    ///
    /// # Errors
    /// [`Wait`] until it is worth asking again; nothing is counted then.
    pub fn admit(&mut self, limits: Limits, tokens: u64, now: Timestamp) -> Result<(), Wait> {
        if let Some(left) = self.closed.as_mut().and_then(|closed| closed.left(now)) {
            return Err(Wait(left));
        }
        self.closed = None;
        let left = self.told.as_mut().and_then(|told| told.until.left(now));
        self.told = self.told.filter(|_| left.is_some());
        if let Some((told, left)) = self.told.zip(left) {
            let is_full = told.requests_left == Some(0) || told.tokens_left.is_some_and(|left| left < tokens);
            if is_full {
                return Err(Wait(left));
            }
        }
        let requests = limits.requests_per_minute.map(f64::from);
        let token_limit = limits.tokens_per_minute.map(number);
        let mut wait = None;
        for (bucket, limit, wanted) in
            [(&mut self.requests, requests, 1.0), (&mut self.tokens, token_limit, number(tokens))]
        {
            let Some(limit) = limit else { continue };
            bucket.flow(limit, now);
            wait = wait.max(bucket.wait(wanted, limit));
        }
        if let Some(wait) = wait {
            return Err(Wait(wait));
        }
        if requests.is_some() {
            self.requests.taken += 1.0;
        }
        if token_limit.is_some() {
            self.tokens.taken += number(tokens);
        }
        if let Some(told) = &mut self.told {
            told.requests_left = told.requests_left.map(|left| left.saturating_sub(1));
            told.tokens_left = told.tokens_left.map(|left| left.saturating_sub(tokens));
        }
        Ok(())
    }

    /// A call that was counted for so many tokens took so many.
    pub fn settle(&mut self, counted: u64, took: u64) {
        self.tokens.taken = (self.tokens.taken - number(counted) + number(took)).max(0.0);
    }

    /// A call that was counted was never made.
    pub fn take_back(&mut self, counted: u64) {
        self.requests.taken = (self.requests.taken - 1.0).max(0.0);
        self.settle(counted, 0);
        if let Some(told) = &mut self.told {
            told.requests_left = told.requests_left.map(|left| left.saturating_add(1));
            told.tokens_left = told.tokens_left.map(|left| left.saturating_add(counted));
        }
    }

    /// Takes note of what came with an answer.
    pub fn hear(&mut self, word: &RateHints, heard: LimitSignal, now: Timestamp) {
        if let Some(reset) =
            word.reset_after.filter(|_| word.requests_left.is_some() || word.tokens_left.is_some())
        {
            let RateHints { requests_left, tokens_left, .. } = *word;
            let until = Rest { from: now, length: reset };
            self.told = Some(Told { until, requests_left, tokens_left });
        }
        if heard == LimitSignal::Served {
            self.refusals = 0;
            return;
        }
        let named = word.retry_after.or(word.reset_after);
        let pause = named.unwrap_or_else(|| {
            self.refusals = self.refusals.saturating_add(1);
            FIRST_PAUSE.saturating_mul(1 << (self.refusals - 1).min(10)).min(LONGEST_PAUSE)
        });
        let left = self.closed.as_mut().and_then(|closed| closed.left(now)).unwrap_or_default();
        self.closed = Some(Rest { from: now, length: pause.max(left) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn wait(ms: u64) -> Result<(), Wait> {
        Err(Wait(Duration::from_millis(ms)))
    }

    #[test]
    fn calls_come_as_fast_as_the_operator_allows() {
        let mut pace = Pace::default();
        let limits = Limits { requests_per_minute: Some(60), tokens_per_minute: None };
        let begun = (0..100).filter(|_| pace.admit(limits, 10, at(0)).is_ok()).count();
        assert_eq!(begun, 60, "a minute's worth at once");
        assert_eq!(pace.admit(limits, 10, at(0)), wait(1_000));
        assert_eq!(pace.admit(limits, 10, at(1_000)), Ok(()));
        assert_eq!(pace.admit(limits, 10, at(1_500)), wait(500));
        let begun = (0..100).filter(|_| pace.admit(limits, 10, at(600_000)).is_ok()).count();
        assert_eq!(begun, 60, "what was not used does not pile up");
    }

    #[test]
    fn tokens_are_counted_as_they_may_be_and_corrected_to_what_they_were() {
        let mut pace = Pace::default();
        let limits = Limits { requests_per_minute: None, tokens_per_minute: Some(6_000) };
        assert_eq!(pace.admit(limits, 5_000, at(0)), Ok(()));
        assert_eq!(pace.admit(limits, 2_000, at(0)), wait(10_000));
        pace.settle(5_000, 100);
        assert_eq!(pace.admit(limits, 2_000, at(0)), Ok(()));
        pace.take_back(2_000);
        assert_eq!(pace.admit(limits, 5_900, at(0)), Ok(()));
        // A call that is larger than the limit gets through when nothing else was taken.
        assert_eq!(pace.admit(limits, 50_000, at(30_000)), wait(30_000));
        assert_eq!(pace.admit(limits, 50_000, at(60_000)), Ok(()));
    }

    #[test]
    fn what_a_provider_says_is_believed_until_the_time_it_names() {
        let mut pace = Pace::default();
        let word = RateHints {
            requests_left: Some(2),
            tokens_left: Some(1_000),
            reset_after: Some(Duration::from_secs(5)),
            retry_after: None,
        };
        pace.hear(&word, LimitSignal::Served, at(0));
        let none = Limits::default();
        assert_eq!(pace.admit(none, 2_000, at(0)), wait(5_000), "more tokens than are left");
        assert_eq!(pace.admit(none, 400, at(0)), Ok(()));
        assert_eq!(pace.admit(none, 400, at(0)), Ok(()));
        assert_eq!(pace.admit(none, 0, at(1_000)), wait(4_000), "no request is left");
        assert_eq!(pace.admit(none, 2_000, at(5_000)), Ok(()));
        let later = RateHints { retry_after: Some(Duration::from_secs(3)), ..RateHints::default() };
        pace.hear(&later, LimitSignal::TooMany, at(6_000));
        pace.hear(&RateHints::default(), LimitSignal::Served, at(6_500));
        assert_eq!(pace.admit(none, 1, at(7_000)), wait(2_000), "a call that was on its way changes nothing");
        assert_eq!(pace.admit(none, 1, at(9_000)), Ok(()));
        pace.hear(&later, LimitSignal::TooMany, at(9_000));
        assert_eq!(pace.admit(none, 1, at(1_000)), wait(3_000), "a clock set back makes no wait longer");
    }

    #[test]
    fn one_that_names_no_time_is_left_alone_longer_each_time() {
        let mut pace = Pace::default();
        let mut now = 0;
        for wanted in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            pace.hear(&RateHints::default(), LimitSignal::TooMany, at(now));
            assert_eq!(pace.admit(Limits::default(), 1, at(now)), wait(wanted));
            now += i64::try_from(wanted).unwrap();
            assert_eq!(pace.admit(Limits::default(), 1, at(now)), Ok(()));
        }
        pace.hear(&RateHints::default(), LimitSignal::Served, at(now));
        pace.hear(&RateHints::default(), LimitSignal::TooMany, at(now));
        assert_eq!(pace.admit(Limits::default(), 1, at(now)), wait(1_000));
    }
}
