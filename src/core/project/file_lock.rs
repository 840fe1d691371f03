//! Locks on files of a project: holder, bead and expiry of a lock, and the normal form of a path.

pub mod authorize;

use crate::kernel::event::NewEvent;
use crate::kernel::event_type::EventType;
use crate::kernel::ids::{BeadId, ProjectId};
use crate::kernel::problem_code::ProblemCode;
use crate::kernel::refusal::Refusal;
use crate::kernel::time::Timestamp;
use serde_json::json;
use std::time::Duration;

/// Default duration of a lock, in seconds.
pub const DEFAULT_TTL_SEC: u64 = 600;
/// The shortest lock, in seconds.
pub const MIN_TTL_SEC: u64 = 10;
/// The longest lock, in seconds.
pub const MAX_TTL_SEC: u64 = 86_400;
/// The most paths of one request.
pub const MAX_PATHS: usize = 100;
/// The longest path, in bytes.
const MAX_PATH: usize = 4096;

/// A lock on one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLock {
    pub project_id: ProjectId,
    pub path: String,
    pub agent_id: String,
    /// The bead it is held for; it ends when that is no longer held.
    pub bead_id: Option<BeadId>,
    /// Seconds for which a renewal extends it.
    pub ttl_sec: u64,
    pub acquired_at: Timestamp,
    /// Expiry time unless renewed.
    pub expires_at: Timestamp,
}

/// Holder of a lock, or candidate for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    pub agent_id: String,
    pub bead_id: Option<BeadId>,
}

impl FileLock {
    /// The lock renewed at `now` for its full time, or for another one from now on.
    #[must_use]
    pub fn renewed(&self, now: Timestamp, ttl_sec: Option<u64>) -> Self {
        let ttl_sec = ttl_sec.unwrap_or(self.ttl_sec);
        Self { ttl_sec, expires_at: now.plus(Duration::from_secs(ttl_sec)), ..self.clone() }
    }

    /// Returns whether it has run out.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// Returns whether this is the holder. The same agent with another bead is a different holder.
    pub fn is_held_by(&self, holder: &LockHolder) -> bool {
        self.agent_id == holder.agent_id && self.bead_id == holder.bead_id
    }

    /// Builds the event of its acquisition.
    pub fn acquired_event(&self) -> NewEvent {
        self.event(EventType::FileLockAcquired, json!({"expires_at": self.expires_at}))
    }

    /// Builds the event of its end.
    pub fn released_event(&self, reason: &str) -> NewEvent {
        self.event(EventType::FileLockReleased, json!({"reason": reason}))
    }

    fn event(&self, kind: EventType, mut data: serde_json::Value) -> NewEvent {
        data["path"] = json!(self.path);
        data["agent_id"] = json!(self.agent_id);
        data["bead_id"] = json!(self.bead_id);
        NewEvent {
            kind,
            project_id: Some(self.project_id.to_string()),
            subject: format!("{}/{}", self.project_id, self.path),
            data,
        }
    }

    /// Describes the holder in words.
    fn describe(&self) -> String {
        let bead = self.bead_id.as_ref().map(|bead| format!(" for bead {bead}")).unwrap_or_default();
        format!("{} is locked by {}{bead} until {}", self.path, self.agent_id, self.expires_at)
    }
}

/// Builds the refusal that names the current holder.
pub fn conflict<'a>(held: impl IntoIterator<Item = &'a FileLock>) -> Refusal {
    let each: Vec<String> = held.into_iter().map(FileLock::describe).collect();
    Refusal::conflict(ProblemCode::FileLocked, each.join("; "))
}

/// A path as locks know it: from the project's root on, without detours. Two texts that name the same file are
/// the same afterwards; what is no file within the project is refused.
///
/// # Errors
/// Returns the fault of a path as words that follow the field's name.
pub fn normalize_path(text: &str) -> Result<String, &'static str> {
    if text.len() > MAX_PATH {
        return Err("is longer than 4096 bytes");
    }
    if text.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    if text.starts_with('/') {
        return Err("is absolute; it is named from the project's root on");
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return Err("leads out of the project"),
            ".." => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err("names no file");
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equivalent_paths_normalize_to_one() {
        for (text, path) in [
            ("a/c", "a/c"),
            ("./a//b/../c", "a/c"),
            ("a/c/", "a/c"),
            ("a/./././c", "a/c"),
            ("x/../a/y/../c", "a/c"),
            (".hidden/..file", ".hidden/..file"),
            ("Ä/ß c", "Ä/ß c"),
        ] {
            assert_eq!(normalize_path(text).as_deref(), Ok(path), "{text}");
            assert_eq!(normalize_path(path).as_deref(), Ok(path), "{path} stays");
        }
    }

    #[test]
    fn path_outside_the_project_is_refused() {
        let long = "a/".repeat(2049);
        let table = ["", ".", "a/..", "..", "../a", "a/../../b", "/etc/passwd", "/", "a\0b", "a\nb", &long];
        for text in table {
            assert!(normalize_path(text).is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn normalized_path_is_stable_and_stays_inside(text in "[a-c./]{0,24}") {
            if let Ok(path) = normalize_path(&text) {
                proptest::prop_assert_eq!(normalize_path(&path), Ok(path.clone()));
                let plain = |part: &str| !matches!(part, "" | "." | "..");
                proptest::prop_assert!(path.split('/').all(plain));
            }
        }
    }
}
