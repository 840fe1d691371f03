//! Changes of one line in place: only the fields that changed, in the line's own order and spacing.

use crate::bead::FileBead;
use crate::line::{KNOWN, Line, Scalar, read_line, scalar};
use crate::write::{rendered, with_arbiter_fields};
use crate::{lists, spans, text, text_time, words};
use arbiter_core::kernel::time::Timestamp;
use serde_json::Value;

/// Fields that count items of lists in the same line.
const COUNTS: [(&str, &str); 2] = [("dependency_count", "dependencies"), ("comment_count", "comments")];

/// Changes the line of a bead so that it says what `target` says. Everything else in it stays as written.
pub fn patch_line(line: &str, target: &FileBead) -> String {
    let Ok(Line::Bead { bead: before, .. }) = read_line(line) else { return line.to_owned() };
    let mut text = line.to_owned();
    for name in KNOWN {
        let is_same_word = name == "status" && word(&before) == word(target);
        if !is_same_word && before.scalar(name) != target.scalar(name) {
            text = spans::set_member(&text, name, rendered(target, name).as_deref());
        }
    }
    if is_ephemeral_by_alias(&text) && !target.is_ephemeral {
        text = spans::set_member(&text, "wisp", None);
    }
    for name in ["labels", "dependencies", "comments"] {
        let raw = spans::value_of(&text, name).map(str::to_owned);
        let list = match name {
            "labels" => lists::with_labels(raw.as_deref(), &target.labels),
            "dependencies" => lists::with_edges(raw.as_deref(), target),
            _ => lists::with_comments(raw.as_deref(), target),
        };
        if list != raw {
            text = spans::set_member(&text, name, list.as_deref());
            text = with_count(text, name);
        }
    }
    let metadata = spans::value_of(&text, "metadata").map(str::to_owned);
    let ours = |bead: &FileBead| (bead.context.clone(), bead.is_approved, bead.state.clone());
    if ours(&before) != ours(target) {
        let metadata = with_arbiter_fields(metadata.as_deref(), target);
        text = spans::set_member(&text, "metadata", metadata.as_deref());
    }
    text
}

fn word(bead: &FileBead) -> &str {
    words::word_for_state(&bead.state)
}

fn is_ephemeral_by_alias(text: &str) -> bool {
    spans::value_of(text, "wisp").and_then(|raw| scalar("ephemeral", Some(raw))) == Some(Scalar::Flag(true))
}

/// Brings the count of a list up to date, where the line has one.
fn with_count(text: String, list: &str) -> String {
    let Some((count, _)) = COUNTS.iter().find(|(_, counted)| *counted == list) else { return text };
    if spans::value_of(&text, count).is_none() {
        return text;
    }
    let length = spans::value_of(&text, list).and_then(spans::items).map_or(0, |items| items.len());
    spans::set_member(&text, count, Some(&length.to_string()))
}

/// Turns the line of a bead into the line of a deleted one.
pub fn tombstone_line(line: &str, at: Timestamp, by: &str, reason: &str) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let kind = spans::value_of(line, "issue_type").and_then(text::read).unwrap_or_else(|| "task".to_owned());
    let at = quoted(&text_time::written(at));
    let fields = [
        ("status", quoted("tombstone")),
        ("updated_at", at.clone()),
        ("deleted_at", at),
        ("deleted_by", quoted(by)),
        ("delete_reason", quoted(reason)),
        ("original_type", quoted(&kind)),
    ];
    fields
        .into_iter()
        .fold(line.to_owned(), |text, (name, value)| spans::set_member(&text, name, Some(&value)))
}
