//! Parts of a data directory that were there and are gone: the server says which, and makes none anew.

use crate::harness::program::{ProgramOutput, RunningProgram, command, private_file, run};
use crate::harness::{Harness, KEY};
use arbiter_testkit::{HttpResponse, Script, TEST_PASSWORD, send};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

fn serve(home: &Path, data: &Path) -> Command {
    let mut serve = command(home);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
    serve
}

/// Starts a server with this password, which is to end by itself.
async fn refused_start(data: &Path, password: &str) -> ProgramOutput {
    let home = tempfile::tempdir().unwrap();
    let mut serve = serve(home.path(), data);
    serve.env("ARBITER_PASSWORD", password);
    run(serve, "").await
}

/// A request to a server that was started without the harness.
async fn ask(harness: &Harness, url: &str, method: &str, path: &str, body: Value) -> HttpResponse {
    let bearer = format!("Bearer {}", harness.server.token().unwrap());
    let body = Some(&body).filter(|body| !body.is_null());
    send(method, &format!("{url}/api/v1/{path}"), &[("authorization", &bearer)], body).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_key_file_keeps_vault_locked_until_it_is_back() {
    let mut harness = Harness::new().await;
    let _provider = harness.setup(Script::default(), &[]).await;
    harness.create("keys", json!({"id": "other", "name": "Other", "value": "sk-other"})).await;
    harness.server.kill9();
    let data = harness.server.data_dir();
    let (file, backup) = (data.join("keys.json"), data.join("keys.json.bak"));
    fs::remove_file(&file).unwrap();
    let kept = fs::read(&backup).unwrap();
    for password in [TEST_PASSWORD, "any other password"] {
        let refused = refused_start(&data, password).await;
        assert_eq!(refused.code, Some(77), "{refused:?}");
        assert!(refused.error_line().contains("keys.json.bak"), "{refused:?}");
    }

    // Without the backup the database still knows of the file.
    let aside = tempfile::tempdir().unwrap();
    let private = private_file(aside.path(), "kept", std::str::from_utf8(&kept).unwrap());
    fs::remove_file(&backup).unwrap();
    assert_eq!(refused_start(&data, TEST_PASSWORD).await.code, Some(77));
    assert!(!file.exists() && !backup.exists());
    fs::copy(&private, &backup).unwrap();

    let home = tempfile::tempdir().unwrap();
    let mut serving = RunningProgram::start(serve(home.path(), &data));
    let url = serving.wait_for_line("listening on ").await;
    let vault = ask(&harness, &url, "GET", "vault", Value::Null).await.json();
    assert_eq!((&vault["state"], &vault["reason"]), (&json!("locked"), &json!("key-file-missing")));
    let status = ask(&harness, &url, "GET", "system/status", Value::Null).await.json();
    assert_eq!(status["missing"], json!(["keys.json"]));
    let unlock = json!({"password": TEST_PASSWORD});
    let refused = ask(&harness, &url, "POST", "vault/unlock", unlock.clone()).await;
    assert_eq!((refused.status, &refused.json()["type"]), (409, &json!("key-file-missing")));
    let new = json!({"id": "new", "name": "New", "value": "sk-new"});
    assert_eq!(ask(&harness, &url, "POST", "keys", new).await.status, 423);
    assert!(!file.exists());
    assert_eq!(fs::read(&backup).unwrap(), kept);

    fs::copy(&backup, &file).unwrap();
    let opened = ask(&harness, &url, "POST", "vault/unlock", unlock).await;
    assert_eq!((opened.status, &opened.json()["reason"]), (200, &Value::Null), "{}", opened.json());
    let accepted = ask(&harness, &url, "POST", "vault/accept-rollback", Value::Null).await;
    assert_eq!((accepted.status, &accepted.json()["keys"]), (200, &json!(2)), "{}", accepted.json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_key_file_is_forgotten_only_by_reset() {
    let mut harness = Harness::new().await;
    harness.create("keys", json!({"id": "a", "name": "A", "value": KEY})).await;
    assert!(harness.server.terminate().await.success());
    let data = harness.server.data_dir();
    for name in ["keys.json", "keys.json.bak"] {
        fs::remove_file(data.join(name)).unwrap();
    }
    assert_eq!(refused_start(&data, TEST_PASSWORD).await.code, Some(77));
    let reset = harness.cli(&["vault", "reset", "--forget-keys"]).await;
    assert_eq!(reset.code, Some(0), "{reset:?}");
    harness.server.restart().await;
    let vault = harness.get("vault").await;
    assert_eq!((&vault["state"], &vault["rolled_back"]), (&json!("unlocked"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_database_is_refused_and_not_created() {
    let mut harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    assert!(harness.server.terminate().await.success());
    let data = harness.server.data_dir();
    let (database, aside) = (data.join("arbiter.db"), data.join("aside"));
    fs::rename(&database, &aside).unwrap();
    let refused = refused_start(&data, TEST_PASSWORD).await;
    assert_eq!(refused.code, Some(77), "{refused:?}");
    assert!(refused.error_line().contains("arbiter.db is missing"), "{refused:?}");
    assert!(!database.exists());
    let audit = harness.cli(&["audit", "verify"]).await;
    assert!(audit.code != Some(0) && !database.exists(), "{audit:?}");
    fs::rename(&aside, &database).unwrap();
    harness.server.restart().await;
    assert_eq!(harness.get("projects/p").await["name"], "P");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_write_ahead_log_after_a_kill_is_refused() {
    let mut harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.server.kill9();
    let data = harness.server.data_dir();
    let (log, aside) = (data.join("arbiter.db-wal"), data.join("aside"));
    fs::rename(&log, &aside).unwrap();
    let refused = refused_start(&data, TEST_PASSWORD).await;
    assert_eq!(refused.code, Some(77), "{refused:?}");
    assert!(refused.error_line().contains("arbiter.db-wal is missing"), "{refused:?}");
    fs::rename(&aside, &log).unwrap();
    harness.server.restart().await;
    assert_eq!(harness.get("projects/p").await["name"], "P");

    // After a stop in order nothing is in it.
    assert!(harness.server.terminate().await.success());
    let _ = fs::remove_file(&log);
    harness.server.restart().await;
    assert_eq!(harness.get("projects/p").await["name"], "P");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_personas_are_reported_and_not_created_anew() {
    let mut harness = Harness::new().await;
    let _provider = harness.setup(Script::default(), &[]).await;
    harness.create("personas", json!({"name": "mine", "persona": "# Mine"})).await;
    let agent = json!({"id": "a", "name": "A", "provider_id": "scripted", "project_id": "p"});
    harness.create("agents", agent).await;
    let dressed = harness.ask("PATCH", "agents/a", Some(&json!({"persona_name": "mine"}))).await;
    assert_eq!(dressed.status, 200, "{}", dressed.json());
    assert!(harness.server.terminate().await.success());
    let data = harness.server.data_dir();
    let (personas, aside) = (data.join("personas"), data.join("aside"));
    fs::rename(&personas, &aside).unwrap();
    harness.server.restart().await;
    assert!(harness.server.stderr_text().contains("put it back from a copy"));
    assert_eq!(harness.get("system/status").await["missing"], json!(["personas"]));
    for (path, body) in [
        ("personas", json!({"name": "new", "persona": "# New"})),
        ("work", json!({"agent_id": "a", "project_id": "p", "prompt": "Begin."})),
    ] {
        let refused = harness.ask("POST", path, Some(&body)).await;
        assert_eq!((refused.status, &refused.json()["type"]), (409, &json!("personas-missing")), "{path}");
    }
    assert!(!personas.exists());
    fs::rename(&aside, &personas).unwrap();
    assert_eq!(harness.get("system/status").await["missing"], json!([]));
    assert_eq!(harness.get("personas/mine").await["persona"], "# Mine");
    harness.create("personas", json!({"name": "new", "persona": "# New"})).await;
}
