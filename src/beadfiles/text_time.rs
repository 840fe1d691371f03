//! Timestamps in the formats of bead files.

use arbiter_core::kernel::time::Timestamp;

/// Formats a time as Go does: without a fraction if it is zero, and without trailing zeros.
pub(crate) fn written(at: Timestamp) -> String {
    let full = at.to_string();
    let whole = full.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{whole}Z")
}

/// Parses RFC 3339 with any offset. Also accepts the forms of YAML files: a date alone, or a blank between date
/// and time.
pub(crate) fn read(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let text = text.trim();
    if text.len() == 10 {
        return format!("{text}T00:00:00Z").parse().ok();
    }
    let joined = text.replacen(' ', "T", 1).replace(' ', "");
    joined.parse().ok().or_else(|| format!("{joined}Z").parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_written_like_go_and_read_in_every_form() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_500, "1970-01-01T00:00:01.5Z"),
            (20, "1970-01-01T00:00:00.02Z"),
            (36_000_000, "1970-01-01T10:00:00Z"),
        ] {
            assert_eq!(written(Timestamp::from_millis(ms)), text);
            assert_eq!(read(text), Some(Timestamp::from_millis(ms)));
        }
        for same in [
            "2026-01-18T11:16:06-08:00",
            "2026-01-18 19:16:06",
            "2026-01-18 19:16:06 +00:00",
            "2026-01-18T19:16:06.0001Z",
        ] {
            assert_eq!(read(same), read("2026-01-18T19:16:06Z"), "{same}");
        }
        assert_eq!(read("2026-01-18"), read("2026-01-18T00:00:00Z"));
        assert_eq!(read("soon"), None);
    }
}
