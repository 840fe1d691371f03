//! Points in time as the API, the store and the events write them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr, time::Duration};

/// Milliseconds since the Unix epoch, UTC; written as RFC 3339 with three decimals, so that the text
/// sorts as the time does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Invalid RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time: {0:?}")]
pub struct InvalidTimestamp(pub String);

/// The last instant written with a four-digit year: 9999-12-31T23:59:59.999Z.
const LATEST_MS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// From milliseconds since the Unix epoch, clamped to the years 1970 to 9999.
    pub const fn from_millis(ms: i64) -> Self {
        if ms < 0 {
            Self(0)
        } else if ms > LATEST_MS {
            Self(LATEST_MS)
        } else {
            Self(ms)
        }
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant and `span` more; clamped at the last representable instant.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let ms = i64::try_from(span.as_millis()).unwrap_or(LATEST_MS);
        Self::from_millis(self.0.saturating_add(ms))
    }

    /// This instant and `span` less; clamped at the first representable instant.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        let ms = i64::try_from(span.as_millis()).unwrap_or(LATEST_MS);
        Self::from_millis(self.0.saturating_sub(ms))
    }

    /// Returns the time elapsed since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The constructor keeps the value within jiff's range, so the fallback is never printed.
        let at = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{at:.3}")
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        text.parse::<jiff::Timestamp>()
            .map(|at| Self::from_millis(at.as_millisecond()))
            .map_err(|_| InvalidTimestamp(text.chars().take(64).collect()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_round_trips_with_milliseconds() {
        let at = Timestamp::from_millis(1_795_392_000_007);
        assert_eq!(at.to_string(), "2026-11-23T00:00:00.007Z");
        assert_eq!(at.to_string().parse(), Ok(at));
        assert_eq!("2026-11-23T01:00:00.007+01:00".parse(), Ok(at));
    }

    #[test]
    fn invalid_timestamp_is_refused() {
        assert!("tomorrow".parse::<Timestamp>().is_err());
        assert!("2026-11-23".parse::<Timestamp>().is_err());
    }

    #[test]
    fn spans_never_go_below_zero() {
        let (early, late) = (Timestamp::from_millis(5), Timestamp::from_millis(9));
        assert_eq!(late.since(early), Duration::from_millis(4));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
