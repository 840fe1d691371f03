//! Free-form values at their bounds, and rows that no parser reads, through every reader: each accepted value can be
//! read back.

use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::resident_bytes;
use serde_json::{Value, json};

/// The deepest nesting and the most bytes of a free-form value.
const MAX_DEPTH: usize = 32;
const MAX_BYTES: usize = 262_144;

/// An object that is nested this deep.
fn nested(levels: usize) -> Value {
    (1..levels).fold(json!({"end": true}), |inner, _| json!({ "a": inner }))
}

/// An object with this many bytes of JSON.
fn of_size(bytes: usize) -> Value {
    json!({"a": "x".repeat(bytes - json!({"a": ""}).to_string().len())})
}

async fn harness() -> Harness {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P", "context": nested(MAX_DEPTH)})).await;
    harness
}

/// Reads everything by every reader and returns the number of the newest event that each of them reached.
async fn read_everything(harness: &Harness) -> u64 {
    for list in
        ["beads", "projects", "agents", "decisions", "runs", "work-graph", "file-locks", "system/status"]
    {
        harness.get(list).await;
    }
    let logged = harness.events(0).await;
    let last = logged.last().unwrap()["seq"].as_u64().unwrap();
    assert_eq!(u64::try_from(logged.len()).unwrap(), last, "the log has no gap");
    let mut stream = harness.stream("", Some(0)).await;
    let mut seen = 0;
    while seen < last {
        seen = stream.next(TIMEOUT).await.unwrap().id.unwrap().parse().unwrap();
    }
    for arguments in [["events", "list"], ["bead", "list"]] {
        let printed = harness.cli(&arguments).await;
        assert_eq!(printed.code, Some(0), "{arguments:?}: {}", printed.stderr);
    }
    last
}

#[tokio::test]
async fn values_at_their_bounds_pass_every_reader() {
    let harness = harness().await;
    harness.bead("deep", json!({"context": nested(MAX_DEPTH)})).await;
    harness.bead("large", json!({"context": of_size(MAX_BYTES), "description": "d".repeat(MAX_BYTES)})).await;
    harness.bead("ended", json!({"acceptance_criteria": "c".repeat(MAX_BYTES)})).await;
    // An event of a change holds the old and the new value, nested deeper than the value itself.
    for context in [of_size(MAX_BYTES), nested(MAX_DEPTH)] {
        let patched = harness.ask("PATCH", "beads/deep", Some(&json!({ "context": context }))).await;
        assert_eq!((patched.status, &patched.json()["context"]), (200, &context));
    }
    harness.act("beads/large/block", json!({"reason": "r".repeat(65_536)})).await;
    harness.act("beads/ended/complete", json!({"summary": "s".repeat(MAX_BYTES)})).await;
    let agent =
        json!({"id": "a", "name": "A", "kind": "external", "config": {"mine": nested(MAX_DEPTH - 1)}});
    harness.create("agents", agent).await;
    harness.create("events", json!({"message": "m", "data": nested(MAX_DEPTH)})).await;
    let last = read_everything(&harness).await;
    assert!(harness.get("audit/verify").await["last_seq"].as_u64().unwrap() >= last);
    let exported = harness.ask("POST", "projects/p/export?download=true", None).await;
    let text = String::from_utf8(exported.body.to_vec()).unwrap();
    harness.create("projects", json!({"id": "q", "name": "Q"})).await;
    let report = harness.imported("?dry_run=true", &text).await;
    assert_eq!((&report["refused"], &report["skipped"]), (&json!([]), &json!(3)), "{report}");
}

#[tokio::test]
async fn values_beyond_their_bounds_are_refused_by_name() {
    let harness = harness().await;
    harness.bead("b", json!({})).await;
    let bead = |context: Value| json!({"title": "t", "project_id": "p", "context": context});
    let external = |config: Value| json!({"name": "A", "kind": "external", "config": config});
    let (deep, large) = (nested(MAX_DEPTH + 1), of_size(MAX_BYTES + 1));
    let in_text = json!(nested(100).to_string());
    for (method, path, body, pointer) in [
        ("POST", "beads", bead(deep.clone()), "/context"),
        ("POST", "beads", bead(large.clone()), "/context"),
        ("PATCH", "beads/b", json!({"context": deep}), "/context"),
        ("POST", "projects", json!({"name": "x", "context": deep}), "/context"),
        ("POST", "agents", external(deep.clone()), "/config"),
        ("POST", "agents", external(in_text), "/config"),
        ("POST", "events", json!({"message": "m", "data": large}), "/data"),
        ("POST", "beads", bead(nested(100)), ""),
        ("POST", "beads/b/block", json!({"reason": "r".repeat(65_537)}), "/reason"),
        ("POST", "beads/b/complete", json!({"summary": "s".repeat(MAX_BYTES + 1)}), "/summary"),
    ] {
        let answer = harness.ask(method, path, Some(&body)).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status, &problem["errors"][0]["pointer"]),
            (422, &json!(pointer)),
            "{path}: {problem}"
        );
    }
    let line = |id: &str, context: Value| {
        crate::bead::files::line(json!({"id": id, "metadata": {"arbiter": {"context": context}}}))
    };
    let text = [line("a-1", nested(MAX_DEPTH + 1)), line("a-2", nested(100)), line("a-3", nested(MAX_DEPTH))]
        .join("\n");
    let report = harness.imported("", &text).await;
    let lines: Vec<&Value> = report["refused"].as_array().unwrap().iter().map(|one| &one["line"]).collect();
    assert_eq!((lines, &report["created"]), (vec![&json!(1), &json!(2)], &json!(1)), "{report}");
    read_everything(&harness).await;
}

#[tokio::test]
async fn unreadable_event_and_row_stop_no_reader() {
    let mut harness = harness().await;
    for id in ["b1", "b2", "b3"] {
        harness.bead(id, json!({})).await;
    }
    harness.server.terminate().await;
    let too_deep = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
    let database = rusqlite::Connection::open(harness.server.data_dir().join("arbiter.db")).unwrap();
    for sql in [
        "UPDATE beads SET context = ?1 WHERE id = 'b1'",
        "UPDATE events SET data = ?1 WHERE subject = 'b1' AND type = 'bead.created'",
    ] {
        assert_eq!(database.execute(sql, [&too_deep]).unwrap(), 1, "{sql}");
    }
    assert_eq!(database.execute("UPDATE beads SET updated_at = 'soon' WHERE id = 'b2'", []).unwrap(), 1);
    drop(database);
    harness.server.restart().await;
    read_everything(&harness).await;
    let bead = harness.get("beads/b1").await;
    assert!(bead["context"]["_unreadable"].is_string(), "{bead}");
    let listed = harness.ask("GET", "beads", None).await;
    assert_eq!(listed.json().as_array().unwrap().len(), 2, "{}", listed.json());
    assert!(listed.header("arbiter-unreadable").contains("b2"));
    let shown = harness.get("events?subject=b1").await;
    assert!(shown[0]["data"]["_unreadable"].is_string(), "{shown}");
    // The row was changed behind the server's back, and the audit says which one.
    let audit = harness.get("audit/verify").await;
    assert_eq!(audit["ok"], false, "{audit}");
    harness.bead("b4", json!({})).await;
    let retitled = harness.ask("PATCH", "beads/b1", Some(&json!({"title": "Another"}))).await;
    assert_eq!(retitled.status, 200, "{}", retitled.json());
}

#[tokio::test]
async fn large_pages_end_at_bytes_and_link_to_the_next() {
    let harness = harness().await;
    for number in 0..24 {
        harness.bead(&format!("b{number:02}"), json!({"description": "d".repeat(MAX_BYTES)})).await;
    }
    let (mut path, mut seen, mut pages) = ("beads?limit=1000".to_owned(), Vec::new(), 0);
    loop {
        let page = harness.ask("GET", &path, None).await;
        seen.extend(
            page.json().as_array().unwrap().iter().map(|bead| bead["id"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        let Some((link, _)) = page.header("link").split_once('>') else { break };
        path = link.trim_start_matches("</api/v1/").to_owned();
    }
    assert_eq!(seen, (0..24).map(|number| format!("b{number:02}")).collect::<Vec<_>>());
    assert_eq!(pages, 2, "16 rows of 256 KiB fill a page of 4 MiB");
    read_everything(&harness).await;
}

#[tokio::test]
async fn agent_bytes_of_a_day_end_with_429() {
    let harness = Harness::with(&[("ARBITER_HTTP__AGENT_BYTES_PER_DAY", "10000")]).await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.create("agents", json!({"id": "a", "name": "A", "kind": "external"})).await;
    harness.bead("b", json!({})).await;
    let token = harness.create("tokens", json!({"name": "t", "role": "agent", "agent_id": "a"})).await;
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    let url = format!("{}/api/v1/beads/b/comments", harness.server.url());
    let comment = |bytes: usize| json!({"comment": "c".repeat(bytes)});
    let mut statuses = Vec::new();
    for bytes in [6_000, 6_000, 1_000] {
        let headers = [("authorization", bearer.as_str())];
        statuses
            .push(arbiter_testkit::send("POST", &url, &headers, Some(&comment(bytes))).await.unwrap().status);
    }
    assert_eq!(statuses, [201, 429, 201]);
    harness.create("beads/b/comments", comment(20_000)).await;
}

#[tokio::test]
async fn import_beyond_its_bytes_is_refused() {
    let harness = Harness::with(&[("ARBITER_HTTP__MAX_IMPORT_BYTES", "2000")]).await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let url = format!("{}/api/v1/projects/p/import", harness.server.url());
    let bearer = format!("Bearer {}", harness.server.token().unwrap());
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/x-ndjson")];
    let send = async |text: String| arbiter_testkit::send_text("POST", &url, &headers, text).await.unwrap();
    let large = send(crate::bead::files::line(json!({"description": "d".repeat(2_000)}))).await;
    assert_eq!((large.status, &large.json()["type"]), (413, &json!("too-large")), "{}", large.json());
    let wrong = send("x\n".repeat(900)).await.json();
    assert_eq!((wrong["refused"].as_array().unwrap().len(), &wrong["omitted"]), (900, &json!(0)));
}

#[tokio::test]
async fn idle_streams_hold_a_small_part_of_a_large_log() {
    const STREAMS: usize = 20;
    let harness = harness().await;
    for number in 0..60 {
        harness.bead(&format!("b{number:02}"), json!({"description": "d".repeat(MAX_BYTES)})).await;
    }
    let process = harness.server.id().to_string();
    let before = resident_bytes(&process).unwrap();
    let mut idle = Vec::new();
    for _ in 0..STREAMS {
        idle.push(harness.stream("", Some(0)).await);
    }
    // One reads the whole log while the others take nothing.
    let last = harness.get("events/stats").await["last_seq"].as_u64().unwrap();
    let (mut reader, mut seen) = (harness.stream("", Some(0)).await, 0);
    while seen < last {
        seen = reader.next(TIMEOUT).await.unwrap().id.unwrap().parse().unwrap();
    }
    let grown = resident_bytes(&process).unwrap().saturating_sub(before);
    let all = u64::try_from(STREAMS * 60 * MAX_BYTES).unwrap();
    assert!(grown < all / 3, "{STREAMS} idle streams hold {grown} bytes of {all}");
}
