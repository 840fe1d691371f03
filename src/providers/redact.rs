//! Sanitizes a provider's text for display: without the key, on one line, short.
//!
//! Every text of a [`crate::CallError`] passes here. So do messages of libraries: they quote the provider, and
//! a provider may echo the key.

/// Most bytes of a provider's text that an error keeps.
pub(crate) const MAX_DETAIL_BYTES: usize = 2048;

const MARK: &str = "[redacted]";

/// Returns `text` without the key, in one line of at most [`MAX_DETAIL_BYTES`] and an ellipsis.
pub(crate) fn sanitize(text: &str, key: Option<&str>) -> String {
    let mut clean = text.to_owned();
    if let Some(key) = key.filter(|key| !key.is_empty()) {
        clean = clean.replace(key, MARK);
        for escaped in escaped_forms(key) {
            clean = clean.replace(&escaped, MARK);
        }
        remove_truncated_key(&mut clean, key);
    }
    let mut line = String::with_capacity(clean.len().min(MAX_DETAIL_BYTES));
    for word in clean.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.len() > MAX_DETAIL_BYTES {
        line.truncate(line.floor_char_boundary(MAX_DETAIL_BYTES));
        line.push('…');
    }
    line
}

/// Returns the key as JSON text or debug output would write it.
fn escaped_forms(key: &str) -> impl Iterator<Item = String> {
    let json = key.replace('\\', "\\\\").replace('"', "\\\"");
    let slashed = json.replace('/', "\\/");
    [json, slashed].into_iter().filter({
        let key = key.to_owned();
        move |form| *form != key
    })
}

/// Removes the beginning of a key at the end of a truncated text.
fn remove_truncated_key(text: &mut String, key: &str) {
    let cut = (1..key.len())
        .rev()
        .filter(|length| key.is_char_boundary(*length))
        // A few letters are no secret, and ordinary texts end in them.
        .find(|length| *length >= 4 && text.ends_with(&key[..*length]));
    if let Some(length) = cut {
        text.truncate(text.len() - length);
        text.push_str(MARK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_redacted_everywhere() {
        assert_eq!(sanitize("sk-1 and sk-1", Some("sk-1")), "[redacted] and [redacted]");
        assert_eq!(sanitize("nothing here", None), "nothing here");
        assert_eq!(sanitize("nothing here", Some("")), "nothing here");
    }

    #[test]
    fn escaped_key_is_redacted() {
        assert_eq!(sanitize(r#"{"key":"a\/b\"c"}"#, Some("a/b\"c")), r#"{"key":"[redacted]"}"#);
        assert_eq!(sanitize(r#"a/b\"c"#, Some("a/b\"c")), "[redacted]");
    }

    #[test]
    fn truncated_key_is_redacted() {
        assert_eq!(sanitize("your key sk-secret-12", Some("sk-secret-1234")), "your key [redacted]");
    }

    #[test]
    fn long_text_is_shortened_after_redaction() {
        let key = "k".repeat(100);
        let text = format!("{}{key}{}", "é".repeat(1000), "x".repeat(5000));
        let shown = sanitize(&text, Some(&key));
        assert!(shown.len() <= MAX_DETAIL_BYTES + '…'.len_utf8(), "{}", shown.len());
        assert!(!shown.contains("kk"), "{shown}");
    }

    #[test]
    fn lines_and_control_characters_become_single_spaces() {
        assert_eq!(sanitize(" a\r\n\u{1b}[31m\tb\0 ", None), "a [31m b");
    }
}
