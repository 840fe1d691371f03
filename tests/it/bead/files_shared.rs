//! A bead file that is shared with other programs: their lines stay, and no edit of either side is lost.

use crate::admission::refusals::problem;
use crate::bead::files::{line, lines, wait_for_file};
use crate::harness::{Harness, TIMEOUT};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// Files that are read completely.
const READABLE: [&str; 14] = [
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
];

fn fixture(name: &str) -> String {
    let path = crate::tidy::root().join(format!("tests/fixtures/beads/shared/{name}.jsonl"));
    fs::read_to_string(path).unwrap()
}

/// A project `p` whose bead file others share.
pub struct Shared {
    pub harness: Harness,
    home: tempfile::TempDir,
}

impl Shared {
    /// A server that looks at files only when it is asked to, or told by the file system.
    pub async fn new(text: &str) -> Self {
        let harness = Harness::with(&[("ARBITER_BEAD_FILES__PAUSE_MS", "3600000")]).await;
        let shared = Self { harness, home: tempfile::tempdir().unwrap() };
        fs::create_dir(shared.directory()).unwrap();
        shared.write(text);
        shared.attach("p").await;
        shared
    }

    async fn attach(&self, project: &str) {
        let new =
            json!({"id": project, "name": project, "beads_path": self.directory(), "bead_prefix": "own"});
        self.harness.create("projects", new).await;
        self.sync().await;
    }

    fn directory(&self) -> PathBuf {
        self.home.path().join(".beads")
    }

    pub fn file(&self) -> PathBuf {
        self.directory().join("issues.jsonl")
    }

    pub fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// Replaces the file as another program does.
    pub fn write(&self, text: &str) {
        let draft = self.home.path().join("theirs");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, self.file()).unwrap();
    }

    /// Changes the file's text as another program does.
    fn edit(&self, from: &str, to: &str) {
        let text = self.text();
        assert!(text.contains(from), "{text}");
        self.write(&text.replace(from, to));
    }

    /// Merges the file now; returns the report.
    pub async fn sync(&self) -> Value {
        self.harness.act("projects/p/import", Value::Null).await
    }

    async fn patch(&self, bead: &str, fields: Value) {
        let answer = self.harness.ask("PATCH", &format!("beads/{bead}"), Some(&fields)).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
    }

    async fn report(&self) -> Value {
        self.harness.get("projects/p").await["bead_file"].clone()
    }

    /// Remarks about the file in the log of events.
    async fn told(&self) -> Vec<Value> {
        let events = self.harness.events(0).await;
        events
            .into_iter()
            .filter(|event| event["type"] == "log.message" && event["source"] == "beads")
            .collect()
    }
}

#[tokio::test]
async fn attached_bead_file_stays_byte_for_byte() {
    for name in READABLE {
        let text = fixture(name);
        let shared = Shared::new(&text).await;
        let report = shared.sync().await;
        assert_eq!((&report["created"], &report["updated"]), (&json!(0), &json!(0)), "{name}: {report}");
        assert_eq!(shared.text(), text, "{name}");
        assert_eq!(shared.report().await["state"], "in_sync", "{name}");
        // A bead of ours is appended, and nothing else changes.
        shared.harness.create("beads", json!({"id": "own-1", "title": "Ours", "project_id": "p"})).await;
        shared.sync().await;
        let after = shared.text();
        assert!(after.starts_with(&text) && after.len() > text.len(), "{name}: {after}");
        assert_eq!(after.matches("\"own-1\"").count(), 1, "{name}");
    }
}

#[tokio::test]
async fn bead_file_in_the_middle_of_a_change_is_not_written() {
    for (name, stops) in [
        ("beads-conflict", vec![1, 3, 5]),
        ("conflict", vec![2, 4, 7]),
        ("beads-torn-line", vec![2]),
        ("truncated", vec![4]),
    ] {
        let shared = Shared::new(&line(json!({"id": "first"}))).await;
        let text = fixture(name);
        shared.write(&text);
        shared.harness.create("beads", json!({"id": "own-1", "title": "Ours", "project_id": "p"})).await;
        for _ in 0..2 {
            problem(&shared.harness.ask("POST", "projects/p/import", None).await, 409, "bead-file-unusable");
            problem(&shared.harness.ask("POST", "projects/p/export", None).await, 409, "bead-file-unusable");
        }
        assert_eq!(shared.text(), text, "{name}");
        let report = shared.report().await;
        let lines: Vec<u64> =
            report["lines"].as_array().unwrap().iter().map(|line| line["line"].as_u64().unwrap()).collect();
        assert_eq!((&report["state"], lines), (&json!("stopped"), stops), "{name}: {report}");
        let status = shared.harness.get("system/status").await;
        assert!(
            status["bead_files"]["p"].as_str().unwrap().contains("in the middle of a change"),
            "{status}"
        );
        assert_eq!(shared.told().await.len(), 1, "{name}: told once");
        // Whole again, the file is merged.
        let whole = line(json!({"id": "first"})) + "\n" + &line(json!({"id": "second"})) + "\n";
        shared.write(&whole);
        shared.sync().await;
        let after = shared.text();
        assert!(after.starts_with(&whole) && after.contains("\"own-1\""), "{name}: {after}");
        assert_eq!(shared.report().await["state"], "in_sync");
    }
}

#[tokio::test]
async fn bead_file_import_refuses_unresolved_conflicts() {
    let shared = Shared::new("").await;
    for name in ["beads-conflict", "conflict"] {
        let done = shared.harness.cli_with(&["bead", "import", "--project", "p", "-"], &fixture(name)).await;
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stderr.contains("unresolved merge conflict"), "{done:?}");
    }
    let done = shared.harness.cli_with(&["bead", "import", "--project", "p", "-"], "nonsense\n").await;
    assert_eq!(done.code, Some(1), "an import that takes no line fails: {done:?}");
    assert_eq!(shared.harness.get("beads?project_id=p").await, json!([]));
}

#[tokio::test]
async fn bead_file_with_beads_of_another_project_is_kept() {
    let text = line(json!({"id": "x-1"})) + "\n" + &line(json!({"id": "x-2"})) + "\n";
    let shared = Shared::new(&text).await;
    let clone = tempfile::tempdir().unwrap();
    let directory = clone.path().join(".beads");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("issues.jsonl"), &text).unwrap();
    let harness = &shared.harness;
    harness.create("projects", json!({"id": "q", "name": "Q", "beads_path": directory})).await;
    let report = harness.act("projects/q/import", Value::Null).await;
    assert_eq!(report["created"], 0, "{report}");
    assert_eq!(fs::read_to_string(directory.join("issues.jsonl")).unwrap(), text);
    let kept = harness.get("projects/q").await["bead_file"].clone();
    assert_eq!(kept["lines_total"], 2, "{kept}");
    assert!(kept["lines"][0]["detail"].as_str().unwrap().contains("--prefix"), "{kept}");
    // One directory belongs to one project.
    let second = json!({"id": "r", "name": "R", "beads_path": shared.directory()});
    problem(&harness.ask("POST", "projects", Some(&second)).await, 409, "conflict");
    let patch = json!({"beads_path": shared.directory()});
    problem(&harness.ask("PATCH", "projects/q", Some(&patch)).await, 409, "conflict");
    assert_eq!(
        harness.ask("PATCH", "projects/p", Some(&patch)).await.status,
        200,
        "its own path may be set again"
    );
}

#[tokio::test]
async fn bead_file_id_on_two_lines_is_one_bead() {
    for (name, id, title) in [("beads-union-merge", "un-1", "Newer"), ("twice", "t-b", "newer")] {
        let text = fixture(name);
        let shared = Shared::new(&text).await;
        let bead = shared.harness.get(&format!("beads/{id}")).await;
        assert_eq!((&bead["title"], &bead["status"]), (&json!(title), &json!("closed")));
        let report = shared.report().await;
        assert!(report["lines"][0]["detail"].as_str().unwrap().contains("same bead"), "{report}");
        shared.patch(id, json!({"title": "Now"})).await;
        shared.sync().await;
        let after = shared.text();
        assert_eq!(after.lines().count(), text.lines().count() - 1, "{after}");
        for kept in text.lines().filter(|line| !line.contains(&format!("\"{id}\""))) {
            assert!(after.contains(kept), "{after}");
        }
        assert_eq!(lines(&after)[id]["title"], "Now");
    }
}

#[tokio::test]
async fn comments_of_a_bead_file_all_stay() {
    for (name, ids) in [
        ("beads-comments-same-id", vec!["co-1"]),
        ("comments", vec!["m-twice", "m-no-id", "m-null-id", "m-same-id"]),
    ] {
        let text = fixture(name);
        let shared = Shared::new(&text).await;
        for id in ids {
            let comments = shared.harness.get(&format!("beads/{id}/comments")).await;
            assert_eq!(comments.as_array().unwrap().len(), 2, "{id}: {comments}");
            shared.harness.create(&format!("beads/{id}/comments"), json!({"comment": "And ours."})).await;
            shared.sync().await;
            let (before, after) = (lines(&text), lines(&shared.text()));
            let (before, after) =
                (before[id]["comments"].as_array().unwrap(), after[id]["comments"].as_array().unwrap());
            assert_eq!((after.len(), &after[..2]), (3, &before[..]), "{id}");
        }
        // The whole export has them too, with their ids.
        let exported = shared.harness.ask("POST", "projects/p/export?download=true", None).await;
        let exported = lines(std::str::from_utf8(&exported.body).unwrap());
        for (id, line) in lines(&text) {
            assert_eq!(
                &exported[&id]["comments"].as_array().unwrap()[..2],
                &line["comments"].as_array().unwrap()[..],
                "{id}"
            );
        }
    }
}

#[tokio::test]
async fn odd_lists_of_a_bead_file_survive_a_change_here() {
    for name in ["beads-labels-mixed", "odd-lists"] {
        let text = fixture(name);
        let shared = Shared::new(&text).await;
        for id in lines(&text).keys() {
            shared.patch(id, json!({"title": "Changed here"})).await;
        }
        shared.sync().await;
        let after = lines(&shared.text());
        for (id, before) in lines(&text) {
            assert_eq!(after[&id]["title"], "Changed here");
            for list in ["labels", "dependencies", "comments", "parent"] {
                assert_eq!(after[&id][list], before[list], "{list} of {id}");
            }
        }
    }
}

#[tokio::test]
async fn tombstones_stay_and_a_deleted_bead_leaves_one() {
    let shared = Shared::new(&fixture("beads-tombstone")).await;
    assert_eq!(shared.harness.ask("GET", "beads/ts-1", None).await.status, 404);
    assert_eq!(shared.harness.ask("DELETE", "beads/ts-2", None).await.status, 204);
    shared.sync().await;
    let after = lines(&shared.text());
    assert_eq!(
        (&after["ts-1"]["status"], &after["ts-1"]["deleted_by"]),
        (&json!("tombstone"), &json!("ann"))
    );
    assert_eq!(after["ts-2"]["status"], "tombstone");
    assert!(after["ts-2"]["deleted_at"].is_string());
    let text = shared.text();
    shared.sync().await;
    assert_eq!(shared.text(), text);
}

#[tokio::test]
async fn live_bead_with_deleted_at_is_a_bead() {
    let shared = Shared::new(&fixture("deleted-at")).await;
    assert_eq!(shared.harness.get("beads/d-6s61").await["status"], "closed");
    assert_eq!(shared.harness.get("beads/d-role-mayor").await["status"], "open");
}

#[tokio::test]
async fn edits_of_both_sides_are_merged_field_by_field() {
    let text =
        line(json!({"id": "a-1", "notes": "n", "labels": ["x"]})) + "\n" + &line(json!({"id": "a-2"})) + "\n";
    let shared = Shared::new(&text).await;
    shared.patch("a-1", json!({"priority": 1, "tags": ["x", "ours"]})).await;
    let mut theirs = lines(&text)["a-1"].clone();
    theirs["title"] = json!("Theirs");
    theirs["notes"] = json!("more");
    theirs["labels"] = json!(["x", "theirs"]);
    shared.write(&text.replace(text.lines().next().unwrap(), &theirs.to_string()));
    shared.sync().await;
    let bead = shared.harness.get("beads/a-1").await;
    assert_eq!((&bead["title"], &bead["priority"]), (&json!("Theirs"), &json!(1)));
    assert_eq!(bead["tags"], json!(["x", "ours", "theirs"]));
    let after = lines(&shared.text());
    assert_eq!(
        (&after["a-1"]["title"], &after["a-1"]["priority"], &after["a-1"]["notes"]),
        (&json!("Theirs"), &json!(1), &json!("more"))
    );
    assert_eq!(after["a-1"]["labels"].as_array().unwrap().len(), 3);
    assert!(shared.text().contains(text.lines().nth(1).unwrap()), "the other line is as it was");
    // A field that both changed: the newer counts, and the other value becomes a comment.
    shared.patch("a-2", json!({"title": "Ours"})).await;
    let newer = json!({"id": "a-2", "title": "Newer", "updated_at": "2099-01-01T00:00:00Z"});
    shared.edit(text.lines().nth(1).unwrap(), &line(newer));
    shared.sync().await;
    assert_eq!(shared.harness.get("beads/a-2").await["title"], "Newer");
    let comments = shared.harness.get("beads/a-2/comments").await;
    assert!(comments[0]["comment"].as_str().unwrap().ends_with("was: Ours"), "{comments}");
    let told = shared.told().await;
    assert!(told.iter().any(|event| event["data"]["message"].as_str().unwrap().contains("title of a-2")));
    assert_eq!(lines(&shared.text())["a-2"]["comments"][0]["text"], comments[0]["comment"]);
}

#[tokio::test]
async fn edit_of_a_held_bead_is_merged_when_the_lease_ends() {
    let text = line(json!({"id": "a-1"})) + "\n";
    let shared = Shared::new(&text).await;
    shared.harness.create("agents", json!({"id": "ext", "name": "ext", "kind": "external"})).await;
    shared.harness.act("beads/a-1/claim", json!({"agent_id": "ext"})).await;
    shared.sync().await;
    shared.edit("\"title\":\"t\"", "\"title\":\"Theirs\"");
    let edited = shared.text();
    let report = shared.sync().await;
    assert_eq!(report["held_ids"], json!(["a-1"]), "{report}");
    shared.harness.create("beads/a-1/comments", json!({"comment": "At work."})).await;
    shared.sync().await;
    assert_eq!(shared.text(), edited, "nothing is written over it meanwhile");
    shared.harness.act("beads/a-1/close", json!({"reason": "done"})).await;
    shared.sync().await;
    let bead = shared.harness.get("beads/a-1").await;
    assert_eq!((&bead["title"], &bead["status"]), (&json!("Theirs"), &json!("closed")));
    let after = lines(&shared.text());
    assert_eq!((&after["a-1"]["title"], &after["a-1"]["close_reason"]), (&json!("Theirs"), &json!("done")));
    assert_eq!(after["a-1"]["comments"][0]["text"], "At work.");
}

#[tokio::test]
async fn line_that_others_removed_comes_back_only_with_a_change() {
    let (first, second) = (line(json!({"id": "a-1"})) + "\n", line(json!({"id": "a-2"})) + "\n");
    let shared = Shared::new(&(first.clone() + &second)).await;
    shared.write(&first);
    shared.sync().await;
    assert_eq!(shared.text(), first, "as after a change of branches");
    assert_eq!(shared.harness.get("beads/a-2").await["title"], "t");
    shared.write(&(first.clone() + &second));
    shared.sync().await;
    assert_eq!(shared.text(), first.clone() + &second);
    shared.write(&first);
    shared.patch("a-2", json!({"title": "New"})).await;
    shared.sync().await;
    assert_eq!(lines(&shared.text())["a-2"]["title"], "New");
}

#[tokio::test]
async fn write_from_an_older_copy_of_the_file_loses_nothing() {
    let text = line(json!({"id": "a-1"})) + "\n" + &line(json!({"id": "a-2"})) + "\n";
    let shared = Shared::new(&text).await;
    shared.patch("a-1", json!({"title": "Ours"})).await;
    shared.harness.create("beads", json!({"id": "own-1", "title": "Mine", "project_id": "p"})).await;
    shared.sync().await;
    // An editor that had opened the file before saves its copy.
    let theirs = line(json!({"id": "a-2", "title": "Theirs"}));
    shared.write(&(line(json!({"id": "a-1", "notes": "seen"})) + "\n" + &theirs + "\n"));
    shared.sync().await;
    let after = lines(&shared.text());
    assert_eq!(
        (&after["a-1"]["title"], &after["a-1"]["notes"], &after["a-2"]["title"]),
        (&json!("Ours"), &json!("seen"), &json!("Theirs"))
    );
    assert_eq!(after["own-1"]["title"], "Mine");
    assert_eq!(shared.harness.get("beads/a-1").await["title"], "Ours");
}

#[tokio::test]
async fn line_that_is_not_taken_is_told_once() {
    let text = fixture("beads-title-501");
    let shared = Shared::new(&text).await;
    for _ in 0..5 {
        shared.sync().await;
    }
    let told = shared.told().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(!told[0].to_string().contains("xxxx"), "no excerpt of the file");
    shared.write(&line(json!({"id": "ti-1", "title": "Short"})));
    shared.sync().await;
    assert_eq!(shared.report().await["lines_total"], 0);
    assert_eq!(shared.harness.get("beads/ti-1").await["title"], "Short");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bead_directory_that_is_replaced_is_watched_again() {
    let shared = Shared::new(&(line(json!({"id": "a-1"})) + "\n")).await;
    let away = shared.home.path().join("away");
    for (number, id) in ["a-2", "a-3"].into_iter().enumerate() {
        let mut events = shared.harness.stream("?type=bead.created", None).await;
        fs::rename(shared.directory(), away.with_extension(number.to_string())).unwrap();
        fs::create_dir(shared.directory()).unwrap();
        shared.write(&(line(json!({"id": id})) + "\n"));
        let event: Value = serde_json::from_str(&events.next(TIMEOUT).await.unwrap().data).unwrap();
        assert_eq!(event["subject"], id);
    }
}

#[tokio::test]
async fn empty_bead_file_is_no_error_and_hides_no_yaml_tree() {
    let shared = Shared::new("").await;
    assert_eq!((shared.text().as_str(), &shared.report().await["state"]), ("", &json!("in_sync")));
    fs::write(shared.directory().join("bd-1.yaml"), "id: old-1\ntitle: From the tree\nstatus: open\n")
        .unwrap();
    let report = shared.sync().await;
    assert_eq!(report["created"], 1, "{report}");
    assert_eq!(shared.harness.get("beads/old-1").await["title"], "From the tree");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_write_of_a_bead_file_is_tried_again() {
    let text = line(json!({"id": "a-1"})) + "\n";
    let shared = Shared::new(&text).await;
    // A directory in the place of the draft cannot be removed as a file.
    let draft = shared.directory().join(".arbiter-p.tmp");
    fs::create_dir_all(draft.join("full")).unwrap();
    shared.patch("a-1", json!({"title": "New"})).await;
    problem(&shared.harness.ask("POST", "projects/p/import", None).await, 409, "bead-file-unusable");
    assert_eq!((shared.text(), &shared.report().await["state"]), (text, &json!("failed")));
    fs::remove_dir_all(draft).unwrap();
    wait_for_file(&shared.file(), |text| text.contains("\"New\"")).await;
}

#[tokio::test]
async fn bead_file_of_an_older_version_is_the_base() {
    let text = line(json!({"id": "a-1", "x": 1.50})) + "\n" + &line(json!({"id": "a-2"})) + "\n";
    let mut shared = Shared::new(&text).await;
    assert!(shared.harness.server.terminate().await.success());
    // An older version knew the digest and no lines.
    let database = rusqlite::Connection::open(shared.harness.server.data_dir().join("arbiter.db")).unwrap();
    assert_eq!(database.execute("DELETE FROM bead_file_bases", []).unwrap(), 2);
    drop(database);
    shared.harness.server.restart().await;
    shared.sync().await;
    assert_eq!(shared.text(), text);
    shared.patch("a-2", json!({"title": "New"})).await;
    shared.sync().await;
    let after = shared.text();
    assert_eq!(after.lines().next(), text.lines().next());
    assert_eq!(lines(&after)["a-2"]["title"], "New");
}

#[tokio::test]
async fn bead_directory_of_two_projects_stays_with_the_older() {
    let text = line(json!({"id": "a-1"})) + "\n";
    let mut shared = Shared::new(&text).await;
    shared.harness.create("projects", json!({"id": "q", "name": "Q"})).await;
    assert!(shared.harness.server.terminate().await.success());
    // An older version let two projects have one directory.
    let database = rusqlite::Connection::open(shared.harness.server.data_dir().join("arbiter.db")).unwrap();
    let path = shared.directory().to_str().unwrap().to_owned();
    assert_eq!(database.execute("UPDATE projects SET beads_path = ?1 WHERE id = 'q'", [path]).unwrap(), 1);
    drop(database);
    shared.harness.server.restart().await;
    assert_eq!(shared.harness.get("projects/q").await["beads_path"], Value::Null);
    assert!(shared.harness.get("projects/p").await["beads_path"].is_string());
    let told = shared.told().await;
    let is_told = |event: &Value| event["data"]["message"].as_str().unwrap().contains("q is detached");
    assert!(told.iter().any(is_told), "{told:?}");
    shared.sync().await;
    assert_eq!(shared.text(), text);
}
