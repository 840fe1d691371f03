//! Limits that several nouns share, and the sentences that state a limit.
//!
//! A sentence is formatted from the constant that enforces the limit, so that the two cannot differ.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// Most tags of one bead and most labels of one agent.
pub const MAX_TAGS: usize = 100;
/// Longest tag or label, in bytes.
pub const MAX_TAG: usize = 255;
/// Longest name of an agent, a project, a provider or a token, in characters.
pub const MAX_NAME: usize = 200;
/// Longest description of an agent or a provider, in bytes.
pub const MAX_DESCRIPTION: usize = 65_536;
/// Longest comment on a bead or a project, in bytes.
pub const MAX_COMMENT: usize = 65_536;
/// Fewest characters of a new password of the vault.
pub const MIN_PASSWORD_CHARS: usize = 8;
/// Longest prompt or message to the console, in characters.
pub const MAX_PROMPT: usize = 1_000_000;

/// Returns `must have 1 to 200 characters` for `1..=200`.
pub fn must_have_chars(range: &RangeInclusive<usize>) -> String {
    format!("must have {} to {} characters", range.start(), range.end())
}

/// Returns `must have 1 to 255 bytes` for `1..=255`.
pub fn must_have_bytes(range: &RangeInclusive<usize>) -> String {
    format!("must have {} to {} bytes", range.start(), range.end())
}

/// Returns `must have at most 65536 bytes` for 65,536.
pub fn must_fit(max_bytes: usize) -> String {
    format!("must have at most {max_bytes} bytes")
}

/// Returns `must have at most 100 entries` for 100.
pub fn must_have_at_most(entries: usize) -> String {
    format!("must have at most {entries} entries")
}

/// Returns `must be between 10 and 3600` for `10..=3600`.
pub fn must_be_between<T: Display>(range: &RangeInclusive<T>) -> String {
    format!("must be between {} and {}", range.start(), range.end())
}

/// Returns `must be one of low, high` for `low` and `high`.
pub fn must_be_one_of(values: &[&str]) -> String {
    format!("must be one of {}", values.join(", "))
}

/// Returns whether a name has a length that [`MAX_NAME`] allows.
pub fn is_name_length(name: &str) -> bool {
    NAME_CHARS.contains(&name.chars().count())
}

/// Lengths of a name, in characters.
pub const NAME_CHARS: RangeInclusive<usize> = 1..=MAX_NAME;
