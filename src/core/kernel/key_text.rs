//! The text of a provider's key: what a header can carry (RFC 6750 §2.1), and what people give instead.

/// Characters that no one sees: byte order mark, zero-width blanks and joiners, soft hyphen.
const INVISIBLE: [char; 7] =
    ['\u{feff}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{ad}', '\u{180e}'];
/// Pairs of quotation marks.
const QUOTES: [(char, char); 6] = [
    ('"', '"'),
    ('\'', '\''),
    ('`', '`'),
    ('\u{201c}', '\u{201d}'),
    ('\u{2018}', '\u{2019}'),
    ('\u{ab}', '\u{bb}'),
];
/// Scheme of the header, which is copied along with the key.
const SCHEME: &str = "bearer ";

/// Describes why a text cannot be a key; `None` when it can. The description holds nothing of the text.
pub fn problem(text: &str) -> Option<&'static str> {
    if text.contains(['\n', '\r']) {
        return Some("must be one line");
    }
    if text.contains(INVISIBLE) {
        return Some("must not hold invisible characters, such as a byte order mark or a zero-width blank");
    }
    if text.trim() != text {
        return Some("must not have blanks around it");
    }
    if unquoted(text).is_some() {
        return Some("must not be in quotation marks");
    }
    if without_scheme(text).is_some() {
        return Some("must not begin with the word Bearer");
    }
    let is_carried = |character: char| character.is_ascii_graphic();
    (!text.chars().all(is_carried)).then_some("must consist of visible ASCII characters, without blanks")
}

/// Returns a text without what people copy along with a key: invisible characters, blanks and quotation marks around
/// it, and the word Bearer.
pub fn mended(text: &str) -> String {
    let visible: String = text.chars().filter(|character| !INVISIBLE.contains(character)).collect();
    let mut rest = visible.trim();
    while let Some(inner) = unquoted(rest).or_else(|| without_scheme(rest)) {
        rest = inner.trim();
    }
    rest.to_owned()
}

fn unquoted(text: &str) -> Option<&str> {
    QUOTES.iter().find_map(|(open, close)| {
        text.strip_prefix(*open)?.strip_suffix(*close).filter(|inner| !inner.is_empty())
    })
}

fn without_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = (text.get(..SCHEME.len())?, text.get(SCHEME.len()..)?);
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_as_people_copy_it_is_refused_and_can_be_mended() {
        let key = "sk-proj_a.b~c+d/e=0";
        assert_eq!(problem(key), None);
        for wrong in [
            "\u{feff}KEY",
            "KEY\u{a0}",
            " KEY",
            "KEY\t",
            "\u{200b}KEY",
            "K\u{200b}EY",
            "\u{201c}KEY\u{201d}",
            "\"KEY\"",
            "'KEY'",
            "Bearer KEY",
            "bearer  KEY",
            "\u{2018}Bearer KEY\u{2019}",
            "KEY\n",
            "\u{feff} \"Bearer KEY\" \r\n",
        ] {
            let wrong =
                wrong.replace("KEY", key).replace("K\u{200b}EY", &format!("sk-\u{200b}{}", &key[3..]));
            let why = problem(&wrong).unwrap_or_else(|| panic!("{wrong:?} is taken"));
            assert!(!why.contains("sk-"), "{why}");
            assert_eq!(mended(&wrong), key, "{wrong:?}");
        }
        for hopeless in ["one\ntwo", "one two", "schl\u{fc}ssel", "a\u{1b}b", "a\u{201c}b"] {
            assert!(problem(&mended(hopeless)).is_some(), "{hopeless:?}");
        }
    }
}
