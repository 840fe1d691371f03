//! Tests assert order and counts, not wall-clock time.

use crate::tidy::{files, is_test};

/// Limits that only a hang reaches.
const GIVE_UP_LIMITS: &[&str] = &["TIMEOUT", "GONE_WITHIN", "within"];

/// Tells whether a line asserts how long something took.
fn asserts_time(line: &str) -> bool {
    line.contains("assert") && line.contains("elapsed()") && !GIVE_UP_LIMITS.iter().any(|l| line.contains(l))
}

#[test]
fn test_asserts_no_wall_clock_time() {
    // In two parts, so that this file does not count.
    let wrong_line = ["assert", "!(begun.elapsed() < limit);"].concat();
    assert!(asserts_time(&wrong_line));
    let mut wrong = Vec::new();
    for (path, text) in ["src", "actors", "tests"].iter().flat_map(|folder| files(folder, &[".rs"])) {
        let is_code = |line: &str| !line.trim_start().starts_with("//");
        if is_test(&path) && !path.ends_with("tidy/clock.rs") {
            let lines = text.lines().enumerate().filter(|(_, line)| is_code(line) && asserts_time(line));
            wrong.extend(lines.map(|(at, line)| format!("{}:{}: {}", path.display(), at + 1, line.trim())));
        }
    }
    assert!(wrong.is_empty(), "assertions on time: {wrong:#?}");
}
