//! The memory of a running server as root sees it: an open vault's secrets are there, and a locked vault's are
//! not. Needs root.

use crate::harness::canary::Canary;
use crate::harness::memory_image::{Image, environment_of};
use crate::harness::program::{BINARY, private_file};
use crate::harness::{FAST_KDF, Harness};
use arbiter_testkit::{ChatInput, Fault, Reply, Script, ScriptedProvider, ServerProcess};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::pbkdf2;
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Within this everything secret is gone.
const GONE_WITHIN: Duration = crate::harness::TIMEOUT;

/// A server and a client that keeps its connections, as browsers and programs do.
struct MemoryProbe {
    harness: Harness,
    client: reqwest::Client,
    /// A part of memory that is not looked at.
    excluded: std::ops::Range<usize>,
}

impl MemoryProbe {
    /// A server that was given no password but by these arguments and variables.
    async fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let environment =
            [&[FAST_KDF, ("ARBITER_PROVIDERS__HEARTBEAT_INTERVAL_MS", "50")], environment].concat();
        let without: &[&str] = match environment.iter().any(|(name, _)| *name == "ARBITER_PASSWORD") {
            true => &[],
            false => &["env", "-u", "ARBITER_PASSWORD"],
        };
        let server = ServerProcess::start_behind(without, BINARY, arguments, &environment).await;
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
        Self { harness: Harness { server }, client, excluded: 0..0 }
    }

    /// A request over a connection that stays open, if the server lets it; a body of `null` is none.
    async fn ask(&self, method: &str, path: &str, json: Value) -> (u16, Value) {
        let url = format!("{}/api/v1/{path}", self.harness.server.url());
        let mut request = self.client.request(method.parse().unwrap(), url);
        if !json.is_null() {
            request = request.json(&json);
        }
        let answer = request.bearer_auth(self.harness.server.token().unwrap()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// Where any part of these secrets is in the server's memory.
    fn fragments(&self, secrets: &[&Canary]) -> Vec<String> {
        let fragments: Vec<String> = secrets.iter().flat_map(|secret| secret.fragments()).collect();
        self.image().find(&fragments)
    }

    fn image(&self) -> Image {
        Image::of(self.harness.server.id()).without(&self.excluded)
    }

    /// The keys that the password leads to, each in two halves, for the entries that are in the file now.
    fn derived_keys(&self, password: &Canary) -> Vec<Vec<u8>> {
        let file = std::fs::read(self.harness.server.data_dir().join("keys.json")).unwrap();
        let file: Value = serde_json::from_slice(&file).unwrap();
        let rounds = NonZeroU32::new(FAST_KDF.1.parse().unwrap()).unwrap();
        let mut halves = Vec::new();
        for entry in file["keys"].as_object().unwrap().values() {
            let sealed = BASE64.decode(entry["encrypted_data"].as_str().unwrap()).unwrap();
            let mut key = [0; 32];
            let (salt, text) = (&sealed[..32], password.text().as_bytes());
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, text, &mut key);
            halves.extend([key[..16].to_vec(), key[16..].to_vec()]);
        }
        assert!(!halves.is_empty());
        halves
    }

    /// Waits until the secret is in the server's memory: a search that never finds is no evidence.
    async fn wait_until_found(&self, secret: &Canary) {
        let begin = Instant::now();
        while self.fragments(&[secret]).is_empty() {
            assert!(begin.elapsed() < GONE_WITHIN, "{} is never found, so nothing is", secret.text());
            tokio::task::yield_now().await;
        }
    }

    /// Waits until none of the secrets is in the server's memory.
    async fn wait_until_gone(&self, secrets: &[&Canary]) {
        let begin = Instant::now();
        loop {
            let looked = begin.elapsed();
            let fragments = self.fragments(secrets);
            if fragments.is_empty() {
                return;
            }
            assert!(looked < GONE_WITHIN, "after {looked:?}:\n{}", fragments.join("\n"));
            tokio::task::yield_now().await;
        }
    }
}

/// Ends each bead at once.
fn finish_at_once(_: &ChatInput) -> Reply {
    Reply::tool("finish", json!({"summary": "[simulated] done"}))
}

impl MemoryProbe {
    /// A provider with this key, an agent, and a bead that was done with the key.
    async fn setup(&self, key: &Canary) -> ScriptedProvider {
        let provider = ScriptedProvider::start(Script::answering(finish_at_once).requiring_key(key.text()));
        self.register(&provider, key).await;
        self.harness.bead("first", json!({})).await;
        self.harness.wait_for_bead_status("first", "closed").await;
        assert_eq!(self.ask("GET", "providers/main/models", Value::Null).await.0, 200);
        provider
    }

    /// A provider with this key and an agent that uses it.
    async fn register(&self, provider: &ScriptedProvider, key: &Canary) {
        let new = json!({"id": "main", "name": "Main", "type": "openai", "endpoint": provider.url(), "api_key": key.text()});
        assert_eq!(self.ask("POST", "providers", new).await.0, 201);
        self.harness.create("projects", json!({"id": "p", "name": "P"})).await;
        let agent = json!({"id": "a", "name": "a", "provider_id": "main", "project_id": "p"});
        self.harness.create("agents", agent).await;
    }

    async fn unlock(&self, password: &Canary) -> u16 {
        self.ask("POST", "vault/unlock", json!({"password": password.text()})).await.0
    }

    async fn lock(&self) {
        let answer = self.harness.act("vault/lock", Value::Null).await;
        assert_eq!(answer["state"], "locked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locked_server_memory_holds_no_password_and_no_key() {
    let [password, wrong, key, by_patch, by_put, stored, deleted, misplaced] =
        ["password", "wrong", "key", "patch", "put", "stored", "deleted", "misplaced"].map(Canary::random);
    let all = [&password, &wrong, &key, &by_patch, &by_put, &stored, &deleted, &misplaced];
    let probe = MemoryProbe::start(&[], &[]).await;
    assert_eq!(probe.unlock(&password).await, 201);
    let provider = probe.setup(&key).await;
    probe.wait_until_found(&password).await;
    probe.wait_until_found(&key).await;

    // Every way in which a key comes in, and some in which it does not.
    for (id, value) in [("kept", &stored), ("lost", &deleted)] {
        let new = json!({"id": id, "name": id, "value": value.text()});
        assert_eq!(probe.ask("POST", "keys", new).await.0, 201);
    }
    assert_eq!(probe.ask("DELETE", "keys/lost", Value::Null).await.0, 204);
    let patch = json!({"api_key": by_patch.text()});
    assert_eq!(probe.ask("PATCH", "providers/main", patch).await.0, 200);
    // The provider does not know the new key and says so word by word, to beats as to beads.
    probe.harness.wait_until("providers/main", |provider| provider["status"] == "unhealthy").await;
    assert_eq!(probe.ask("PUT", "keys/key_main", json!({"value": by_put.text()})).await.0, 200);
    probe.harness.act("providers/main/heartbeat", Value::Null).await;
    assert_eq!(probe.ask("POST", "keys", json!({"value": misplaced.text(), "nam": 1})).await.0, 422);
    assert_eq!(probe.ask("POST", "vault/unlock", json!({"pass": misplaced.text()})).await.0, 422);
    assert_eq!(probe.ask("POST", "keys", json!([misplaced.text()])).await.0, 422);
    let bearers: Vec<_> =
        provider.requests().into_iter().filter_map(|request| request.authorization).collect();
    for secret in [&key, &by_patch, &by_put] {
        assert!(bearers.contains(&format!("Bearer {}", secret.text())), "{} was never used", secret.text());
    }

    probe.lock().await;
    assert_eq!(probe.unlock(&wrong).await, 403);
    probe.wait_until_gone(&all).await;
    // And once more, since an unlocked vault reads what a locked one had forgotten.
    assert_eq!(probe.unlock(&password).await, 200);
    probe.harness.act("providers/main/heartbeat", Value::Null).await;
    probe.wait_until_found(&password).await;
    let derived_keys = probe.derived_keys(&password);
    assert!(
        !probe.image().find(&derived_keys).is_empty(),
        "the key of the entry just used is kept until the lock"
    );
    probe.lock().await;
    probe.wait_until_gone(&all).await;
    assert_eq!(probe.image().find(&derived_keys), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_key_leaves_memory_while_the_vault_is_open() {
    let [password, first, second, third] = ["password", "first", "second", "third"].map(Canary::random);
    // Without beats nothing is sent over a connection that would overwrite what it sent before.
    let seldom = ("ARBITER_PROVIDERS__HEARTBEAT_INTERVAL_MS", "86400000");
    let probe = MemoryProbe::start(&[], &[seldom]).await;
    probe.unlock(&password).await;
    let provider = probe.setup(&first).await;
    probe.wait_until_found(&first).await;
    // An idle connection ends by itself after a minute, so memory alone would not tell that it was closed.
    let connections = provider.connection_count();
    assert_eq!(probe.ask("PUT", "keys/key_main", json!({"value": second.text()})).await.0, 200);
    probe.harness.act("providers/main/heartbeat", Value::Null).await;
    let second_connections = provider.connection_count();
    assert!(second_connections > connections, "the second key has a connection of its own");
    probe.wait_until_gone(&[&first]).await;
    probe.wait_until_found(&second).await;
    assert_eq!(probe.ask("PATCH", "providers/main", json!({"api_key": third.text()})).await.0, 200);
    probe.harness.act("providers/main/heartbeat", Value::Null).await;
    assert!(provider.connection_count() > second_connections, "the third key has a connection of its own");
    probe.wait_until_gone(&[&first, &second]).await;
    probe.wait_until_found(&third).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_call_does_not_keep_its_key_past_the_lock() {
    let [password, key] = ["password", "key"].map(Canary::random);
    let probe = MemoryProbe::start(&[], &[]).await;
    probe.unlock(&password).await;
    let asked = Arc::new(Notify::new());
    let bell = Arc::clone(&asked);
    let script = Script::answering(move |_| {
        bell.notify_one();
        Reply::failing(Fault::Hang)
    });
    let provider = ScriptedProvider::start(script.requiring_key(key.text()));
    probe.register(&provider, &key).await;
    probe.harness.bead("endless", json!({})).await;
    asked.notified().await;
    probe.lock().await;
    probe.wait_until_gone(&[&password, &key]).await;
    let bead = probe.harness.wait_for_bead_status("endless", "open").await;
    assert_eq!(bead["attempts"], 0, "a lock is no failure of the bead: {bead}");
}

/// A vault with a key that the provider is called with, then locked: password and key come and go.
async fn check_lock_clears(probe: &MemoryProbe, password: &Canary) {
    let key = Canary::random("key");
    let _provider = probe.setup(&key).await;
    probe.wait_until_found(password).await;
    probe.wait_until_found(&key).await;
    probe.lock().await;
    probe.wait_until_gone(&[password, &key]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_from_file_leaves_memory_on_lock() {
    let (password, home) = (Canary::random("file"), tempfile::tempdir().unwrap());
    let path = private_file(home.path(), "password", &format!("{}\n", password.text()));
    let probe = MemoryProbe::start(&["--password-file", &path], &[]).await;
    check_lock_clears(&probe, &password).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_from_environment_remains_only_in_the_environ_block() {
    let password = Canary::random("variable");
    let mut probe = MemoryProbe::start(&[], &[("ARBITER_PASSWORD", password.text())]).await;
    probe.excluded = environment_of(probe.harness.server.id());
    check_lock_clears(&probe, &password).await;
    probe.excluded = 0..0;
    assert!(!probe.fragments(&[&password]).is_empty(), "no program can take that copy back");
}
