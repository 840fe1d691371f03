//! Secrets as people have them: passwords of any keyboard, and keys with what was copied along.

use crate::harness::program::{BINARY, RunningProgram, command, run};
use crate::harness::{Harness, KEY};
use arbiter_testkit::{Script, ScriptedProvider, send};
use serde_json::{Value, json};
use std::process::Command;

/// One password, with its marks composed and decomposed.
const COMPOSED: &str = "gr\u{fc}\u{df}e an caf\u{e9}";
const DECOMPOSED: &str = "gru\u{308}\u{df}e an cafe\u{301}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_from_another_keyboard_unlocks_the_vault() {
    let harness = Harness::new().await;
    harness.create("keys", json!({"id": "a", "name": "A", "value": KEY})).await;
    let old = arbiter_testkit::TEST_PASSWORD;
    harness.act("vault/rotate", json!({"old_password": old, "new_password": DECOMPOSED})).await;
    for typed in [COMPOSED, DECOMPOSED] {
        harness.act("vault/lock", Value::Null).await;
        assert_eq!(harness.act("vault/unlock", json!({"password": typed})).await["state"], "unlocked");
    }
    for (field, body) in [
        ("new_password", json!({"old_password": COMPOSED, "new_password": "1234567"})),
        ("new_password", json!({"old_password": COMPOSED, "new_password": ""})),
    ] {
        let refused = harness.ask("POST", "vault/rotate", Some(&body)).await;
        assert_eq!(refused.status, 422, "{}", refused.json());
        assert_eq!(refused.json()["errors"][0]["pointer"], format!("/{field}"));
    }
    let short = json!({"password": COMPOSED, "new_password": "x"});
    assert_eq!(harness.ask("POST", "vault/export", Some(&short)).await.status, 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_password_has_at_least_eight_characters() {
    let (home, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut serve = command(home.path());
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path().join("data"));
    serve.env("ARBITER_PASSWORD", "short");
    let refused = run(serve, "").await;
    assert!(refused.code != Some(0) && refused.stderr.contains("at least 8 characters"), "{refused:?}");
    assert!(!data.path().join("data/keys.json").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_file_may_be_the_pipe_of_a_shell() {
    let (home, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let directory = data.path().join("data");
    let script = format!(
        "exec {BINARY} serve --listen 127.0.0.1:0 --data-dir '{}' --password-file <(sleep 0.2; echo {COMPOSED})",
        directory.display()
    );
    let plain = command(home.path());
    let mut shell = Command::new("bash");
    shell.args(["-c", &script]).env_clear();
    for (name, value) in plain.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        shell.env(name, value);
    }
    shell.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let mut serving = RunningProgram::start(shell);
    let url = serving.wait_for_line("listening on ").await;
    let token = std::fs::read_to_string(directory.join("admin-token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let vault =
        send("GET", &format!("{url}/api/v1/vault"), &[("authorization", &bearer)], None).await.unwrap();
    assert_eq!(vault.json()["state"], "unlocked", "{}", vault.json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_with_what_was_copied_along_is_refused_or_mended() {
    let harness = Harness::new().await;
    let provider = ScriptedProvider::start(Script::default().requiring_key(KEY));
    let wrong = [
        format!("\u{feff}{KEY}"),
        format!("{KEY}\u{a0}"),
        format!("\u{200b}{KEY}"),
        format!("\u{201c}{KEY}\u{201d}"),
        format!(" {KEY} "),
        format!("Bearer {KEY}"),
        format!("{KEY}\nsk-other"),
    ];
    for (number, key) in wrong.iter().enumerate() {
        let new =
            json!({"id": "p", "name": "P", "type": "custom", "endpoint": provider.url(), "api_key": key});
        let entry = json!({"id": "k", "name": "K", "value": key});
        for (path, body, pointer) in [("providers", new, "/api_key"), ("keys", entry, "/value")] {
            let refused = harness.ask("POST", path, Some(&body)).await;
            assert_eq!(
                (refused.status, &refused.json()["errors"][0]["pointer"]),
                (422, &json!(pointer)),
                "{key:?}"
            );
            assert!(!refused.json().to_string().contains(KEY), "{}", refused.json());
        }
        let id = format!("k{number}");
        let add = ["key", "add", "Mine", "--id", &id, "--host", "127.0.0.1", "--api-key-stdin"];
        let added = harness.cli_with(&add, &format!("{key}\n")).await;
        let is_mendable = !key.contains('\n');
        assert_eq!(added.code == Some(0), is_mendable, "{key:?}: {added:?}");
        if is_mendable {
            assert!(added.stderr.contains("left out"), "{added:?}");
            let named = json!({"id": format!("p{number}"), "name": "P", "type": "custom", "endpoint": provider.url(),
                "key_id": id, "requires_key": true});
            harness.create("providers", named).await;
            let beat = harness.act(&format!("providers/p{number}/heartbeat"), Value::Null).await;
            assert_eq!(beat["status"], "active", "{key:?}: {beat}");
        }
    }
    let pem = json!({"id": "pem", "name": "P", "purpose": "tls", "value": "-----BEGIN X-----\nx\n-----END X-----\n"});
    harness.create("keys", pem).await;
}
