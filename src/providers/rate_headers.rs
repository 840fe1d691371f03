//! Rate-limit headers of a provider's answer: remaining quota and requested wait.
//!
//! Points in time are converted to durations by the answer's own `Date`, so that the local clock does not
//! matter. Must not wait: its callers decide.

use arbiter_core::provider::rate_limit::RateHints;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use std::time::Duration;

/// Longest wait; a longer one is shortened to it.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads OpenAI's `x-ratelimit-*`, Anthropic's `anthropic-ratelimit-*` and `Retry-After`. Invalid headers count
/// as absent.
pub(crate) fn read(headers: &HeaderMap) -> RateHints {
    let least = |names: &[&str]| names.iter().filter_map(|name| count(headers, name)).min();
    let spans = ["x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"];
    let moments = [
        "anthropic-ratelimit-requests-reset",
        "anthropic-ratelimit-tokens-reset",
        "anthropic-ratelimit-input-tokens-reset",
        "anthropic-ratelimit-output-tokens-reset",
    ];
    let spans = spans.iter().filter_map(|name| parse_duration(text(headers, name)?));
    let moments = moments.iter().filter_map(|name| until(headers, text(headers, name)?.parse().ok()?));
    RateHints {
        requests_left: least(&[
            "x-ratelimit-remaining-requests",
            "x-ratelimit-remaining",
            "anthropic-ratelimit-requests-remaining",
        ]),
        tokens_left: least(&[
            "x-ratelimit-remaining-tokens",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-input-tokens-remaining",
            "anthropic-ratelimit-output-tokens-remaining",
        ]),
        reset_after: spans.chain(moments).max().map(|wait| wait.min(MAX_WAIT)),
        retry_after: retry_after(headers),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn count(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

fn seconds(text: &str, unit: f64) -> Option<Duration> {
    let count: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(count * unit).ok()
}

/// Parses `6m0s`, `1h2m3.5s`, `20ms`, or plain seconds as Azure writes them.
fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 5] = [("ms", 0.001), ("d", 86_400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
    if let Some(plain) = seconds(text, 1.0) {
        return Some(plain);
    }
    let mut rest = text;
    let mut whole = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let (unit, factor) = UNITS.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        whole = whole.checked_add(seconds(number, factor)?)?;
        rest = &after[unit.len()..];
    }
    Some(whole).filter(|_| !text.is_empty())
}

/// Returns the duration from the answer's own date to `moment`.
fn until(headers: &HeaderMap, moment: jiff::Timestamp) -> Option<Duration> {
    let parse_duration = moment.duration_since(date(text(headers, DATE.as_str())?)?);
    Some(Duration::try_from(parse_duration).unwrap_or(Duration::ZERO))
}

fn date(text: &str) -> Option<jiff::Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// Reads `retry-after-ms`, or `Retry-After` in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let milliseconds = || seconds(text(headers, "retry-after-ms")?, 0.001);
    let given = || {
        let given = text(headers, RETRY_AFTER.as_str())?;
        seconds(given, 1.0).or_else(|| until(headers, date(given)?))
    };
    milliseconds().or_else(given).map(|wait| wait.min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::provider::rate_limit::RateHints;
    use reqwest::header::{HeaderName, HeaderValue};

    const NOW: (&str, &str) = ("date", "Wed, 21 Oct 2026 07:27:00 GMT");

    fn read(pairs: &[(&'static str, &'static str)]) -> RateHints {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        super::read(&pairs.collect())
    }

    #[test]
    fn retry_after_is_read_in_every_form_and_bounded() {
        let wait = |pairs: &[(&'static str, &'static str)]| read(pairs).retry_after;
        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[("retry-after", "1.5")]), Some(Duration::from_millis(1500)));
        assert_eq!(
            wait(&[("retry-after-ms", "250"), ("retry-after", "1")]),
            Some(Duration::from_millis(250))
        );
        let later = ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT");
        assert_eq!(wait(&[NOW, later]), Some(Duration::from_secs(60)));
        assert_eq!(wait(&[NOW, ("retry-after", "Wed, 21 Oct 2026 07:26:00 GMT")]), Some(Duration::ZERO));
        assert_eq!(wait(&[later]), None, "nothing says what time it is there");
        assert_eq!(wait(&[("retry-after", "99999999999")]), Some(MAX_WAIT));
        for nonsense in ["-1", "soon", "NaN", ""] {
            assert_eq!(wait(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
        assert_eq!(read(&[]), RateHints::default());
    }

    #[test]
    fn openai_rate_headers_are_read() {
        let hints = read(&[
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-remaining-tokens", "199968"),
            ("x-ratelimit-reset-requests", "8.64s"),
            ("x-ratelimit-reset-tokens", "1m0.5s"),
        ]);
        let expected = RateHints {
            requests_left: Some(9999),
            tokens_left: Some(199_968),
            reset_after: Some(Duration::from_millis(60_500)),
            retry_after: None,
        };
        assert_eq!(hints, expected);
    }

    #[test]
    fn anthropic_rate_headers_are_read() {
        let hints = read(&[
            NOW,
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-10-21T07:27:01Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "40000"),
            ("anthropic-ratelimit-output-tokens-remaining", "8000"),
            ("anthropic-ratelimit-output-tokens-reset", "2026-10-21T07:27:30Z"),
            ("retry-after", "12"),
        ]);
        let expected = RateHints {
            requests_left: Some(49),
            tokens_left: Some(8000),
            reset_after: Some(Duration::from_secs(30)),
            retry_after: Some(Duration::from_secs(12)),
        };
        assert_eq!(hints, expected);
    }

    #[test]
    fn go_durations_are_read_and_nonsense_is_ignored() {
        let table = [
            ("6m0s", Some(360_000)),
            ("20ms", Some(20)),
            ("1h2m3.5s", Some(3_723_500)),
            ("2d", Some(172_800_000)),
            ("17", Some(17_000)),
            ("", None),
            ("s", None),
            ("1x", None),
            ("1..2s", None),
            ("1", Some(1000)),
            ("-1s", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text}");
        }
        let nonsense = [("x-ratelimit-remaining-tokens", "many"), ("x-ratelimit-reset-tokens", "soon")];
        assert_eq!(read(&nonsense), RateHints::default());
        assert_eq!(read(&[("x-ratelimit-reset-tokens", "9999h")]).reset_after, Some(MAX_WAIT));
    }
}
