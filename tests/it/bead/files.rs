//! Bead files through the running program: import, export, watching, without loss.

use crate::admission::refusals::problem;
use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{HttpResponse, send_text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    crate::tidy::root().join("tests/fixtures/beads").join(name)
}

pub fn lines(text: &str) -> BTreeMap<String, Value> {
    let parsed = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    parsed.map(|line| (line["id"].as_str().unwrap_or("-").to_owned(), line)).collect()
}

/// Fields that a reader derives, or lists in any order.
pub fn canonical(text: &str) -> BTreeMap<String, Value> {
    let mut lines = lines(text);
    for line in lines.values_mut() {
        for computed in ["dependency_count", "dependent_count", "comment_count"] {
            line.as_object_mut().unwrap().remove(computed);
        }
        if let Some(edges) = line["dependencies"].as_array_mut() {
            edges.sort_by_key(|edge| edge["depends_on_id"].to_string());
        }
        if line["dependencies"].is_null() {
            line.as_object_mut().unwrap().remove("dependencies");
        }
    }
    lines
}

impl Harness {
    async fn import(&self, query: &str, text: &str) -> HttpResponse {
        let url = format!("{}/api/v1/projects/p/import{query}", self.server.url());
        let bearer = format!("Bearer {}", self.server.token().unwrap());
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/x-ndjson")];
        send_text("POST", &url, &headers, text.to_owned()).await.unwrap()
    }

    /// The report of a file that was read into project `p`.
    pub async fn imported(&self, query: &str, text: &str) -> Value {
        let answer = self.import(query, text).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }

    async fn exported(&self) -> String {
        let answer = self.ask("POST", "projects/p/export?download=true", None).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
        String::from_utf8(answer.body.to_vec()).unwrap()
    }
}

async fn harness_with_project() -> Harness {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness
}

/// The line of a bead with these fields.
pub fn line(fields: Value) -> String {
    let mut line = json!({"_type": "issue", "id": "a-1", "title": "t", "status": "open", "priority": 2,
        "issue_type": "task", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"});
    for (name, value) in fields.as_object().unwrap() {
        line[name] = value.clone();
    }
    line.to_string()
}

#[tokio::test]
async fn bead_file_with_every_field_round_trips_and_reimports_nothing() {
    let harness = harness_with_project().await;
    let text = std::fs::read_to_string(fixture("issues.jsonl")).unwrap();
    let report = harness.imported("", &text).await;
    assert_eq!(
        (&report["created"], &report["memories"], &report["refused"]),
        (&json!(10), &json!(1), &json!([])),
        "{report}"
    );
    assert_eq!(report["dangling_dependencies"], json!([{"id": "arb-2", "depends_on": "other-77"}]));
    assert_eq!(canonical(&harness.exported().await), canonical(&text));
    let before = harness.events(0).await;
    let again = harness.imported("", &text).await;
    assert_eq!(
        (&again["created"], &again["updated"], &again["skipped"]),
        (&json!(0), &json!(0), &json!(10)),
        "{again}"
    );
    let own = harness.imported("", &harness.exported().await).await;
    assert_eq!((&own["updated"], &own["skipped"]), (&json!(0), &json!(10)), "{own}");
    assert_eq!(harness.events(0).await.len(), before.len(), "nothing happened, so nothing is told");

    let look = async |id: &str| harness.get(&format!("beads/{id}")).await;
    let ground = look("arb-1").await;
    assert_eq!(
        (&ground["status"], &ground["close_reason"], &ground["assigned_to"]),
        (&json!("closed"), &json!("done"), &json!("ann"))
    );
    assert_eq!(
        (&ground["created_at"], &ground["closed_at"]),
        (&json!("2026-01-18T19:16:06.123Z"), &json!("2026-02-01T10:00:00.000Z"))
    );
    assert_eq!(harness.get("beads/arb-1/comments").await.as_array().unwrap().len(), 2);
    // Ready is what bd has for ready: not what is deferred, pinned, ephemeral, hooked, of a foreign status, waiting.
    let ready = harness.get("beads/ready?project_id=p").await;
    let ready: Vec<&str> =
        ready.as_array().unwrap().iter().map(|bead| bead["id"].as_str().unwrap()).collect();
    assert_eq!(ready, ["arb-4", "arb-2", "arb-7"]);
    assert_eq!(look("arb-3").await["waiting_on"], json!(["arb-2"]));
    for (id, status, reason) in [
        ("arb-5", "blocked", "bd:deferred"),
        ("arb-6", "blocked", "bd:pinned"),
        ("arb-9.1", "blocked", "bd:in-review"),
    ] {
        let bead = look(id).await;
        assert_eq!((bead["status"].as_str(), bead["block_reason"].as_str()), (Some(status), Some(reason)));
    }
    assert_eq!(look("arb-8").await["status"], "in_progress", "a bead claimed elsewhere is left alone");
}

#[tokio::test]
async fn bead_file_export_writes_local_changes_and_keeps_other_fields() {
    let harness = harness_with_project().await;
    let text = std::fs::read_to_string(fixture("issues.jsonl")).unwrap();
    harness.imported("", &text).await;
    harness.act("beads/arb-2/close", json!({"reason": "built"})).await;
    let patch = json!({"title": "New title", "tags": ["mine"], "context": {"branch": "x"}});
    assert_eq!(harness.ask("PATCH", "beads/arb-1", Some(&patch)).await.status, 200);
    harness.act("beads/arb-7/block", json!({"reason": "no stone"})).await;
    harness.create("beads/arb-7/comments", json!({"comment": "It has to be hewn."})).await;
    let decision = harness
        .create("decisions", json!({"project_id": "p", "bead_id": "arb-4", "question": "Blue?"}))
        .await;
    let (before, after) = (lines(&text), lines(&harness.exported().await));
    let (was, now) = (&before["arb-1"], &after["arb-1"]);
    assert_eq!((&now["title"], &now["labels"]), (&json!("New title"), &json!(["mine"])));
    assert_eq!(now["metadata"]["arbiter"]["context"], json!({"branch": "x"}));
    for kept in [
        "design",
        "notes",
        "spec_id",
        "owner",
        "estimated_minutes",
        "external_ref",
        "started_at",
        "created_at",
    ] {
        assert_eq!(now[kept], was[kept], "{kept}");
    }
    assert_eq!(now["metadata"]["n"], was["metadata"]["n"]);
    assert!(now["updated_at"].as_str() > was["updated_at"].as_str());
    assert_eq!(
        (&after["arb-2"]["status"], &after["arb-2"]["close_reason"]),
        (&json!("closed"), &json!("built"))
    );
    assert!(after["arb-2"]["closed_at"].is_string());
    assert_eq!(after["arb-7"]["metadata"]["arbiter"]["block_reason"], "no stone");
    assert_eq!(after["arb-7"]["comments"][0]["text"], "It has to be hewn.");
    // A pending decision is a gate to bd, and holds the bead back there too.
    let gate = &after[decision["id"].as_str().unwrap()];
    assert_eq!(
        (&gate["issue_type"], &gate["await_type"], &gate["timeout"]),
        (&json!("gate"), &json!("human"), &json!(172_800_000_000_000_u64))
    );
    assert_eq!(after["arb-4"]["dependencies"][0]["depends_on_id"], decision["id"]);
    let own = harness.imported("", &harness.exported().await).await;
    assert_eq!(
        (&own["created"], &own["updated"]),
        (&json!(0), &json!(0)),
        "our own file says nothing new: {own}"
    );
}

#[tokio::test]
async fn bead_file_import_newer_side_wins_and_lists_merge() {
    let harness = harness_with_project().await;
    let edge = |target: &str| json!({"issue_id": "a-1", "depends_on_id": target, "type": "blocks"});
    let other = |id: &str| line(json!({"id": id, "title": id}));
    let begin = line(json!({"labels": ["x", "y"], "dependencies": [edge("a-2"), edge("a-3")]}));
    harness.imported("", &format!("{begin}\n{}\n{}\n{}\n", other("a-2"), other("a-3"), other("a-4"))).await;
    // Here a label and a dependency are added, there one of each goes and another comes, and the title changes.
    harness.act("beads/a-1/dependencies", json!({"depends_on": "a-4"})).await;
    let tagged = harness.ask("PATCH", "beads/a-1", Some(&json!({"tags": ["x", "y", "ours"]}))).await;
    assert_eq!(tagged.status, 200);
    let newer =
        line(json!({"title": "theirs", "updated_at": "2099-01-01T00:00:00Z", "labels": ["y", "theirs"],
        "dependencies": [edge("a-3"), edge("external:z")]}));
    let report = harness.imported("", &newer).await;
    assert_eq!(report["updated_issues"], json!(["a-1"]), "{report}");
    let bead = harness.get("beads/a-1").await;
    assert_eq!((&bead["title"], &bead["tags"]), (&json!("theirs"), &json!(["y", "ours", "theirs"])));
    assert_eq!(bead["blocked_by"], json!(["a-3", "a-4", "external:z"]));
    // Of the same second: ours stays; older: nothing at all, unless it is wanted.
    let tie = harness
        .imported(
            "",
            &line(json!({"title": "tie", "updated_at": "2099-01-01T00:00:00.9Z", "labels": ["late"]})),
        )
        .await;
    assert_eq!((&tie["tie_kept_local_ids"], &tie["updated"]), (&json!(["a-1"]), &json!(1)), "{tie}");
    let bead = harness.get("beads/a-1").await;
    assert_eq!(
        (&bead["title"], bead["tags"].as_array().unwrap().contains(&json!("late"))),
        (&json!("theirs"), true)
    );
    let old = line(json!({"title": "old", "updated_at": "2020-01-01T00:00:00Z"}));
    let stale = harness.imported("", &old).await;
    assert_eq!(stale["stale_skipped_ids"], json!(["a-1"]));
    assert_eq!(harness.get("beads/a-1").await["title"], "theirs");
    harness.imported("?allow_stale=true", &old).await;
    assert_eq!(harness.get("beads/a-1").await["title"], "old");
}

#[tokio::test]
async fn bead_file_import_reports_bad_lines_and_takes_the_rest() {
    let harness = harness_with_project().await;
    harness.create("projects", json!({"id": "q", "name": "Q"})).await;
    harness.create("beads", json!({"id": "theirs", "title": "t", "project_id": "q"})).await;
    harness.bead("gone", json!({})).await;
    assert_eq!(harness.ask("DELETE", "beads/gone", None).await.status, 204);
    let agent = json!({"id": "ext", "name": "ext", "kind": "external"});
    harness.create("agents", agent).await;
    harness.bead("held", json!({})).await;
    harness.act("beads/held/claim", json!({"agent_id": "ext"})).await;
    let circle = |id: &str, target: &str| {
        line(json!({"id": id, "dependencies": [{"issue_id": id, "depends_on_id": target, "type": "blocks"}]}))
    };
    let text = [
        line(json!({"id": "good"})),
        "nonsense".to_owned(),
        json!({"id": "untitled"}).to_string(),
        line(json!({"id": "high", "priority": 9})),
        line(json!({"id": "theirs"})),
        line(json!({"id": "gone"})),
        line(json!({"id": "held", "title": "new", "updated_at": "2099-01-01T00:00:00Z"})),
        line(json!({"id": "good"})),
        circle("c-1", "c-2"),
        circle("c-2", "c-3"),
        circle("c-3", "c-1"),
        json!({"id": "dead", "title": "t", "status": "tombstone"}).to_string(),
        json!({"_type": "future", "x": 1.50}).to_string(),
    ]
    .join("\n");
    let dry = harness.imported("?dry_run=true", &text).await;
    assert_eq!((&dry["dry_run"], &dry["created"]), (&json!(true), &json!(4)), "{dry}");
    assert_eq!(harness.ask("GET", "beads/good", None).await.status, 404, "a dry run changes nothing");
    problem(&harness.import("?strict=true", &text).await, 422, "invalid");
    assert_eq!(harness.ask("GET", "beads/good", None).await.status, 404, "all or nothing");
    let report = harness.imported("", &text).await;
    assert_eq!((&report["created"], &report["memories"]), (&json!(4), &json!(1)), "{report}");
    let refused: Vec<u64> =
        report["refused"].as_array().unwrap().iter().map(|one| one["line"].as_u64().unwrap()).collect();
    assert_eq!(refused, [2, 3, 4]);
    let twice = report["warnings"].as_array().unwrap().iter().find(|one| one["line"] == 8).unwrap();
    assert!(twice["detail"].as_str().unwrap().contains("twice"), "{twice}");
    assert_eq!(
        (&report["other_project_ids"], &report["deleted_ids"], &report["held_ids"]),
        (&json!(["theirs"]), &json!(["gone"]), &json!(["held"]))
    );
    assert_eq!(report["cycles"].as_array().unwrap().len(), 1, "{report}");
    assert!(report["cycles"][0].as_str().unwrap().contains(" → "));
    // The dependency that closes the circle is kept, and goes back into the file as it was.
    let exported = lines(&harness.exported().await);
    for (id, target) in [("c-1", "c-2"), ("c-2", "c-3"), ("c-3", "c-1")] {
        assert_eq!(
            (&exported[id]["dependencies"][0]["depends_on_id"], &exported[id]["dependencies"][0]["type"]),
            (&json!(target), &json!("blocks"))
        );
    }
    assert_eq!(harness.get("beads/held").await["title"], "Bead held");
    let moved = harness.imported("?prefix=new", &line(json!({"id": "theirs-1"}))).await;
    assert_eq!(moved["created"], 1);
    assert_eq!(harness.get("beads/new-1").await["project_id"], "p");
    problem(&harness.ask("POST", "projects/p/import", None).await, 409, "no-bead-file");
    problem(&harness.ask("POST", "projects/none/export", None).await, 404, "not-found");
}

#[tokio::test]
async fn bead_id_of_a_path_word_is_refused_everywhere() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let words = ["ready", "bulk", "claim", "Upper", "a/b", "a b", "..", "null"];
    let line = |id: &str| {
        let at = "2026-11-20T10:00:00Z";
        json!({"_type": "issue", "id": id, "title": "t", "status": "open", "priority": 1, "issue_type": "task",
            "created_at": at, "updated_at": at})
        .to_string()
    };
    let mut text = words.map(line).join("\n");
    text.push_str(&format!("\n{}\n", line("ready-1")));
    for word in words {
        let new = json!({"id": word, "title": "t", "project_id": "p"});
        problem(&harness.ask("POST", "beads", Some(&new)).await, 422, "invalid");
        let many = json!({"beads": [new]});
        problem(&harness.ask("POST", "beads/bulk", Some(&many)).await, 422, "invalid");
    }
    let report = harness.imported("", &text).await;
    assert_eq!(
        (&report["created"], report["refused"].as_array().unwrap().len()),
        (&json!(1), words.len()),
        "{report}"
    );
    assert_eq!(harness.get("beads").await.as_array().map(Vec::len), Some(1));
    // With a prefix the words are beads like any other.
    let report = harness.imported("?prefix=x", &line("claim")).await;
    assert_eq!(
        (&report["created"], &harness.get("beads/x-claim").await["id"]),
        (&json!(1), &json!("x-claim"))
    );
}

#[tokio::test]
async fn bead_file_import_of_both_yaml_dialects_keeps_all_fields() {
    for tree in ["yaml", "yaml-squeezed"] {
        let harness = Harness::new().await;
        harness.create("projects", json!({"id": "house", "name": "House"})).await;
        let path = fixture(tree);
        let done = harness.cli(&["bead", "import", "--project", "house", path.to_str().unwrap()]).await;
        assert_eq!(
            (done.code, done.stdout.trim()),
            (Some(0), "3 created, 0 updated, 0 unchanged, 1 dependencies on beads that are not here"),
            "{done:?}"
        );
        let first = harness.get("beads/bd-001").await;
        assert_eq!(
            (&first["project_id"], &first["assigned_to"], &first["status"]),
            (&json!("house"), &json!("ann"), &json!("closed"))
        );
        assert_eq!(
            (&first["created_at"], &first["closed_at"]),
            (&json!("2026-01-18T19:16:06.000Z"), &json!("2026-01-18T21:49:00.000Z"))
        );
        assert_eq!(
            (&first["description"], &first["context"]),
            (&json!("Two\nlines.\n"), &json!({"branch": "main", "issue": "12"}))
        );
        let second = harness.get("beads/bd-002").await;
        assert_eq!(
            (&second["blocked_by"], &second["parent"]),
            (&json!(["bd-001", "bd-009"]), &json!("bd-003")),
            "{second}"
        );
        assert_eq!(
            (&second["status"], &second["priority"], &second["assigned_to"]),
            (&json!("in_progress"), &json!(0), &json!("bob"))
        );
        let third = harness.get("beads/bd-003").await;
        assert_eq!(
            (&third["children"], &third["status"], &third["created_at"]),
            (&json!(["bd-002"]), &json!("blocked"), &json!("2026-01-19T00:03:00.500Z"))
        );
        let again = harness.cli(&["bead", "import", "--project", "house", path.to_str().unwrap()]).await;
        assert!(again.stdout.starts_with("0 created, 0 updated, 3 unchanged"), "{again:?}");
        let exported = harness.cli(&["bead", "export", "--project", "house", "--output", "-"]).await;
        assert_eq!(lines(&exported.stdout)["bd-002"]["milestone"], "q3");
    }
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "hut", "name": "Hut"})).await;
    let path = fixture("yaml");
    let done = harness.cli(&["bead", "import", "--project", "hut", path.to_str().unwrap()]).await;
    assert!(
        done.stdout.contains("3 lines not taken") && done.stderr.contains("belongs to the project \"house\""),
        "{done:?}"
    );
}

/// Waits until a file has a content that is wanted.
pub async fn wait_for_file(path: &Path, predicate: impl Fn(&str) -> bool) -> String {
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if predicate(&text) {
            return text;
        }
        assert!(tokio::time::Instant::now() < deadline, "{}: {text}", path.display());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn project_bead_file_stays_in_sync_across_a_restart() {
    let mut harness = Harness::with(&[("ARBITER_BEAD_FILES__PAUSE_MS", "50")]).await;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join(".beads");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("issues.jsonl");
    std::fs::write(&file, line(json!({"id": "a-1", "title": "From the file"})) + "\n").unwrap();
    harness
        .create("projects", json!({"id": "p", "name": "P", "beads_path": directory, "bead_prefix": "a"}))
        .await;
    let mut events = harness.stream("?type=bead.created", Some(0)).await;
    events.next(TIMEOUT).await.unwrap();
    assert_eq!(harness.get("beads/a-1").await["title"], "From the file");
    let made = harness.create("beads", json!({"title": "From here", "project_id": "p"})).await;
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("a-"), "{id}");
    let text = wait_for_file(&file, |text| text.contains(&id)).await;
    assert_eq!(lines(&text).len(), 2, "{text}");
    // Another program writes the file: a new bead, and a newer state of ours.
    let mut theirs = lines(&text);
    theirs.get_mut(&id).unwrap()["title"] = json!("Theirs");
    theirs.get_mut(&id).unwrap()["updated_at"] = json!("2099-01-01T00:00:00Z");
    let text: String = theirs.values().map(|line| line.to_string() + "\n").collect::<String>()
        + &line(json!({"id": "a-2"}))
        + "\n";
    std::fs::write(&file, &text).unwrap();
    harness.wait_until(&format!("beads/{id}"), |bead| bead["title"] == "Theirs").await;
    assert_eq!(harness.get("beads/a-2").await["status"], "open");
    let report = harness.act("projects/p/export", Value::Null).await;
    assert_eq!((&report["beads"], &report["deleted_ids"]), (&json!(3), &json!([])), "{report}");
    assert_eq!(harness.ask("DELETE", "beads/a-2", None).await.status, 204);
    wait_for_file(&file, |text| lines(text).get("a-2").is_some_and(|line| line["status"] == "tombstone"))
        .await;

    // While the server is down the file goes on; nothing of either side is lost.
    harness.server.kill9();
    let text = std::fs::read_to_string(&file).unwrap()
        + &line(json!({"id": "a-3", "title": "While you slept"}))
        + "\n";
    std::fs::write(&file, text).unwrap();
    harness.server.restart().await;
    harness.wait_until("beads/a-3", |bead| bead["title"] == "While you slept").await;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o644);
    // No temporary file stays behind: one that is being written has another name until it is whole.
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    loop {
        let left: Vec<_> =
            std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        if left == ["issues.jsonl"] {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{left:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bead_file_line_that_is_not_taken_is_not_overwritten() {
    let harness = Harness::with(&[("ARBITER_BEAD_FILES__PAUSE_MS", "50")]).await;
    harness.create("projects", json!({"id": "q", "name": "Q"})).await;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join(".beads");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("issues.jsonl");
    let text = line(json!({"id": "good"})) + "\n" + &line(json!({"id": "bad", "priority": 77})) + "\n";
    std::fs::write(&file, &text).unwrap();
    harness.create("projects", json!({"id": "p", "name": "P", "beads_path": directory})).await;
    let mut events = harness.stream("?type=bead.created,log.message", Some(0)).await;
    let mut told = String::new();
    while !told.contains("line 2 priority is not 0 to 4") {
        told = events.next(TIMEOUT).await.unwrap().data;
    }
    harness.act("projects/p/export", Value::Null).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "not a byte has changed");
    harness.create("beads", json!({"id": "own", "title": "Ours", "project_id": "p"})).await;
    wait_for_file(&file, |now| now.starts_with(&text) && now.contains("\"own\"")).await;
    for wrong in ["relative/.beads", "/tmp/elsewhere", "/tmp/../.beads"] {
        let answer = harness.ask("PATCH", "projects/q", Some(&json!({"beads_path": wrong}))).await;
        problem(&answer, 422, "invalid");
    }
}
