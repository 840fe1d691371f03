use super::*;
use crate::patch::{patch_line, tombstone_line};
use arbiter_core::bead::Status;
use proptest::prelude::*;

/// Returns an input file of the repository.
fn fixture(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/beads/shared/");
    std::fs::read(format!("{path}{name}")).unwrap()
}

fn document(bytes: &[u8]) -> Document {
    read_document(bytes).unwrap()
}

fn bead(document: &Document, id: &str) -> FileBead {
    match &document.entry_of(id).unwrap().content {
        EntryContent::Bead(bead, _) => FileBead::clone(bead),
        other => panic!("{id}: {other:?}"),
    }
}

/// Changes a bead in a document, and returns the new text of the file.
fn changed(document: &Document, id: &str, change: impl FnOnce(&mut FileBead)) -> String {
    let mut target = bead(document, id);
    change(&mut target);
    let line = patch_line(&document.entry_of(id).unwrap().winner, &target);
    let bytes = document.with_changes(&[EntryChange::Put { id: id.to_owned(), line }]);
    String::from_utf8(bytes).unwrap()
}

fn line(id: &str, rest: &str) -> String {
    format!(
        r#"{{"_type": "issue", "id": "{id}", "title": "Work {id}", "status": "open", "priority": 2{rest}}}"#
    )
}

#[test]
fn every_readable_fixture_is_unchanged_without_changes() {
    for name in [
        "beads-bom",
        "beads-comments-same-id",
        "beads-labels-mixed",
        "beads-title-501",
        "beads-tombstone",
        "beads-union-merge",
        "comments",
        "deleted-at",
        "odd-lists",
        "pair-twice",
        "prefixes",
        "tombstones",
        "twice",
        "words-for-numbers",
    ] {
        let bytes = fixture(&format!("{name}.jsonl"));
        let document = document(&bytes);
        assert_eq!(document.with_changes(&[]), bytes, "{name}");
        // A bead that did not change has the line that it had.
        for entry in &document.entries {
            if let EntryContent::Bead(bead, _) = &entry.content
                && entry.lines.len() == 1
            {
                assert_eq!(patch_line(&entry.winner, bead), entry.text, "{name}");
            }
        }
    }
}

#[test]
fn file_in_the_middle_of_a_change_is_a_stop() {
    let lines = |name: &str| -> Vec<(u64, String)> {
        let stops = read_document(&fixture(name)).unwrap_err();
        stops.into_iter().map(|note| (note.line, note.text)).collect()
    };
    let marker = "is the marker of an unresolved merge conflict";
    for (name, numbers) in [("beads-conflict.jsonl", [1, 3, 5]), ("conflict.jsonl", [2, 4, 7])] {
        let expected: Vec<_> = numbers.into_iter().map(|line| (line, marker.to_owned())).collect();
        assert_eq!(lines(name), expected);
    }
    let torn = "ends in the middle of an object".to_owned();
    assert_eq!(lines("beads-torn-line.jsonl"), [(2, torn.clone())]);
    assert_eq!(lines("truncated.jsonl"), [(4, torn)]);
    let stops = read_document(b"{}\n\n\xff\xfe\n").unwrap_err();
    assert_eq!((stops[0].line, stops[0].text.as_str()), (3, "is no UTF-8"));
    assert_eq!(
        read_document(b"{\"id\":\"a\",\"title\":\"t\"}\n12").unwrap_err()[0].text,
        "is not a whole line"
    );
}

#[test]
fn whole_last_line_without_end_is_read_and_appended_to() {
    let text = format!("{}\r\n{}", line("a-1", ""), line("a-2", ""));
    let document = document(text.as_bytes());
    assert_eq!(document.entries.len(), 2);
    let put = EntryChange::Put { id: "a-3".to_owned(), line: line("a-3", "") };
    let after = String::from_utf8(document.with_changes(&[put])).unwrap();
    assert_eq!(after, format!("{text}\r\n{}\r\n", line("a-3", "")));
}

#[test]
fn byte_order_mark_is_skipped_and_kept() {
    let bytes = fixture("beads-bom.jsonl");
    let document = document(&bytes);
    let before = String::from_utf8(bytes).unwrap();
    assert_eq!(document.entries.len(), 2);
    let after = changed(&document, "bo-1", |bead| bead.title = "New".to_owned());
    assert_eq!(after, before.replace("Work bo-1", "New"));
}

#[test]
fn id_on_two_lines_is_one_bead_and_the_newer_counts() {
    for (name, id, title) in [("beads-union-merge.jsonl", "un-1", "Newer"), ("twice.jsonl", "t-b", "newer")] {
        let bytes = fixture(name);
        let document = document(&bytes);
        let entry = document.entry_of(id).unwrap();
        let read = bead(&document, id);
        assert_eq!((read.title.as_str(), read.state.status, entry.lines.len()), (title, Status::Closed, 2));
        assert!(document.warnings.iter().any(|note| note.text.contains("same bead")), "{name}");
        let before = String::from_utf8(bytes).unwrap();
        let after = changed(&document, id, |bead| bead.title = "Now".to_owned());
        assert_eq!(after.lines().count(), before.lines().count() - 1, "one line is left");
        for kept in before.lines().filter(|line| !line.contains(&format!("\"{id}\""))) {
            assert!(after.contains(kept));
        }
    }
}

#[test]
fn lists_of_two_lines_are_joined_into_the_one_that_counts() {
    let first = line(
        "a-1",
        r#", "updated_at": "2026-01-01T00:00:00Z", "labels": ["x"], "comments": [{"id": 1, "author": "ann", "text": "one"}]"#,
    );
    let second = line(
        "a-1",
        r#", "updated_at": "2026-01-02T00:00:00Z", "labels": ["y"], "comments": [{"id": 1, "author": "ben", "text": "two"}], "dependencies": [{"depends_on_id": "b", "type": "blocks"}]"#,
    );
    let text = format!("{second}\n{first}\n");
    let document = document(text.as_bytes());
    let read = bead(&document, "a-1");
    assert_eq!(
        (&read.labels[..], read.comments.len(), read.edges.len()),
        (&["y".to_owned(), "x".to_owned()][..], 2, 1)
    );
    let after = changed(&document, "a-1", |bead| bead.priority = 1);
    assert_eq!(after.lines().count(), 1);
    assert!(after.contains(r#""labels": ["y","x"]"#), "{after}");
    assert!(
        after.contains("\"one\"") && after.contains("\"two\"") && after.contains("\"priority\": 1"),
        "{after}"
    );
}

#[test]
fn tombstone_line_is_left_and_written_for_a_deleted_bead() {
    for (name, id) in [("beads-tombstone.jsonl", "ts-1"), ("tombstones.jsonl", "s-dead")] {
        let bytes = fixture(name);
        let document = document(&bytes);
        assert_eq!(document.entry_of(id).unwrap().content, EntryContent::Tombstone);
    }
    let before = line("a-1", r#", "x": 1.50, "issue_type": "bug""#);
    let after = tombstone_line(&before, Timestamp::from_millis(0), "ann", "");
    assert!(
        after.starts_with(r#"{"_type": "issue", "id": "a-1", "title": "Work a-1", "status": "tombstone""#)
    );
    assert!(after.contains("1.50") && after.contains(r#""original_type": "bug""#), "{after}");
    assert!(matches!(read_line(&after).unwrap(), Line::Tombstone { .. }));
}

#[test]
fn newer_tombstone_counts_against_a_live_line() {
    let live = line("a-1", r#", "updated_at": "2026-01-03T00:00:00Z""#);
    let dead = r#"{"id":"a-1","title":"t","status":"tombstone","updated_at":"2026-01-01T00:00:00Z"}"#;
    let late = dead.replace("2026-01-01", "2026-01-04");
    let content = |text: String| document(text.as_bytes()).entries.remove(0).content;
    assert!(matches!(content(format!("{live}\n{dead}\n")), EntryContent::Bead(..)));
    assert_eq!(content(format!("{late}\n{live}\n")), EntryContent::Tombstone);
}

#[test]
fn status_alone_says_that_a_bead_is_deleted() {
    let document = document(&fixture("deleted-at.jsonl"));
    assert_eq!(bead(&document, "d-role-mayor").state.status, Status::Open);
    assert_eq!(bead(&document, "d-6s61").state.status, Status::Closed);
}

#[test]
fn line_that_is_not_understood_is_kept_and_told() {
    let bytes = fixture("beads-title-501.jsonl");
    let long = document(&bytes);
    assert_eq!((long.kept.len(), long.kept[0].line, long.entries.len()), (1, 1, 1));
    let text = format!("nonsense\n\n{}\n{{\"_type\":\"future\",\"x\":1.50}}\n", line("a-1", ""));
    let mixed = document(text.as_bytes());
    assert_eq!(mixed.kept.iter().map(|note| note.line).collect::<Vec<_>>(), [1, 4]);
    assert!(mixed.kept.iter().all(|note| !note.text.contains("nonsense")), "no excerpt of a file is told");
    let after = changed(&mixed, "a-1", |bead| bead.title = "New".to_owned());
    assert_eq!(after, text.replace("Work a-1", "New"));
}

#[test]
fn odd_list_goes_back_as_it_came() {
    for name in
        ["beads-labels-mixed.jsonl", "odd-lists.jsonl", "comments.jsonl", "beads-comments-same-id.jsonl"]
    {
        let bytes = fixture(name);
        let before = String::from_utf8(bytes.clone()).unwrap();
        let document = document(&bytes);
        for entry in &document.entries {
            let after = changed(&document, &entry.id, |bead| bead.title = "New".to_owned());
            let title = crate::spans::value_of(&entry.text, "title").unwrap();
            let expected = entry.text.replacen(title, "\"New\"", 1);
            assert_eq!(after, before.replace(&entry.text, &expected), "{name}: {}", entry.id);
        }
    }
    let document = document(&fixture("beads-labels-mixed.jsonl"));
    let with = |id: &str| changed(&document, id, |bead| bead.labels.push("new".to_owned()));
    assert!(with("lm-1").contains(r#""labels": [1, "keep me", "new"]"#));
    assert!(with("lm-2").contains(r#""labels": ["bug,ui","new"]"#));
}

#[test]
fn two_dependencies_on_one_bead_both_stay() {
    let document = document(&fixture("pair-twice.jsonl"));
    for (id, other) in [("p-task", "parent-child"), ("p-other", "related")] {
        let read = bead(&document, id);
        assert_eq!(
            (read.edges.len(), read.edges[0].kind.as_str()),
            (1, "blocks"),
            "the one that holds back counts"
        );
        let target = read.edges[0].depends_on.clone();
        let after = changed(&document, id, |bead| bead.title = "New".to_owned());
        assert!(after.contains(&format!(r#""depends_on_id":"{target}","type":"{other}""#)), "{after}");
        let after = changed(&document, id, |bead| bead.edges.clear());
        assert!(after.contains(r#""dependencies":[]"#), "{after}");
    }
}

#[test]
fn priority_in_words_is_read_and_an_unclear_one_kept() {
    let document = document(&fixture("words-for-numbers.jsonl"));
    for (id, priority) in [("w-low", 3), ("w-medium", 2), ("w-quoted", 3), ("w-point", 2)] {
        assert_eq!(bead(&document, id).priority, priority, "{id}");
    }
    assert_eq!((document.kept.len(), document.kept[0].line), (1, 5));
}

#[test]
fn changed_field_is_replaced_where_it_stands() {
    let text = line(
        "a-1",
        r#", "z" : [1,  2], "issue_type": "bug", "updated_at": "2026-01-01T00:00:00+00:00", "metadata": {"b": 1, "arbiter": {"theirs": 2}}"#,
    );
    let document = document(text.as_bytes());
    let after = changed(&document, "a-1", |bead| {
        bead.state.status = Status::Blocked;
        bead.state.reason = Some("no stone".to_owned());
        bead.updated_at = Some(Timestamp::from_millis(0));
        bead.assignee = Some("ann".to_owned());
        bead.is_approved = true;
    });
    let expected = text
        .replace("\"open\"", "\"blocked\"")
        .replace("2026-01-01T00:00:00+00:00", "1970-01-01T00:00:00Z")
        .replace(r#"{"theirs": 2}"#, r#"{"theirs": 2,"block_reason": "no stone","approved": true}"#)
        .replacen("}}}", "}}, \"assignee\": \"ann\"}", 1);
    assert_eq!(after, expected);
    let back = read_document(after.as_bytes()).unwrap();
    let read = bead(&back, "a-1");
    assert_eq!((read.is_approved, read.state.reason.as_deref()), (true, Some("no stone")));
    let cleared = changed(&back, "a-1", |bead| {
        bead.state = crate::bead::BeadState { status: Status::Open, reason: None };
        bead.is_approved = false;
        bead.assignee = None;
    });
    assert!(cleared.contains(r#""metadata": {"b": 1, "arbiter": {"theirs": 2}}"#), "{cleared}");
}

#[test]
fn text_with_half_a_surrogate_pair_is_left_as_written() {
    let text = line("a-1", r#", "description": "a\ud83d", "labels": ["\ude00", "x"]"#);
    let document = document(text.as_bytes());
    assert_eq!(bead(&document, "a-1").description, "a\u{fffd}");
    let after = changed(&document, "a-1", |bead| bead.labels.retain(|label| label != "x"));
    assert_eq!(after, text.replace(r#", "x""#, ""));
}

proptest! {
    /// A file of any bytes gives them back.
    #[test]
    fn arbitrary_file_without_changes_is_unchanged(
        parts in prop::collection::vec(prop_oneof![
            Just("\n".to_owned()), Just("\r\n".to_owned()), Just("\u{feff}".to_owned()), Just("<<<<<<< a".to_owned()),
            "[ -~é]{0,12}",
            (1..5u8, "[a-z\\\\\"]{0,6}").prop_map(|(id, rest)| line(&format!("a-{id}"), &format!(", \"x\": {rest:?}"))),
        ], 0..12),
    ) {
        let text = parts.concat();
        if let Ok(document) = read_document(text.as_bytes()) {
            prop_assert_eq!(document.with_changes(&[]), text.clone().into_bytes());
            for entry in &document.entries {
                let EntryContent::Bead(bead, _) = &entry.content else { continue };
                prop_assert_eq!(patch_line(&entry.winner, &FileBead { labels: bead.labels.clone(), ..FileBead::clone(bead) }), entry.winner.clone());
            }
        }
    }
}
