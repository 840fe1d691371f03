//! Words of these files for states and types, in terms of ours.

use crate::bead::State;
use arbiter_core::bead::Status;

/// What stands before a status of theirs in a reason of ours.
pub(crate) const FOREIGN: &str = "bd:";

/// Where a bead stands by a word of theirs. What has no arrow of ours is blocked by its own word, or work in progress.
pub fn state_of(word: &str) -> State {
    let lower = word.to_ascii_lowercase();
    let plain = |status| State { status, reason: None };
    match lower.as_str() {
        "" | "open" => plain(Status::Open),
        "in_progress" | "hooked" => plain(Status::InProgress),
        "blocked" => plain(Status::Blocked),
        "closed" => plain(Status::Closed),
        other => State { status: Status::Blocked, reason: Some(format!("{FOREIGN}{other}")) },
    }
}

/// Their word for where a bead stands.
pub(crate) fn word_of(state: &State) -> &str {
    match &state.reason {
        Some(reason) if state.status == Status::Blocked => reason.strip_prefix(FOREIGN).unwrap_or("blocked"),
        _ => state.status.as_str(),
    }
}

/// The type that a word of theirs stands for.
pub fn alias_of_type(word: &str) -> &str {
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
    fn states_go_there_and_back() {
        for (word, status) in [
            ("open", Status::Open),
            ("in_progress", Status::InProgress),
            ("blocked", Status::Blocked),
            ("closed", Status::Closed),
            ("deferred", Status::Blocked),
            ("pinned", Status::Blocked),
            ("in-review", Status::Blocked),
        ] {
            let state = state_of(word);
            assert_eq!((state.status, word_of(&state)), (status, word));
        }
        assert_eq!(state_of("").status, Status::Open);
        assert_eq!(state_of("HOOKED").status, Status::InProgress);
        let ours = State { status: Status::Blocked, reason: Some("no route".into()) };
        assert_eq!(word_of(&ours), "blocked");
    }
}
