//! Removes the key from everything that comes from a provider, since a provider may echo it.
//!
//! Every text of a [`crate::CallError`] passes [`sanitize`], and so do messages of libraries, which quote the provider.
//! Answers pass [`KeyForms`], streamed ones piece by piece in `stream`.

pub(crate) mod stream;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use std::fmt::Write;

/// Most bytes of a provider's text that an error keeps.
pub(crate) const MAX_DETAIL_BYTES: usize = 2048;

/// Shortest key, in bytes, that is looked for in its encodings, and in answers at all: shorter ones are words such as
/// `none`, which servers without keys are given.
const MIN_KEY_BYTES: usize = 8;

/// Characters besides letters and digits that stay as they are in a URL: by RFC 3986, in a form, by JavaScript's
/// `encodeURIComponent`, and none.
const PLAIN_IN_URLS: [&[u8]; 4] = [b"-._~", b"-._*", b"-._~!*'()", b""];

const MARK: &str = "[redacted]";

/// Forms in which a key may stand in a text: as it is, and in common encodings.
pub(crate) struct KeyForms(Vec<String>);

/// Hides the forms.
impl std::fmt::Debug for KeyForms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyForms")
    }
}

impl KeyForms {
    /// Returns the forms that are looked for in answers; `None` without a key, and for one that is too short.
    pub(crate) fn for_answers(key: Option<&str>) -> Option<Self> {
        key.filter(|key| key.len() >= MIN_KEY_BYTES).map(Self::of)
    }

    fn of(key: &str) -> Self {
        let json = Value::from(key).to_string();
        let json = json[1..json.len() - 1].to_owned();
        let slashed = json.replace('/', "\\/");
        let mut forms = vec![key.to_owned(), json, slashed];
        if key.len() >= MIN_KEY_BYTES {
            for shift in 0..3 {
                forms.push(within_base64(&STANDARD_NO_PAD, key, shift));
                forms.push(within_base64(&URL_SAFE_NO_PAD, key, shift));
            }
            for upper in [true, false] {
                for plain in PLAIN_IN_URLS {
                    forms.push(percent_encoded(key, upper, |byte| {
                        !byte.is_ascii_alphanumeric() && !plain.contains(&byte)
                    }));
                }
                forms.push(percent_encoded(key, upper, |_| true));
                forms.push(percent_encoded(key, upper, |_| true).replace('%', ""));
            }
        }
        let mut known = std::collections::BTreeSet::new();
        forms.retain(|form| !form.is_empty() && known.insert(form.clone()));
        Self(forms)
    }

    /// Returns `text` without the key; `None` when the key is not in it.
    pub(crate) fn redact(&self, text: &str) -> Option<String> {
        let mut clean: Option<String> = None;
        for form in &self.0 {
            let shown = clean.as_deref().unwrap_or(text);
            if shown.contains(form) {
                clean = Some(shown.replace(form, MARK));
            }
        }
        clean
    }

    /// Removes the key from every text of a JSON value, names of fields included; returns whether it was there.
    pub(crate) fn redact_json(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => self.redact(text).map(|clean| *text = clean).is_some(),
            Value::Array(items) => items.iter_mut().fold(false, |found, item| self.redact_json(item) | found),
            Value::Object(fields) => {
                let found = fields.values_mut().fold(false, |found, field| self.redact_json(field) | found);
                let is_named = |name: &String| self.redact(name).is_some();
                if !fields.keys().any(is_named) {
                    return found;
                }
                let clean = |(name, field): (String, Value)| (self.redact(&name).unwrap_or(name), field);
                *fields = std::mem::take(fields).into_iter().map(clean).collect::<Map<_, _>>();
                true
            }
            _ => false,
        }
    }

    /// Returns the length of the longest end of `text` with which a form begins, and the length of that form.
    fn begun_at_end(&self, text: &str) -> (usize, usize) {
        let begun = self.0.iter().map(|form| {
            let lengths = (1..form.len().min(text.len() + 1)).rev();
            let fits = |length: &usize| form.is_char_boundary(*length) && text.ends_with(&form[..*length]);
            (lengths.into_iter().find(fits).unwrap_or(0), form.len())
        });
        begun.max_by_key(|(length, _)| *length).unwrap_or((0, 0))
    }
}

/// Returns the characters that are the same in the base64 of every text with the key in it, when `shift` bytes of a
/// group are before it.
fn within_base64(engine: &impl Engine, key: &str, shift: usize) -> String {
    let text = engine.encode([&vec![0; shift][..], key.as_bytes()].concat());
    let begin = (shift * 8).div_ceil(6);
    let is_shared = !(shift + key.len()).is_multiple_of(3);
    text[begin..text.len() - usize::from(is_shared)].to_owned()
}

fn percent_encoded(key: &str, upper: bool, is_encoded: impl Fn(u8) -> bool) -> String {
    let mut text = String::with_capacity(key.len() * 3);
    for byte in key.bytes() {
        // Writing to a string does not fail.
        let _ = match (is_encoded(byte) || !byte.is_ascii(), upper) {
            (true, true) => write!(text, "%{byte:02X}"),
            (true, false) => write!(text, "%{byte:02x}"),
            (false, _) => write!(text, "{}", char::from(byte)),
        };
    }
    text
}

/// Returns `text` without the key, in one line of at most [`MAX_DETAIL_BYTES`] and an ellipsis.
pub(crate) fn sanitize(text: &str, key: Option<&str>) -> String {
    let mut clean = text.to_owned();
    if let Some(key) = key.filter(|key| !key.is_empty()) {
        let forms = KeyForms::of(key);
        clean = forms.redact(&clean).unwrap_or(clean);
        // A few letters are no secret, and ordinary texts end in them.
        if let (length @ MIN_CUT_BYTES.., _) = forms.begun_at_end(&clean) {
            clean.truncate(clean.len() - length);
            clean.push_str(MARK);
        }
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

/// Fewest bytes of a key's beginning that count as a key which was cut off.
const MIN_CUT_BYTES: usize = 4;

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
    fn encoded_key_is_redacted() {
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        let key = "sk-~Ä>?/test-0123456789";
        let hex = |upper: bool| percent_encoded(key, upper, |_| true).replace('%', "");
        let mut texts = vec![hex(true), hex(false), percent_encoded(key, false, |_| true)];
        texts.push(url::form_urlencoded::byte_serialize(key.as_bytes()).collect());
        texts.push(serde_json::to_string(key).unwrap());
        for before in ["", "a", "ab", "abc", "Bearer "] {
            let text = format!("{before}{key}{before}");
            texts.extend([STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)]);
        }
        for text in texts {
            let shown = sanitize(&format!("it was <{text}>"), Some(key));
            assert!(shown.contains(MARK), "{text}: {shown}");
            // What is around the key may stay, and of the key at most what shares a character with it.
            assert!(shown.len() <= "it was <>".len() + MARK.len() + 24, "{text}: {shown}");
        }
        let mut value = serde_json::json!({"a": [{"b": format!("x{key}y")}], (key): 1, "c": 2});
        let forms = KeyForms::for_answers(Some(key)).unwrap();
        assert!(forms.redact_json(&mut value));
        assert_eq!(value, serde_json::json!({"a": [{"b": "x[redacted]y"}], "[redacted]": 1, "c": 2}));
        assert!(!forms.redact_json(&mut value));
        assert!(KeyForms::for_answers(Some("none")).is_none(), "a word is no secret");
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
