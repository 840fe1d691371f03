//! Texts of JSON strings, also of strings that are no Unicode.

/// Parses a JSON string. Half a surrogate pair, which is no character, becomes U+FFFD.
pub(crate) fn read(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok().or_else(|| serde_json::from_str(&without_halves(raw)?).ok())
}

/// Returns whether a JSON string holds only characters.
pub(crate) fn is_unicode(raw: &str) -> bool {
    serde_json::from_str::<String>(raw).is_ok()
}

/// Replaces the escapes of halves of surrogate pairs; `None` if the text is no string.
fn without_halves(raw: &str) -> Option<String> {
    if !raw.starts_with('"') {
        return None;
    }
    let unit = |at: usize| {
        let digits = raw.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u32::from_str_radix(digits, 16).ok()
    };
    let (mut text, mut at) = (String::with_capacity(raw.len()), 0);
    while let Some(rest) = raw.get(at..).filter(|rest| !rest.is_empty()) {
        let length = match (unit(at), unit(at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                text.push_str("\\ufffd");
                at += 6;
                continue;
            }
            (Some(_), _) => 6,
            _ if rest.starts_with('\\') => 2,
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        text.push_str(rest.get(..length).unwrap_or(rest));
        at += length;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_surrogate_pair_becomes_a_replacement() {
        assert_eq!(read(r#""a\ud83d\ude00b""#).unwrap(), "a😀b");
        assert_eq!(read(r#""a\ud83d b\ude00""#).unwrap(), "a\u{fffd} b\u{fffd}");
        assert_eq!(read(r#""\\ud83d é\n\ud83d""#).unwrap(), "\\ud83d é\n\u{fffd}");
        assert_eq!(read("7"), None);
        assert_eq!(read(r#""open"#), None);
        assert!(is_unicode(r#""\ud83d\ude00""#) && !is_unicode(r#""\ud83d""#));
    }
}
