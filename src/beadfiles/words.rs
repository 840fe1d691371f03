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
