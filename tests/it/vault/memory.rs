//! What root finds in the memory of a running server: while the vault is open its secrets are there, and
//! once it is locked they are not. Needs root.

use crate::harness::canary::Canary;
use crate::harness::memory_image::{Image, environment_of};
use crate::harness::program::{BINARY, private_file};
use crate::harness::{QUICK_VAULT, Stage};
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
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A server and a client that keeps its connections, as browsers and programs do.
struct Witness {
    stage: Stage,
    client: reqwest::Client,
    /// A part of memory that is not looked at.
    except: std::ops::Range<usize>,
}

impl Witness {
    /// A server that was given no password but by these arguments and variables.
    async fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let environment =
            [&[QUICK_VAULT, ("ARBITER_PROVIDERS__HEARTBEAT_INTERVAL_MS", "50")], environment].concat();
        let without: &[&str] = match environment.iter().any(|(name, _)| *name == "ARBITER_PASSWORD") {
            true => &[],
            false => &["env", "-u", "ARBITER_PASSWORD"],
        };
        let server = ServerProcess::start_behind(without, BINARY, arguments, &environment).await;
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
        Self { stage: Stage { server }, client, except: 0..0 }
    }

    /// A request over a connection that stays open, if the server lets it; a body of `null` is none.
    async fn ask(&self, method: &str, path: &str, json: Value) -> (u16, Value) {
        let url = format!("{}/api/v1/{path}", self.stage.server.url());
        let mut request = self.client.request(method.parse().unwrap(), url);
        if !json.is_null() {
            request = request.json(&json);
        }
        let answer = request.bearer_auth(self.stage.server.token().unwrap()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// Where any part of these secrets is in the server's memory.
    fn traces(&self, secrets: &[&Canary]) -> Vec<String> {
        let traces: Vec<String> = secrets.iter().flat_map(|secret| secret.traces()).collect();
        self.image().find(&traces)
    }

    fn image(&self) -> Image {
        Image::of(self.stage.server.id()).without(&self.except)
    }

    /// The keys that the password leads to, each in two halves, for the entries that are in the file now.
    fn derived(&self, password: &Canary) -> Vec<Vec<u8>> {
        let file = std::fs::read(self.stage.server.data_dir().join("keys.json")).unwrap();
        let file: Value = serde_json::from_slice(&file).unwrap();
        let rounds = NonZeroU32::new(QUICK_VAULT.1.parse().unwrap()).unwrap();
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
    async fn sees(&self, secret: &Canary) {
        let begin = Instant::now();
        while self.traces(&[secret]).is_empty() {
            assert!(begin.elapsed() < GONE_WITHIN, "{} is never found, so nothing is", secret.text());
            tokio::task::yield_now().await;
        }
    }

    /// Waits until none of the secrets is in the server's memory.
    async fn gone(&self, secrets: &[&Canary]) {
        let begin = Instant::now();
        loop {
            let looked = begin.elapsed();
            let traces = self.traces(secrets);
            if traces.is_empty() {
                return;
            }
            assert!(looked < GONE_WITHIN, "after {looked:?}:\n{}", traces.join("\n"));
            tokio::task::yield_now().await;
        }
    }
}

/// Ends each bead at once.
fn finishing(_: &ChatInput) -> Reply {
    Reply::tool("finish", json!({"summary": "[simulated] done"}))
}

impl Witness {
    /// A provider with this key, an agent, and a bead that was done with the key.
    async fn furnish(&self, key: &Canary) -> ScriptedProvider {
        let provider = ScriptedProvider::start(Script::answering(finishing).requiring_key(key.text()));
        self.register(&provider, key).await;
        self.stage.bead("first", json!({})).await;
        self.stage.until_bead("first", "closed").await;
        assert_eq!(self.ask("GET", "providers/main/models", Value::Null).await.0, 200);
        provider
    }

    /// A provider with this key and an agent that uses it.
    async fn register(&self, provider: &ScriptedProvider, key: &Canary) {
        let new = json!({"id": "main", "name": "Main", "type": "openai", "endpoint": provider.url(), "api_key": key.text()});
        assert_eq!(self.ask("POST", "providers", new).await.0, 201);
        self.stage.create("projects", json!({"id": "p", "name": "P"})).await;
        let agent = json!({"id": "a", "name": "a", "provider_id": "main", "project_id": "p"});
        self.stage.create("agents", agent).await;
    }

    async fn unlock(&self, password: &Canary) -> u16 {
        self.ask("POST", "vault/unlock", json!({"password": password.text()})).await.0
    }

    async fn lock(&self) {
        let answer = self.stage.act("vault/lock", Value::Null).await;
        assert_eq!(answer["state"], "locked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_server_has_neither_its_password_nor_any_key_it_ever_had() {
    let [password, wrong, key, by_patch, by_put, stored, deleted, misplaced] =
        ["password", "wrong", "key", "patch", "put", "stored", "deleted", "misplaced"].map(Canary::random);
    let all = [&password, &wrong, &key, &by_patch, &by_put, &stored, &deleted, &misplaced];
    let witness = Witness::start(&[], &[]).await;
    assert_eq!(witness.unlock(&password).await, 201);
    let provider = witness.furnish(&key).await;
    witness.sees(&password).await;
    witness.sees(&key).await;

    // Every way in which a key comes in, and some in which it does not.
    for (id, value) in [("kept", &stored), ("lost", &deleted)] {
        let new = json!({"id": id, "name": id, "value": value.text()});
        assert_eq!(witness.ask("POST", "keys", new).await.0, 201);
    }
    assert_eq!(witness.ask("DELETE", "keys/lost", Value::Null).await.0, 204);
    let patch = json!({"api_key": by_patch.text()});
    assert_eq!(witness.ask("PATCH", "providers/main", patch).await.0, 200);
    // The provider does not know the new key and says so word by word, to beats as to beads.
    witness.stage.until("providers/main", |provider| provider["status"] == "unhealthy").await;
    assert_eq!(witness.ask("PUT", "keys/key_main", json!({"value": by_put.text()})).await.0, 200);
    witness.stage.act("providers/main/heartbeat", Value::Null).await;
    assert_eq!(witness.ask("POST", "keys", json!({"value": misplaced.text(), "nam": 1})).await.0, 422);
    assert_eq!(witness.ask("POST", "vault/unlock", json!({"pass": misplaced.text()})).await.0, 422);
    assert_eq!(witness.ask("POST", "keys", json!([misplaced.text()])).await.0, 422);
    let bearers: Vec<_> =
        provider.requests().into_iter().filter_map(|request| request.authorization).collect();
    for secret in [&key, &by_patch, &by_put] {
        assert!(bearers.contains(&format!("Bearer {}", secret.text())), "{} was never used", secret.text());
    }

    witness.lock().await;
    assert_eq!(witness.unlock(&wrong).await, 403);
    witness.gone(&all).await;
    // And once more, since an unlocked vault reads what a locked one had forgotten.
    assert_eq!(witness.unlock(&password).await, 200);
    witness.stage.act("providers/main/heartbeat", Value::Null).await;
    witness.sees(&password).await;
    let derived = witness.derived(&password);
    assert!(
        !witness.image().find(&derived).is_empty(),
        "the key of the entry just used is kept until the lock"
    );
    witness.lock().await;
    witness.gone(&all).await;
    assert_eq!(witness.image().find(&derived), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_key_leaves_the_memory_although_the_vault_stays_open() {
    let [password, first, second, third] = ["password", "first", "second", "third"].map(Canary::random);
    // Without beats nothing is sent over a connection that would overwrite what it sent before.
    let seldom = ("ARBITER_PROVIDERS__HEARTBEAT_INTERVAL_MS", "86400000");
    let witness = Witness::start(&[], &[seldom]).await;
    witness.unlock(&password).await;
    let _provider = witness.furnish(&first).await;
    witness.sees(&first).await;
    assert_eq!(witness.ask("PUT", "keys/key_main", json!({"value": second.text()})).await.0, 200);
    witness.gone(&[&first]).await;
    witness.stage.act("providers/main/heartbeat", Value::Null).await;
    witness.sees(&second).await;
    assert_eq!(witness.ask("PATCH", "providers/main", json!({"api_key": third.text()})).await.0, 200);
    witness.gone(&[&first, &second]).await;
    witness.stage.act("providers/main/heartbeat", Value::Null).await;
    witness.sees(&third).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_its_provider_never_answers_does_not_keep_its_key_from_the_lock() {
    let [password, key] = ["password", "key"].map(Canary::random);
    let witness = Witness::start(&[], &[]).await;
    witness.unlock(&password).await;
    let asked = Arc::new(Notify::new());
    let bell = Arc::clone(&asked);
    let script = Script::answering(move |_| {
        bell.notify_one();
        Reply::failing(Fault::Hang)
    });
    let provider = ScriptedProvider::start(script.requiring_key(key.text()));
    witness.register(&provider, &key).await;
    witness.stage.bead("endless", json!({})).await;
    asked.notified().await;
    witness.lock().await;
    witness.gone(&[&password, &key]).await;
    let bead = witness.stage.until_bead("endless", "open").await;
    assert_eq!(bead["attempts"], 0, "a lock is no failure of the bead: {bead}");
}

/// A vault with a key that the provider is called with, then locked: password and key come and go.
async fn comes_and_goes(witness: &Witness, password: &Canary) {
    let key = Canary::random("key");
    let _provider = witness.furnish(&key).await;
    witness.sees(password).await;
    witness.sees(&key).await;
    witness.lock().await;
    witness.gone(&[password, &key]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_from_a_file_leaves_the_memory_with_the_lock() {
    let (password, home) = (Canary::random("file"), tempfile::tempdir().unwrap());
    let path = private_file(home.path(), "password", &format!("{}\n", password.text()));
    let witness = Witness::start(&["--password-file", &path], &[]).await;
    comes_and_goes(&witness, &password).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_from_the_environment_stays_where_the_kernel_put_it_and_nowhere_else() {
    let password = Canary::random("variable");
    let mut witness = Witness::start(&[], &[("ARBITER_PASSWORD", password.text())]).await;
    witness.except = environment_of(witness.stage.server.id());
    comes_and_goes(&witness, &password).await;
    witness.except = 0..0;
    assert!(!witness.traces(&[&password]).is_empty(), "no program can take that copy back");
}
