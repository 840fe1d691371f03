//! Failing disks under a running server: it reports a full disk and waits, it ends when a sync fails, and in
//! both cases keeps every answered change.

use crate::harness::program::BINARY;
use crate::harness::reexec_in_namespace;
use crate::harness::{FAST_KDF, Harness, TIMEOUT};
use arbiter_testkit::{HttpResponse, ServerProcess, send};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tokio::task::JoinSet;

/// A file on the small disk that is removed to make room.
const RESERVE_BYTES: usize = 3_000_000;

/// A bead to be created, of so many bytes.
fn bead(id: &str, size: usize) -> Value {
    json!({"id": id, "title": id, "project_id": "p", "description": "x".repeat(size)})
}

/// Sends a change to a server that may go away: no answer is an outcome as well.
async fn create(server: &ServerProcess, bead: &Value) -> Option<HttpResponse> {
    let bearer = format!("Bearer {}", server.token().unwrap());
    let url = format!("{}/api/v1/beads", server.url());
    send("POST", &url, &[("authorization", &bearer)], Some(bead)).await.ok()
}

/// Every answered bead is there, and none that was refused for good; the log is whole.
async fn check_beads(harness: &Harness, answered: &BTreeSet<String>, refused: &BTreeSet<String>) {
    for (ids, status) in [(answered, 200), (refused, 404)] {
        for id in ids {
            assert_eq!(harness.ask("GET", &format!("beads/{id}"), None).await.status, status, "{id}");
        }
    }
    let verified = harness.get("audit/verify").await;
    assert_eq!(verified["ok"], true, "{verified}");
    let mut told = BTreeMap::<String, usize>::new();
    for event in harness.events(0).await {
        if event["type"] == "bead.created" {
            *told.entry(event["subject"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert!(answered.iter().all(|id| told.get(id) == Some(&1)), "{told:?}");
    assert!(refused.iter().all(|id| !told.contains_key(id)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_answers_507_and_writes_resume_with_space() {
    let Some(disk) = reexec_in_namespace::mounted_disk() else {
        let test = "crash::disk_faults::full_disk_answers_507_and_writes_resume_with_space";
        return reexec_in_namespace::run_on_disk(test, "size=12m,mode=0700");
    };
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![7_u8; RESERVE_BYTES]).unwrap();
    let mut harness = Harness::new().await;
    assert!(harness.server.data_dir().starts_with(&disk));
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let mut events = harness.stream("?type=bead.created", None).await;

    let (mut answered, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for number in 0.. {
        let mut group = JoinSet::new();
        for part in 0..4 {
            let (id, url) = (format!("b{number}-{part}"), format!("{}/api/v1/beads", harness.server.url()));
            let bearer = format!("Bearer {}", harness.server.token().unwrap());
            group.spawn(async move {
                let answer =
                    send("POST", &url, &[("authorization", &bearer)], Some(&bead(&id, 40_000))).await;
                (id, answer.unwrap())
            });
        }
        while let Some(ended) = group.join_next().await {
            let (id, answer) = ended.unwrap();
            match answer.status {
                201 => assert!(answered.insert(id)),
                507 => {
                    assert_eq!(answer.json()["type"], "disk-full", "{}", answer.json());
                    refused.insert(id);
                }
                status => panic!("{status} {}", answer.json()),
            }
        }
        if refused.len() > 8 {
            break;
        }
    }
    assert!(answered.len() > 20, "{answered:?}");

    // It lives, it reads, its streams go on; nothing that was refused is there.
    assert_eq!(harness.ask("GET", "health/live", None).await.status, 200);
    check_beads(&harness, &answered, &refused).await;
    for _ in &answered {
        events.next(TIMEOUT).await.unwrap();
    }
    // A key that finds no space leaves the vault as it was.
    let key = json!({"id": "k", "name": "k", "value": "v".repeat(20_000)});
    let before = std::fs::read(harness.server.data_dir().join("keys.json")).unwrap();
    let padding = disk.join("padding");
    fill_disk(&padding);
    let stored = harness.ask("POST", "keys", Some(&key)).await;
    assert!(stored.status >= 500, "{} {}", stored.status, stored.json());
    assert_eq!(std::fs::read(harness.server.data_dir().join("keys.json")).unwrap(), before);

    let late = harness.ask("POST", "beads", Some(&bead("late", 40_000))).await;
    assert_eq!(late.status, 507, "{}", late.json());
    let ready = harness.ask("GET", "health/ready", None).await;
    assert_eq!((ready.status, &ready.json()["status"]), (503, &json!("not_ready")), "{}", ready.json());

    std::fs::remove_file(&padding).unwrap();
    std::fs::remove_file(&ballast).unwrap();
    harness.create("beads", bead("afterwards", 40_000)).await;
    assert_eq!(harness.ask("GET", "health/ready", None).await.status, 200);
    answered.insert("afterwards".to_owned());
    harness.create("keys", key).await;
    let next: Value = serde_json::from_str(&events.next(TIMEOUT).await.unwrap().data).unwrap();
    assert_eq!(next["subject"], "afterwards", "the stream has it at once");
    check_beads(&harness, &answered, &refused).await;
    harness.server.kill9();
    harness.server.restart().await;
    assert_eq!(harness.get("vault").await["keys"], 1);
    check_beads(&harness, &answered, &refused).await;
}

/// Takes all the space that is left.
pub fn fill_disk(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[7; 512]).is_ok() {}
}

/// A server whose thread fails with EIO from its sync number `failing` on.
async fn start_under_strace(trace: &Path, failing: usize) -> ServerProcess {
    let inject = format!("inject=fsync,fdatasync:error=EIO:when={failing}+");
    // -D: the server stays our own child, and strace goes with it.
    let strace = ["strace", "-D", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", &inject, "-o"];
    let prefix = [&strace[..], &[trace.to_str().unwrap()]].concat();
    ServerProcess::start_behind(&prefix, BINARY, &[], &[FAST_KDF]).await
}

/// How many syncs each thread has done.
fn sync_counts(trace: &Path) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in std::fs::read_to_string(trace).unwrap().lines() {
        let thread = line.split(' ').next().unwrap();
        if line.contains("sync(") {
            *counts.entry(thread.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// The most syncs that a thread has done when work begins, the writer's among them. Strace counts for every
/// thread by itself, so beyond this number it is the writer's sync that fails and no other's.
async fn syncs_until_work(home: &Path) -> usize {
    let trace = home.join("fault-free");
    // Strace takes no greater number.
    let harness = Harness { server: start_under_strace(&trace, 65_535).await };
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let before = sync_counts(&trace);
    for number in 0..5 {
        harness.create("beads", bead(&format!("b{number}"), 100)).await;
    }
    let after = sync_counts(&trace);
    let busy = after.iter().filter(|(thread, count)| before.get(*thread) != Some(*count)).count();
    assert_eq!(busy, 1, "one thread syncs for all of them: {before:?} {after:?}");
    *before.values().max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_fsync_exits_74_and_loses_no_answered_change() {
    let home = tempfile::tempdir().unwrap();
    let base = syncs_until_work(home.path()).await;
    for ahead in [2, 3, 10, 40] {
        let trace = home.path().join(format!("trace-{ahead}"));
        let mut harness = Harness { server: start_under_strace(&trace, base + ahead).await };
        harness.create("projects", json!({"id": "p", "name": "P"})).await;
        let mut answered = BTreeSet::new();
        let failed = loop {
            let id = format!("b{}", answered.len());
            match create(&harness.server, &bead(&id, 100)).await {
                Some(answer) if answer.status == 201 => assert!(answered.insert(id)),
                failed => break failed,
            }
            assert!(answered.len() < 200, "sync {} never failed: {:?}", base + ahead, sync_counts(&trace));
        };
        if let Some(answer) = failed {
            assert_eq!((answer.status, &answer.json()["type"]), (503, &json!("store-failed")));
        }
        // Until it is gone it takes no change.
        let late = tokio::time::timeout(TIMEOUT, create(&harness.server, &bead("late", 100))).await;
        assert!(late.unwrap().is_none_or(|answer| answer.status == 503), "answered after the failure");
        let status = harness.server.wait_for_exit().await;
        let log = harness.server.stderr_text();
        assert_eq!(status.code(), Some(74), "{log}");
        assert!(log.contains("error: the database failed"), "{log}");
        let injected = std::fs::read_to_string(&trace).unwrap();
        assert!(injected.contains("EIO") && injected.contains("INJECTED"), "{injected}");

        harness.server.drop_prefix();
        harness.server.restart().await;
        check_beads(&harness, &answered, &BTreeSet::from(["late".to_owned()])).await;
        harness.create("beads", bead("afterwards", 100)).await;
    }
}
