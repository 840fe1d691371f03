//! Limits that several nouns share, and the sentences that state a limit.
//!
//! A sentence is formatted from the constant that enforces the limit, so that the two cannot differ.

use crate::kernel::refusal::{Problems, Refusal};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Deepest nesting of a free-form JSON value, in levels. The value itself is the first level.
///
/// A JSON parser ends at 128 levels. An event nests a value some levels deeper, and so do the envelopes of Temporal.
pub const MAX_DEPTH: usize = 32;
/// Deepest nesting of a document that carries free-form values: a request body, or a line of a bead file.
pub const MAX_DOCUMENT_DEPTH: usize = 64;
/// Largest free-form object, such as the context of a bead, in bytes of compact JSON.
pub const MAX_FREE_FORM: usize = 262_144;
/// Longest result of a bead, in bytes.
pub const MAX_RESULT: usize = 262_144;
/// Longest reason of a change, in bytes.
pub const MAX_REASON: usize = 65_536;

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

/// Longest answer of a model that is kept, in bytes.
pub const MAX_MODEL_TEXT: usize = 1_048_576;
/// Largest conversation of one run, in bytes.
pub const MAX_CONVERSATION: usize = 8_388_608;
/// Most bytes of the rows of one page. The row that reaches it is the page's last, so a page has one row at least.
pub const MAX_PAGE_BYTES: usize = 4_194_304;

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

/// Returns `must be nested at most 32 levels deep` for 32.
pub fn must_be_nested_at_most(levels: usize) -> String {
    format!("must be nested at most {levels} levels deep")
}

/// Refuses the text of a field that has more bytes than it may.
pub fn check_text(field: &str, text: &str, max_bytes: usize) -> Result<(), Refusal> {
    if text.len() <= max_bytes { Ok(()) } else { Err(Refusal::field(field, must_fit(max_bytes))) }
}

/// Cuts a text to at most `max_bytes` bytes and says so.
pub fn cut(mut text: String, max_bytes: usize) -> String {
    const MARK: &str = "\n[cut here: the text is longer than is kept]";
    if text.len() <= max_bytes {
        return text;
    }
    text.truncate(text.floor_char_boundary(max_bytes.saturating_sub(MARK.len())));
    text.push_str(MARK);
    text
}

/// Notes a free-form value that is nested deeper than [`MAX_DEPTH`] or larger than [`MAX_FREE_FORM`].
pub fn check_free_form(problems: &mut Problems, field: &str, value: &impl Serialize) {
    // Free-form values are maps of JSON values, which always serialize.
    let text = serde_json::to_string(value).unwrap_or_default();
    let depth = text_depth(text.as_bytes()) <= MAX_DEPTH;
    problems.require(depth, field, must_be_nested_at_most(MAX_DEPTH));
    let size = format!("{} of JSON", must_fit(MAX_FREE_FORM));
    problems.require(text.len() <= MAX_FREE_FORM, field, size);
}

/// Returns the nesting of a JSON text in levels, without parsing it. A scalar has none.
pub fn text_depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut is_escaped) = (false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Returns a value that stands for one which cannot be read, with the reason.
pub fn unreadable(reason: &str) -> Value {
    serde_json::json!({ UNREADABLE: reason })
}

/// The only field of the object that stands for a value which cannot be read.
pub const UNREADABLE: &str = "_unreadable";

/// Returns `1 bead`, `2 beads`.
pub fn count_of(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Returns whether a name has a length that [`MAX_NAME`] allows.
pub fn is_name_length(name: &str) -> bool {
    NAME_CHARS.contains(&name.chars().count())
}

/// Lengths of a name, in characters.
pub const NAME_CHARS: RangeInclusive<usize> = 1..=MAX_NAME;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nested(levels: usize) -> Value {
        (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }))
    }

    fn problem(value: &Value) -> Option<String> {
        let mut problems = Problems::default();
        check_free_form(&mut problems, "context", value);
        problems.finish().err().map(|refusal| refusal.to_string())
    }

    #[test]
    fn free_form_value_is_bounded_in_depth_and_bytes() {
        assert_eq!(problem(&nested(MAX_DEPTH)), None);
        assert!(problem(&nested(MAX_DEPTH + 1)).unwrap().contains("at most 32 levels"));
        let of_size = |bytes: usize| json!({"a": "x".repeat(bytes - r#"{"a":""}"#.len())});
        assert_eq!(problem(&of_size(MAX_FREE_FORM)), None);
        assert!(problem(&of_size(MAX_FREE_FORM + 1)).unwrap().contains("at most 262144 bytes"));
    }

    #[test]
    fn cut_text_ends_at_a_character_and_says_so() {
        assert_eq!(cut("short".into(), 5), "short");
        let text = cut("ä".repeat(100), 101);
        assert!(text.len() <= 101 && text.starts_with('ä') && text.ends_with("than is kept]"), "{text}");
    }

    #[test]
    fn text_depth_ignores_brackets_in_strings() {
        for (text, depth) in [
            ("7", 0),
            ("[]", 1),
            (r#"{"a": [1, {"b": 2}], "c": []}"#, 3),
            (r#"{"a[[[": "]]\"[[{{"}"#, 1),
            (r#"["\\", [1]]"#, 2),
        ] {
            assert_eq!(text_depth(text.as_bytes()), depth, "{text}");
        }
    }
}
