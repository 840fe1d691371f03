//! Separation of a model's reasoning from its answer.
//!
//! Reasoning models write their thoughts between `<think>` and `</think>` (some use `thinking`) into the text of the
//! answer. Thoughts contain drafts, and a draft must never be taken for the answer.

use std::borrow::Cow;

/// A tag within a text.
struct Tag {
    start: usize,
    end: usize,
    is_opening: bool,
}

/// `text` without the blocks in which the model thinks.
///
/// Blocks may be nested. A closing tag that nothing opened ends thoughts which began with the text, for some
/// templates write the opening tag into the prompt. A block that nothing closes takes the rest of the text
/// when the answer begins with it: the model was cut off while it thought. Elsewhere a tag without a partner
/// is only a word, so that an answer may speak of such tags.
pub fn strip_reasoning(text: &str) -> Cow<'_, str> {
    let tags = tags(text);
    if tags.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len());
    // Where the text that is not yet judged begins.
    let mut from = 0;
    let mut next = 0;
    while let Some(tag) = tags.get(next) {
        if !tag.is_opening {
            next += 1;
            if next == 1 {
                from = tag.end;
            }
            continue;
        }
        match closing_tag(&tags, next) {
            Some(last) => {
                visible.push_str(&text[from..tag.start]);
                from = tags[last].end;
                next = last + 1;
            }
            None if visible.trim().is_empty() && text[from..tag.start].trim().is_empty() => {
                return Cow::Owned(String::new());
            }
            // Nothing closes after it, so the tags to come have no partner either.
            None => break,
        }
    }
    visible.push_str(&text[from..]);
    Cow::Owned(visible)
}

/// Returns the tag that ends the block opened by the tag at `first`: its partner, else the last closing tag. A thought
/// may mention an opening tag.
fn closing_tag(tags: &[Tag], first: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut last = None;
    for (at, tag) in tags.iter().enumerate().skip(first) {
        if tag.is_opening {
            depth += 1;
            continue;
        }
        last = Some(at);
        depth -= 1;
        if depth == 0 {
            break;
        }
    }
    last
}

fn tags(text: &str) -> Vec<Tag> {
    text.match_indices('<')
        .filter_map(|(start, _)| {
            let rest = &text[start + 1..];
            let (is_opening, rest) = rest.strip_prefix('/').map_or((true, rest), |rest| (false, rest));
            let length = ["think>", "thinking>"].iter().find_map(|name| {
                let word = rest.get(..name.len())?;
                word.eq_ignore_ascii_case(name).then_some(name.len())
            })?;
            let end = text.len() - rest.len() + length;
            Some(Tag { start, end, is_opening })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reasoning_blocks_are_stripped_anywhere() {
        let table = [
            ("plain", "plain"),
            ("", ""),
            ("a < b and <b>", "a < b and <b>"),
            ("<think>hm</think>done", "done"),
            ("<thinking>hm</thinking>done", "done"),
            ("<THINK>hm</Think>done", "done"),
            ("one <think>hm</think>two <think>hm</think>three", "one two three"),
            ("<think>a<think>b</think>c</think>done", "done"),
            ("<think>a<thinking>b</thinking>c</think>done", "done"),
            ("<think>I shall open with <think> now</think>done", "done"),
            ("the template opened it</think>done", "done"),
            ("hm</think>done</think>", "done</think>"),
            ("<think>cut off in the mid", ""),
            (" \n<think>cut off", ""),
            ("<think>one</think>\n<think>cut off", ""),
            ("The tag <think> opens a block.", "The tag <think> opens a block."),
            ("<think></think>", ""),
            ("<thinker>is another word", "<thinker>is another word"),
            ("é<think>ü</think>ß", "éß"),
        ];
        for (text, visible) in table {
            assert_eq!(strip_reasoning(text), visible, "{text}");
        }
    }

    #[test]
    fn text_without_reasoning_is_borrowed() {
        assert!(matches!(strip_reasoning("as it is"), Cow::Borrowed("as it is")));
    }

    proptest! {
        #[test]
        fn any_sequence_of_tags_is_handled(parts in prop::collection::vec(
            prop::sample::select(vec!["<think>", "</think>", "<thinking>", "</thinking>", "x", " ", "é", "<", "</"]),
            0..24,
        )) {
            let text: String = parts.concat();
            let visible = strip_reasoning(&text);
            prop_assert!(visible.len() <= text.len());
        }
    }
}
