//! Today's program on the data directory of an earlier release: every entity reads back and work continues.
//!
//! `tests/fixtures/upgrade/make` creates such a directory with the program of a release. A release that changes the
//! stored format adds one. An existing directory is never regenerated: it stands for data that users have.

use crate::admission::refusals::problem;
use crate::harness::program::BINARY;
use crate::harness::{FAST_KDF, Harness, KEY};
use arbiter_testkit::{Script, ScriptedProvider, ServerProcess};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Retention that keeps the data of a fixture of any age.
const KEEP: [(&str, &str); 2] =
    [("ARBITER_EVENTS__RETENTION_DAYS", "36500"), ("ARBITER_PROVIDERS__USAGE_RETENTION_DAYS", "36500")];

/// Fields that time or the start of a server changes, by list.
const LEFT_OUT: &[(&str, &[&str])] = &[
    ("providers", &["last_heartbeat_at", "last_heartbeat_error", "last_heartbeat_latency_ms", "status"]),
    ("providers", &["revision", "updated_at"]),
    ("file-locks", &["expires_at"]),
    ("tokens", &["last_used_at"]),
    ("vault", &["unlocked_at"]),
    ("budgets", &["left_usd", "renews_at", "reserved_usd", "since", "spent_usd", "warned"]),
];

/// Copies a data directory and restores its modes, of which Git keeps only the executable bit.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// Returns the fixture directories of all releases.
fn fixtures() -> Vec<PathBuf> {
    let entries = fs::read_dir(crate::tidy::root().join("tests/fixtures/upgrade")).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

/// Starts a server on a copy of a data directory.
async fn started_on(data: &Path) -> Harness {
    let environment = [&[FAST_KDF], KEEP.as_slice()].concat();
    let mut server = ServerProcess::start(BINARY, &[], &environment).await;
    server.terminate().await;
    fs::remove_dir_all(server.data_dir()).unwrap();
    copy(data, &server.data_dir());
    server.restart().await;
    Harness { server }
}

/// Tells whether a field has to be as it was.
fn is_compared(list: &str, field: &str) -> bool {
    !LEFT_OUT.iter().any(|(of, fields)| *of == list && fields.contains(&field))
}

/// Appends the fields of an entity that have changed. Fields that a later release added do not count.
fn compare(list: &str, id: &str, (before, after): (&Value, &Value), differences: &mut Vec<String>) {
    for (field, was) in before.as_object().unwrap().iter().filter(|(field, _)| is_compared(list, field)) {
        if after[field] != *was {
            differences.push(format!("{list} {id} {field}: it was {was} and is {}", after[field]));
        }
    }
}

/// Compares every entity with its state before the upgrade, and verifies the event log.
async fn check_entities(harness: &Harness, expected: &Value) {
    let mut differences = Vec::new();
    for (list, entries) in expected["lists"].as_object().unwrap() {
        for (id, before) in entries.as_object().unwrap() {
            let single = ["agents", "beads", "decisions", "projects", "providers", "runs"];
            let after = if single.contains(&list.as_str()) {
                harness.get(&format!("{list}/{id}")).await
            } else {
                let name = match list.as_str() {
                    "budgets" => "scope",
                    "file-locks" => "path",
                    _ => "id",
                };
                let all = harness.get(list).await;
                let found = all.as_array().unwrap().iter().find(|entry| entry[name] == *id);
                found.unwrap_or_else(|| panic!("{list} has no {id}: {all}")).clone()
            };
            compare(list, id, (before, &after), &mut differences);
        }
    }
    for (path, before) in expected["single"].as_object().unwrap() {
        compare(path, "", (before, &harness.get(path).await), &mut differences);
    }
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(harness.get("usage?group_by=agent").await, expected["usage"]);
    let last = harness.get("events/stats").await["last_seq"].as_u64();
    assert!(last >= expected["last_seq"].as_u64(), "{last:?}");
    let verified = harness.get("audit/verify").await;
    assert_eq!(verified["ok"], true, "{verified}");
}

/// Uses leases, tokens, locks and decisions that were made before the upgrade.
async fn check_work_of_clients(harness: &Harness, secrets: &Value) {
    let token = secrets["agent_token"].as_str().unwrap();
    let lease = json!({"lease_token": secrets["lease_token"]});
    let renewed = harness.ask_as(token, "POST", "beads/held/heartbeat", Some(&lease)).await;
    assert_eq!(renewed.status, 200, "{}", renewed.json());
    let lock = json!({"project_id": "house", "paths": ["src/wall.rs"], "agent_id": "builder"});
    problem(&harness.ask("POST", "file-locks", Some(&lock)).await, 409, "file-locked");
    let done = json!({"summary": "it stands", "lease_token": secrets["lease_token"]});
    let done = harness.ask_as(token, "POST", "beads/held/complete", Some(&done)).await;
    assert_eq!((done.status, &done.json()["status"]), (200, &json!("closed")), "{}", done.json());
    let claimed = harness.ask_as(token, "POST", "beads/waiting/claim", None).await;
    assert_eq!(claimed.status, 200, "{}", claimed.json());
    let done = json!({"summary": "the roof, too", "lease_token": claimed.json()["lease"]["token"]});
    let done = harness.ask_as(token, "POST", "beads/waiting/complete", Some(&done)).await;
    assert_eq!((done.status, &done.json()["status"]), (200, &json!("closed")), "{}", done.json());

    let viewer = secrets["viewer_token"].as_str().unwrap();
    assert_eq!(harness.ask_as(viewer, "GET", "projects/house", None).await.status, 200);
    problem(&harness.ask_as(viewer, "GET", "projects/garden", None).await, 404, "not-found");
    let answer = json!({"decision": "blue", "rationale": "as the sky"});
    let decided = harness.act("decisions/open-question/decide", answer).await;
    assert_eq!(decided["status"], "resolved", "{decided}");
}

/// Lets an agent work with a provider key that was stored before the upgrade.
async fn check_work_of_agents(harness: &Harness) {
    let provider = ScriptedProvider::start(Script::default().requiring_key(KEY));
    let moved = harness.ask("PATCH", "providers/scripted", Some(&json!({"endpoint": provider.url()}))).await;
    assert_eq!(moved.status, 200, "{}", moved.json());
    let beat = harness.act("providers/scripted/heartbeat", Value::Null).await;
    assert_eq!(beat["status"], "active", "{beat}");
    harness.act("agents/builder/restart", Value::Null).await;
    harness.wait_for_bead_status("next", "closed").await;
    assert_eq!(provider.requests().last().unwrap().authorization, Some(format!("Bearer {KEY}")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_directory_of_an_earlier_release_is_taken_over() {
    let fixtures = fixtures();
    assert!(!fixtures.is_empty());
    for fixture in fixtures {
        let expected = fs::read_to_string(fixture.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        let mut harness = started_on(&fixture.join("data")).await;
        assert_eq!(harness.server.token(), expected["secrets"]["admin_token"].as_str());
        check_entities(&harness, &expected).await;
        check_work_of_clients(&harness, &expected["secrets"]).await;
        check_work_of_agents(&harness).await;
        harness.server.terminate().await;
        let verified = harness.cli(&["audit", "verify"]).await;
        assert_eq!(verified.code, Some(0), "{verified:?}");
    }
}
