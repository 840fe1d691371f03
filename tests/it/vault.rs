//! The vault as a whole: password, key derivation, rollback, and refused keys.

pub mod files;
pub mod hosts;
pub mod key_use;
pub mod memory;
pub mod missing;
pub mod reset;
pub mod typed;

use crate::harness::program::{command, private_file, run};
use crate::harness::{FAST_KDF, Harness, TIMEOUT};
use arbiter_testkit::{HttpResponse, Script, TEST_PASSWORD};
use serde_json::{Value, json};
use std::fs;

const NEW_PASSWORD: &str = "another staple, correct horse";

async fn post(harness: &Harness, path: &str, body: Value) -> HttpResponse {
    harness.ask("POST", path, Some(&body).filter(|body| !body.is_null())).await
}

fn assert_problem(answer: &HttpResponse, status: u16, kind: &str) {
    assert_eq!((answer.status, answer.json()["type"].as_str()), (status, Some(kind)), "{}", answer.json());
}

fn rotation(old: &str, new: &str) -> Value {
    json!({"old_password": old, "new_password": new})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_change_works_and_wrong_ones_are_throttled() {
    let mut harness = Harness::new().await;
    let provider = harness.setup(Script::default(), &[]).await;
    for rounds in [0, 99_999, 10_000_001] {
        let mut body = rotation("wrong", NEW_PASSWORD);
        body["iterations"] = json!(rounds);
        let refused = post(&harness, "vault/rotate", body).await;
        assert_problem(&refused, 422, "invalid");
        assert_eq!(refused.json()["errors"][0]["pointer"], "/iterations");
    }
    assert_problem(&post(&harness, "vault/rotate", rotation(TEST_PASSWORD, "")).await, 422, "invalid");
    for _ in 0..2 {
        assert_problem(
            &post(&harness, "vault/rotate", rotation("wrong", NEW_PASSWORD)).await,
            403,
            "wrong-password",
        );
    }
    harness.act("vault/lock", Value::Null).await;
    assert_problem(
        &post(&harness, "vault/rotate", rotation(TEST_PASSWORD, NEW_PASSWORD)).await,
        423,
        "vault-locked",
    );
    assert_problem(
        &post(&harness, "vault/unlock", json!({"password": "wrong"})).await,
        403,
        "wrong-password",
    );
    let slowed = post(&harness, "vault/unlock", json!({"password": TEST_PASSWORD})).await;
    assert_problem(&slowed, 429, "throttled");
    assert!(slowed.header("retry-after").parse::<u32>().unwrap() > 0);

    harness.server.restart().await;
    let mut body = rotation(TEST_PASSWORD, NEW_PASSWORD);
    body["iterations"] = json!(120_000);
    let changed = harness.act("vault/rotate", body).await;
    assert_eq!((&changed["state"], &changed["keys"]), (&json!("unlocked"), &json!(1)));
    let told = harness.get("events?type=vault.password_changed").await;
    assert_eq!((&told[0]["data"]["keys"], &told[0]["data"]["iterations"]), (&json!(1), &json!(120_000)));
    assert_eq!(harness.get("keys").await[0]["iterations"], 120_000);
    let beat = harness.act("providers/scripted/heartbeat", Value::Null).await;
    assert_eq!(beat["status"], "active");
    harness.act("vault/lock", Value::Null).await;
    assert_problem(
        &post(&harness, "vault/unlock", json!({"password": TEST_PASSWORD})).await,
        403,
        "wrong-password",
    );
    harness.act("vault/unlock", json!({"password": NEW_PASSWORD})).await;
    drop(provider);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cli_changes_the_password_from_files() {
    let harness = Harness::new().await;
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| private_file(home.path(), name, text);
    let (old, new) = (file("old", TEST_PASSWORD), file("new", NEW_PASSWORD));
    let line = ["vault", "rotate", "--password-file", &old, "--new-password-file", &new];
    let done = harness.cli(&line).await;
    assert_eq!((done.code, done.stdout.trim()), (Some(0), "the vault's password is changed"), "{done:?}");
    let again = harness.cli(&line).await;
    assert_eq!(again.code, Some(77), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_below_configured_rounds_are_rewrapped_while_in_use() {
    let mut harness = Harness::new().await;
    let _provider = harness.setup(Script::default(), &[]).await;
    for number in 0..3 {
        let id = format!("spare-{number}");
        harness.create("keys", json!({"id": id, "name": id, "value": format!("sk-{number}")})).await;
    }
    let last = harness.get("events/stats").await["last_seq"].as_u64().unwrap();
    harness.server.set_variable(FAST_KDF.0, "110000");
    harness.server.restart().await;
    let beat = harness.act("providers/scripted/heartbeat", Value::Null).await;
    assert_eq!(beat["status"], "active");
    let mut events = harness.stream("?type=key.updated", Some(last)).await;
    let mut told = Vec::new();
    for _ in 0..4 {
        let event: Value = serde_json::from_str(&events.next(TIMEOUT).await.unwrap().data).unwrap();
        assert_eq!(
            event["data"]["changes"],
            json!({"iterations": {"old": 100_000, "new": 110_000}}),
            "{event}"
        );
        told.push(event["subject"].as_str().unwrap().to_owned());
    }
    told.sort();
    assert_eq!(told, ["key_scripted", "spare-0", "spare-1", "spare-2"]);
    let keys = harness.get("keys").await;
    assert!(keys.as_array().unwrap().iter().all(|key| key["iterations"] == 110_000), "{keys}");
    let metrics = harness.server.ask("GET", "/metrics", &[], None).await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(text.contains("\narbiter_vault_rewrapped_total 4\n"), "{text}");
    let beat = harness.act("providers/scripted/heartbeat", Value::Null).await;
    assert_eq!(beat["status"], "active");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphan_key_is_reported() {
    let mut harness = Harness::new().await;
    let _provider = harness.setup(Script::default(), &[]).await;
    for (id, purpose) in [("key_ghost", "provider"), ("key_of-tls", "tls"), ("spare", "provider")] {
        let new = json!({"id": id, "name": id, "purpose": purpose, "value": "sk-x"});
        harness.create("keys", new).await;
    }
    assert_eq!(harness.get("vault").await["orphans"], json!(["key_ghost"]));
    assert!(!harness.server.stderr_text().contains("key_ghost"));
    harness.server.restart().await;
    assert!(harness.server.stderr_text().contains("key_ghost"), "{}", harness.server.stderr_text());
    let deleted = harness.ask("DELETE", "keys/key_ghost", None).await;
    assert_eq!(deleted.status, 204);
    assert_eq!(harness.get("vault").await["orphans"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_key_file_blocks_key_use_until_accepted() {
    let mut harness = Harness::new().await;
    let provider = harness.setup(Script::default(), &[]).await;
    let path = harness.server.data_dir().join("keys.json");
    let older = fs::read(&path).unwrap();
    harness.create("keys", json!({"id": "newer", "name": "newer", "value": "sk-newer"})).await;
    assert_eq!(harness.get("vault").await["rolled_back"], Value::Null);
    assert_problem(&post(&harness, "vault/accept-rollback", Value::Null).await, 409, "conflict");
    assert!(harness.server.terminate().await.success());
    fs::write(&path, older).unwrap();

    harness.server.restart().await;
    let told = harness.get("events?type=vault.unlocked").await;
    let told = told.as_array().unwrap().last().unwrap();
    // A new key takes two: its draft, and the draft's end.
    let found = json!({"seen": 5, "found": 3});
    assert_eq!(told["data"], json!({"created": false, "rolled_back": found}));
    assert!(harness.server.stderr_text().contains("older key file"), "{}", harness.server.stderr_text());
    let vault = harness.get("vault").await;
    assert_eq!((&vault["state"], &vault["rolled_back"]), (&json!("unlocked"), &found));
    let asked = provider.requests().len();
    assert_problem(
        &post(&harness, "providers/scripted/heartbeat", Value::Null).await,
        409,
        "vault-rolled-back",
    );
    assert_problem(
        &post(&harness, "keys", json!({"name": "n", "value": "sk"})).await,
        409,
        "vault-rolled-back",
    );
    assert_problem(
        &post(&harness, "vault/export", json!({"password": TEST_PASSWORD})).await,
        409,
        "vault-rolled-back",
    );
    assert_eq!(provider.requests().len(), asked, "no key went out");
    assert_eq!(
        harness.get("providers/scripted").await["status"],
        "active",
        "its beats are skipped, not failed"
    );
    // Locking and unlocking accepts nothing.
    harness.act("vault/lock", Value::Null).await;
    assert_problem(&post(&harness, "vault/accept-rollback", Value::Null).await, 423, "vault-locked");
    let again = harness.act("vault/unlock", json!({"password": TEST_PASSWORD})).await;
    assert_eq!(again["rolled_back"], found);

    let accepted = harness.cli(&["vault", "accept-rollback"]).await;
    assert_eq!(accepted.code, Some(0), "{accepted:?}");
    assert_eq!(harness.get("events?type=vault.rollback_accepted").await[0]["data"], found);
    assert_eq!(harness.get("vault").await["rolled_back"], Value::Null);
    let beat = harness.act("providers/scripted/heartbeat", Value::Null).await;
    assert_eq!(beat["status"], "active");
    harness.server.restart().await;
    assert_eq!(harness.get("vault").await["rolled_back"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_administrator_changes_the_vault() {
    let harness = Harness::new().await;
    let made = harness.create("tokens", json!({"name": "op", "role": "operator"})).await;
    let home = tempfile::tempdir().unwrap();
    let mut line = command(home.path());
    line.args(["vault", "accept-rollback"])
        .args(["--url", harness.server.url()])
        .env("ARBITER_TOKEN", made["token"].as_str().unwrap());
    assert_eq!(run(line, "").await.code, Some(77));
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let file = json!({"password": "p", "file": {"keys": {}}});
    let bodies = [
        ("rotate", rotation(TEST_PASSWORD, NEW_PASSWORD)),
        ("export", json!({"password": TEST_PASSWORD})),
        ("import", file),
    ];
    for (what, body) in bodies {
        let headers = [("authorization", bearer.as_str())];
        let path = format!("/api/v1/vault/{what}");
        let answer = harness.server.send("POST", &path, &headers, Some(&body)).await;
        assert_problem(&answer, 403, "forbidden");
    }
}
