//! Characters that a terminal obeys instead of showing them.

/// Returns whether a character overrides, embeds or marks the direction of text. With it the letters on a screen are
/// not in the order of the text (CVE-2021-42574).
pub fn is_directional(character: char) -> bool {
    matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns whether a terminal shows a character and nothing else happens.
pub fn is_shown(character: char) -> bool {
    !character.is_control() && !is_directional(character)
}

/// Appends `text` with what a terminal would obey as escapes, line breaks included.
pub fn push_escaped(shown: &mut String, text: &str) {
    for character in text.chars() {
        match is_shown(character) {
            true => shown.push(character),
            false => shown.extend(character.escape_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obeyed_characters_are_escaped_and_others_kept() {
        let mut shown = String::new();
        push_escaped(&mut shown, "Grüße 日本\n\u{1b}[31m\u{202e}gnp\u{2069}\u{85}");
        assert_eq!(shown, "Grüße 日本\\n\\u{1b}[31m\\u{202e}gnp\\u{2069}\\u{85}");
    }
}
