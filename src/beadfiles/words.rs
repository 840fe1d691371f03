//! Mapping between the files' words for statuses and types and this program's.

use crate::bead::BeadState;
use arbiter_core::bead::Status;

/// Prefix of a blocked reason that holds a foreign status.
pub(crate) const FOREIGN_STATUS_PREFIX: &str = "bd:";

/// Maps a foreign status to a bead state. An unknown status becomes `blocked` with a reason that names it.
pub fn state_from_word(word: &str) -> BeadState {
    let lower = word.to_ascii_lowercase();
    let plain = |status| BeadState { status, reason: None };
    match lower.as_str() {
        "" | "open" => plain(Status::Open),
        "in_progress" | "hooked" => plain(Status::InProgress),
        "blocked" => plain(Status::Blocked),
        "closed" => plain(Status::Closed),
        other => {
            BeadState { status: Status::Blocked, reason: Some(format!("{FOREIGN_STATUS_PREFIX}{other}")) }
        }
    }
}

/// Returns the files' word for a bead state.
pub(crate) fn word_for_state(state: &BeadState) -> &str {
    match &state.reason {
        Some(reason) if state.status == Status::Blocked => {
            reason.strip_prefix(FOREIGN_STATUS_PREFIX).unwrap_or("blocked")
        }
        _ => state.status.as_str(),
    }
}

/// Parses the raw JSON of a priority: a number, a number as text, or a word; `None` if it is anything else.
pub(crate) fn priority(raw: &str) -> Option<i64> {
    if let Ok(number) = raw.parse::<i64>() {
        return Some(number);
    }
    let Some(word) = crate::text::read(raw) else {
        // A tool that has only floating point numbers writes 2 as 2.0.
        let (whole, fraction) = raw.split_once('.')?;
        return whole.parse().ok().filter(|_| fraction.bytes().all(|digit| digit == b'0'));
    };
    let word = word.trim().to_ascii_lowercase();
    match word.as_str() {
        "critical" => Some(0),
        "high" => Some(1),
        "medium" | "normal" => Some(2),
        "low" => Some(3),
        "backlog" => Some(4),
        other => other.strip_prefix('p').unwrap_or(other).parse().ok(),
    }
}

/// Maps a foreign type to this program's type.
pub fn canonical_type(word: &str) -> &str {
    match word {
        "" => "task",
        "enhancement" | "feat" => "feature",
        "dec" | "adr" => "decision",
        "investigation" | "timebox" => "spike",
        "user-story" => "story",
        "ms" => "milestone",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_is_read_where_it_is_clear() {
        for (raw, number) in [
            ("2", Some(2)),
            ("2.0", Some(2)),
            ("\"3\"", Some(3)),
            ("\"P1\"", Some(1)),
            ("\"low\"", Some(3)),
            ("\"Medium\"", Some(2)),
            ("27", Some(27)),
            ("2.5", None),
            ("\"soon\"", None),
            ("true", None),
            ("[1]", None),
        ] {
            assert_eq!(priority(raw), number, "{raw}");
        }
    }

    #[test]
    fn state_words_round_trip() {
        for (word, status) in [
            ("open", Status::Open),
            ("in_progress", Status::InProgress),
            ("blocked", Status::Blocked),
            ("closed", Status::Closed),
            ("deferred", Status::Blocked),
            ("pinned", Status::Blocked),
            ("in-review", Status::Blocked),
        ] {
            let state = state_from_word(word);
            assert_eq!((state.status, word_for_state(&state)), (status, word));
        }
        assert_eq!(state_from_word("").status, Status::Open);
        assert_eq!(state_from_word("HOOKED").status, Status::InProgress);
        let ours = BeadState { status: Status::Blocked, reason: Some("no route".into()) };
        assert_eq!(word_for_state(&ours), "blocked");
    }
}
