//! Bead files of others that are not what they seem: pipes, devices, sockets, links and huge files in their place.

use crate::admission::refusals::problem;
use crate::bead::files::line;
use crate::harness::{Harness, TIMEOUT};
use rustix::fs::{CWD, Mode};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The variable that lets changes reach a file soon.
const SOON: (&str, &str) = ("ARBITER_BEAD_FILES__PAUSE_MS", "20");
/// The variable that keeps changes from the file.
const NEVER: (&str, &str) = ("ARBITER_BEAD_FILES__PAUSE_MS", "3600000");
/// A text that must not leave the file it is in.
const SECRET: &str = "canary-5f1d-of-a-foreign-file";

/// A project's tree with an empty directory of beads.
fn tree(home: &Path, name: &str) -> PathBuf {
    let beads = home.join(name).join(".beads");
    fs::create_dir_all(&beads).unwrap();
    beads
}

fn pipe(path: &Path) {
    rustix::fs::mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

/// Waits for the event that says why the file of project `p` is not read.
async fn told(harness: &Harness) -> Value {
    let mut events = harness.stream("?type=log.message&project_id=p", Some(0)).await;
    serde_json::from_str(&events.next(TIMEOUT).await.unwrap().data).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_file_stops_neither_dispatch_nor_readiness() {
    let home = tempfile::tempdir().unwrap();
    type Place = (&'static str, &'static str, fn(&Path));
    let places: [Place; 7] = [
        ("metadata.json", "is a pipe, not a regular file", pipe),
        ("issues.jsonl", "is a pipe, not a regular file", pipe),
        ("issues.jsonl", "is a socket, not a regular file", |path| drop(UnixListener::bind(path).unwrap())),
        ("issues.jsonl", "is a directory, not a regular file", |path| fs::create_dir(path).unwrap()),
        ("issues.jsonl", "leads out of the directory", |path| symlink("/dev/zero", path).unwrap()),
        ("metadata.json", "is a symbolic link", |path| symlink("/dev/zero", path).unwrap()),
        ("issues.jsonl", "is larger than 134217728 bytes", |path| {
            fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
        }),
    ];
    for (name, reason, make) in places {
        let harness = Harness::with(&[SOON]).await;
        let beads = tree(home.path(), "p");
        make(&beads.join(name));
        harness.create("projects", json!({"id": "p", "name": "P", "beads_path": beads})).await;
        let event = told(&harness).await;
        let message = event["data"]["message"].as_str().unwrap();
        assert!(message.contains(name) && message.contains(reason), "{message}");
        assert_eq!(event["project_id"], "p", "{event}");
        problem(&harness.ask("POST", "projects/p/export", None).await, 409, "bead-file-unusable");
        harness.create("projects", json!({"id": "q", "name": "Q"})).await;
        harness.create("beads", json!({"id": "other-1", "title": "t", "project_id": "q"})).await;
        harness.create("agents", json!({"id": "ext", "name": "ext", "kind": "external"})).await;
        harness.act("beads/other-1/claim", json!({"agent_id": "ext"})).await;
        assert_eq!(harness.get("health/ready").await["status"], "ready");
        fs::remove_dir_all(home.path().join("p")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linked_bead_file_never_shows_its_target() {
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("secret.jsonl");
    fs::write(&secret, format!("{SECRET}\n\"{SECRET}\"\n{{\"id\": \"{SECRET}\", \"title\": 7}}\n")).unwrap();
    let links: [fn(&Path, &Path); 3] = [
        |beads, secret| symlink(secret, beads.join("issues.jsonl")).unwrap(),
        |beads, secret| symlink(secret, beads.join("bead.yaml")).unwrap(),
        |beads, secret| {
            fs::remove_dir(beads).unwrap();
            symlink(secret.parent().unwrap(), beads).unwrap();
        },
    ];
    for link in links {
        let harness = Harness::with(&[NEVER]).await;
        let beads = tree(home.path(), "p");
        harness.create("projects", json!({"id": "p", "name": "P", "beads_path": beads})).await;
        link(&beads, &secret);
        let answer = harness.ask("POST", "projects/p/import", None).await;
        assert!(!answer.json().to_string().contains(SECRET), "{}", answer.json());
        problem(&answer, 409, "bead-file-unusable");
        let log = json!(harness.events(0).await).to_string() + &harness.server.stderr_text();
        assert!(!log.contains(SECRET), "{log}");
        fs::remove_file(&beads).or_else(|_| fs::remove_dir_all(&beads)).unwrap();
        fs::remove_dir_all(home.path().join("p")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_line_is_named_by_number_and_never_quoted() {
    let harness = Harness::with(&[SOON]).await;
    let home = tempfile::tempdir().unwrap();
    let beads = tree(home.path(), "p");
    let odd = [
        SECRET.to_owned(),
        format!("\"{SECRET}\""),
        format!("[\"{SECRET}\"]"),
        json!({"id": "", "title": SECRET}).to_string(),
        json!({"id": [SECRET], "title": "t"}).to_string(),
        line(json!({"id": "odd-1", "labels": SECRET, "priority": SECRET, "created_at": SECRET})),
        line(json!({"id": "odd-2", "priority": 9})),
    ];
    fs::write(beads.join("issues.jsonl"), odd.join("\n") + "\n").unwrap();
    harness.create("projects", json!({"id": "p", "name": "P", "beads_path": beads})).await;
    let answer = harness.ask("POST", "projects/p/import", None).await;
    assert!(!answer.json().to_string().contains(SECRET), "{}", answer.json());
    fs::write(beads.join("issues.jsonl"), format!("{SECRET}\n")).unwrap();
    told(&harness).await;
    let log = json!(harness.events(0).await).to_string() + &harness.server.stderr_text();
    assert!(!log.contains(SECRET), "{log}");
}

#[tokio::test]
async fn beads_path_is_named_by_administrators_or_below_roots() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().canonicalize().unwrap().join("root");
    fs::create_dir(&root).unwrap();
    let (inside, outside) = (tree(&root, "in"), tree(home.path(), "out"));
    symlink(home.path(), root.join("way")).unwrap();
    let harness = Harness::with(&[("ARBITER_BEAD_FILES__ROOTS", root.to_str().unwrap())]).await;
    let operator = harness.token(json!({"name": "op", "role": "operator"})).await;
    let create = async |id: &str, path: &Path| {
        let new = json!({"id": id, "name": id, "beads_path": path});
        harness.ask_as(&operator, "POST", "projects", Some(&new)).await
    };
    problem(&create("a", &outside).await, 403, "forbidden");
    problem(&create("a", Path::new("/etc/.beads")).await, 403, "forbidden");
    problem(&create("a", &root.join("way/out/.beads")).await, 422, "invalid");
    assert_eq!(create("a", &inside).await.status, 201);
    let moved = json!({"beads_path": outside});
    let patch =
        async |token: &str, body: &Value| harness.ask_as(token, "PATCH", "projects/a", Some(body)).await;
    problem(&patch(&operator, &moved).await, 403, "forbidden");
    assert_eq!(patch(&operator, &json!({"name": "A", "beads_path": inside})).await.status, 200);
    assert_eq!(harness.ask("PATCH", "projects/a", Some(&moved)).await.status, 200);
    assert_eq!(
        patch(&operator, &json!({"name": "B", "beads_path": outside})).await.status,
        200,
        "it is there"
    );
    let own = harness.server.data_dir().join("x/.beads");
    fs::create_dir_all(&own).unwrap();
    let answer = harness.ask("PATCH", "projects/a", Some(&json!({"beads_path": own}))).await;
    problem(&answer, 422, "invalid");
}

#[tokio::test]
async fn bead_directory_of_another_project_is_refused_by_any_path() {
    let home = tempfile::tempdir().unwrap();
    let beads = tree(home.path(), "tree");
    symlink("tree", home.path().join("alias")).unwrap();
    fs::create_dir(home.path().join("bare")).unwrap();
    symlink("bare", home.path().join("bare-alias")).unwrap();
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P", "beads_path": beads})).await;
    harness.create("projects", json!({"id": "q", "name": "Q"})).await;
    let bare = home.path().join("bare/.beads");
    harness.create("projects", json!({"id": "r", "name": "R", "beads_path": bare})).await;
    for path in [beads.clone(), home.path().join("alias/.beads"), home.path().join("bare-alias/.beads")] {
        let wanted = json!({"beads_path": path});
        problem(&harness.ask("PATCH", "projects/q", Some(&wanted)).await, 409, "conflict");
        let new = json!({"id": "s", "name": "S", "beads_path": path});
        problem(&harness.ask("POST", "projects", Some(&new)).await, 409, "conflict");
    }
    let released = json!({"beads_path": null});
    assert_eq!(harness.ask("PATCH", "projects/p", Some(&released)).await.status, 200);
    let taken = json!({"beads_path": home.path().join("alias/.beads")});
    assert_eq!(harness.ask("PATCH", "projects/q", Some(&taken)).await.status, 200);
}
