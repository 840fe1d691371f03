//! Counts that may only fall. Lower the number here when a change lowers the count.

use crate::tidy::{code, files, is_test};

/// Words that hide the actor of a sentence, in two parts, so that this file does not count.
const RIDDLE_WORDS: &[(&str, &str)] = &[
    ("who", "ever"),
    ("who", "m"),
    ("some", "body"),
    ("no", "body"),
    ("any", "body"),
    ("what", "ever"),
    ("for want", " of"),
];
/// Words that begin no line of a doc comment.
const RIDDLE_STARTS: &[&str] = &["What", "Who", "Whether", "Those", "It", "They"];
/// The page that lists the words.
const STYLE: &str = "docs/contributing/style.md";

const MAX_RIDDLE_WORDS: usize = 43;
const MAX_RIDDLE_STARTS: usize = 0;
const MAX_UNBOUNDED_CHANNELS: usize = 1;

/// Counts the occurrences of a lower-case word that are no part of a longer word.
fn occurrences(text: &str, word: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .filter(|(at, _)| !text[..*at].ends_with(is_word) && !text[at + word.len()..].starts_with(is_word))
        .count()
}

/// Fails when a count has risen, and names the files that hold the most.
fn check(what: &str, limit: usize, mut counts: Vec<(String, usize)>) {
    let total: usize = counts.iter().map(|(_, count)| count).sum();
    counts.retain(|(_, count)| *count > 0);
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(20);
    assert!(total <= limit, "{what}: {total}, which is more than {limit}: {counts:#?}");
}

#[test]
fn riddle_words_become_no_more() {
    let words: Vec<String> = RIDDLE_WORDS.iter().map(|(head, tail)| format!("{head}{tail}")).collect();
    let counts = files(".", &[".rs", ".md"])
        .into_iter()
        .filter(|(path, _)| !path.ends_with(STYLE))
        .map(|(path, text)| {
            let text = text.to_lowercase();
            (path.display().to_string(), words.iter().map(|word| occurrences(&text, word)).sum())
        })
        .collect();
    check("riddle words", MAX_RIDDLE_WORDS, counts);
}

#[test]
fn riddle_doc_lines_become_no_more() {
    let begins = |line: &&str| {
        let line = line.trim_start();
        let doc = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! ")).unwrap_or_default();
        RIDDLE_STARTS
            .iter()
            .any(|word| doc.strip_prefix(word).is_some_and(|rest| rest.starts_with([' ', '\''])))
    };
    let counts = files(".", &[".rs"])
        .into_iter()
        .map(|(path, text)| (path.display().to_string(), text.lines().filter(begins).count()))
        .collect();
    check("doc lines that begin with a riddle", MAX_RIDDLE_STARTS, counts);
}

/// Counts the lines of product code that hold a word.
fn lines_with(word: &str) -> Vec<(String, usize)> {
    ["src", "actors"]
        .iter()
        .flat_map(|folder| files(folder, &[".rs"]))
        .filter(|(path, _)| !is_test(path) && !path.starts_with("src/testkit"))
        .map(|(path, text)| {
            (path.display().to_string(), code(&text).filter(|(_, line)| line.contains(word)).count())
        })
        .collect()
}

#[test]
fn unbounded_channels_become_no_more() {
    check("unbounded channels", MAX_UNBOUNDED_CHANNELS, lines_with("unbounded_channel"));
}
