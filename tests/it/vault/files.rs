//! Key files: keys move from one server to another and are never readable on the way.

use crate::harness::canary::Canary;
use crate::harness::program::private_file;
use crate::harness::{Harness, KEY};
use arbiter_testkit::{Script, ScriptedProvider, TEST_PASSWORD};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const FILE_PASSWORD: &str = "the file's own password";

fn password_file(directory: &Path, text: &str) -> String {
    private_file(directory, &format!("password-{}", text.len()), text)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vault_export_is_a_valid_key_file_and_shows_no_secret() {
    let canary = Canary::new(KEY);
    let harness = Harness::new().await;
    let provider = harness.setup(Script::default(), &[]).await;
    harness.create("keys", json!({"id": "other", "name": "Other", "value": "sk-other"})).await;
    let wrong = harness.ask("POST", "vault/export", Some(&json!({"password": "wrong"}))).await;
    assert_eq!((wrong.status, &wrong.json()["type"]), (403, &json!("wrong-password")));
    let unknown = json!({"password": TEST_PASSWORD, "keys": ["none"]});
    assert_eq!(harness.ask("POST", "vault/export", Some(&unknown)).await.status, 404);
    assert_eq!(harness.get("events?type=key.used&subject=other").await, json!([]));

    let home = tempfile::tempdir().unwrap();
    let (old, new) = (password_file(home.path(), TEST_PASSWORD), password_file(home.path(), FILE_PASSWORD));
    let target = home.path().join("export.json");
    let file = target.display().to_string();
    let line = [
        "vault",
        "export",
        &file,
        "--key",
        "key_scripted",
        "--password-file",
        &old,
        "--new-password-file",
        &new,
    ];
    let exported = harness.cli(&line).await;
    assert_eq!(exported.code, Some(0), "{exported:?}");
    assert_eq!(mode(&target), 0o600);
    canary.assert_not_in(&fs::read(&target).unwrap(), "the export");
    let again = harness.cli(&line).await;
    assert_eq!(again.code, Some(74), "nothing is overwritten: {again:?}");
    let told = harness.get("events?type=key.used&subject=key_scripted").await;
    let told: Vec<&Value> =
        told.as_array().unwrap().iter().filter(|event| event["data"]["purpose"] == "export").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["actor"], &told[0]["data"]["holder"]), (&json!("admin"), &json!("admin")));
    assert_eq!(harness.get("events?type=key.used&subject=other").await, json!([]));

    // The file opens a new data directory, and its key goes to the same host alone.
    let mut heir = Harness::new().await;
    heir.server.kill9();
    fs::copy(&target, heir.server.data_dir().join("keys.json")).unwrap();
    heir.server.set_variable("ARBITER_PASSWORD", FILE_PASSWORD);
    heir.server.restart().await;
    let keys = heir.get("keys").await;
    assert_eq!((keys.as_array().unwrap().len(), &keys[0]["id"]), (1, &json!("key_scripted")));
    assert_eq!(keys[0]["allowed_hosts"], json!(["127.0.0.1"]));
    let new = json!({
        "id": "heir", "name": "Heir", "type": "custom", "endpoint": provider.url(), "key_id": "key_scripted",
    });
    heir.create("providers", new).await;
    assert_eq!(heir.act("providers/heir/heartbeat", Value::Null).await["status"], "active");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vault_import_of_both_versions_is_atomic() {
    let (source, harness) = (Harness::new().await, Harness::new().await);
    let provider = ScriptedProvider::start(Script::default().requiring_key(KEY));
    source.create("keys", json!({"id": "shared", "name": "theirs", "value": KEY})).await;
    source.create("keys", json!({"id": "fresh", "name": "fresh", "value": "sk-fresh"})).await;
    harness.create("keys", json!({"id": "shared", "name": "ours", "value": "sk-ours"})).await;
    let export = source
        .ask("POST", "vault/export", Some(&json!({"password": TEST_PASSWORD, "new_password": FILE_PASSWORD})))
        .await;
    assert_eq!((export.status, export.header("content-type")), (200, "application/json"));
    let file = export.json();
    let import = async |file: &Value, password: &str, how: &str| {
        let body = json!({"password": password, "file": file, "on_conflict": how});
        harness.ask("POST", "vault/import", Some(&body)).await
    };
    let before = fs::read(harness.server.data_dir().join("keys.json")).unwrap();
    let refused = import(&file, FILE_PASSWORD, "refuse").await;
    assert_eq!((refused.status, &refused.json()["type"]), (409, &json!("exists")), "{}", refused.json());
    let wrong = import(&file, "wrong", "skip").await;
    assert_eq!((wrong.status, &wrong.json()["type"]), (403, &json!("wrong-password")));
    let mut meddled = file.clone();
    meddled["keys"]["fresh"]["allowed_hosts"] = json!(["evil.example"]);
    for none in [json!({"nothing": 1}), meddled] {
        let refused = import(&none, FILE_PASSWORD, "skip").await;
        assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (422, &json!("/file")));
    }
    assert_eq!(fs::read(harness.server.data_dir().join("keys.json")).unwrap(), before);

    let skipped = import(&file, FILE_PASSWORD, "skip").await;
    assert_eq!(skipped.json(), json!({"imported": ["fresh"], "skipped": ["shared"], "unreadable": []}));
    let stored = harness.get("events?type=key.stored&subject=fresh").await;
    assert_eq!(stored[0]["data"]["reason"], "imported");
    let replaced = import(&file, FILE_PASSWORD, "replace").await;
    assert_eq!(replaced.json()["imported"], json!(["fresh", "shared"]));
    assert_eq!(harness.get("events?type=key.updated&subject=shared").await.as_array().unwrap().len(), 1);
    let new =
        json!({"id": "p", "name": "P", "type": "custom", "endpoint": provider.url(), "key_id": "shared"});
    harness.create("providers", new).await;
    assert_eq!(harness.act("providers/p/heartbeat", Value::Null).await["status"], "active");

    // A file of another program, with an entry that its password does not open, from the command line.
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/vault");
    let home = tempfile::tempdir().unwrap();
    let password = password_file(home.path(), TEST_PASSWORD);
    let path = vectors.join("v1-plain.json").display().to_string();
    let line = ["vault", "import", &path, "--password-file", &password, "--json"];
    let imported = harness.cli(&line).await.json();
    assert_eq!(imported["imported"].as_array().unwrap().len(), 5, "{imported}");
    assert_eq!(imported["unreadable"], json!(["of another file"]));
    let keys = harness.get("keys").await;
    assert!(keys.as_array().unwrap().iter().all(|key| key["version"] == 2), "{keys}");
    assert_eq!(harness.cli(&line).await.code, Some(1), "every id is taken now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vault_import_accepts_the_usual_body_limit() {
    let harness = Harness::new().await;
    let mut keys = json!({});
    for number in 0..400 {
        // Of another password, all of them: what counts here is the size.
        let id = format!("{number:0>200}");
        keys[&id] = json!({"id": id, "encrypted_data": "AAAA", "name": "n"});
    }
    let mut body = json!({"password": TEST_PASSWORD, "file": {"keys": keys}});
    assert!(body.to_string().len() > 100_000);
    assert_eq!(harness.ask("POST", "vault/import", Some(&body)).await.status, 403);
    body["file"]["padding"] = json!("x".repeat(1 << 20));
    assert_eq!(harness.ask("POST", "vault/import", Some(&body)).await.status, 413);
}
