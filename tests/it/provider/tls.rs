//! A provider with a private CA and mutual TLS: heartbeats, calls, refusals, and the secrecy of the private
//! key.

use crate::harness::Harness;
use crate::harness::canary::Canary;
use arbiter_testkit::{Issued, Script, ScriptedProvider, TEST_PASSWORD, TestCa};
use serde_json::{Value, json};

/// A provider over TLS, its CA, and our certificate for it.
struct MtlsProvider {
    provider: ScriptedProvider,
    ca: TestCa,
    ours: Issued,
}

impl MtlsProvider {
    fn start() -> Self {
        let (ca, clients) = (TestCa::new("ca of the provider"), TestCa::new("ca of its clients"));
        let config = ca.server(&["127.0.0.1"]).server_config(Some(&clients));
        let provider = ScriptedProvider::start_tls(Script::default(), config);
        Self { provider, ca, ours: clients.client("arbiter") }
    }

    /// Returns the body that registers it, with the vault entry `tls-key` as the key of our certificate.
    fn form(&self, id: &str) -> Value {
        json!({
            "id": id, "name": id, "type": "custom", "endpoint": self.provider.url(),
            "client_cert": self.ours.certificate, "client_key_id": "tls-key", "ca_cert": self.ca.pem(),
        })
    }

    async fn store_key(&self, harness: &Harness) {
        let key = json!({"id": "tls-key", "name": "TLS", "purpose": "tls", "value": self.ours.key});
        harness.create("keys", key).await;
    }
}

/// Starts a request that must be refused, and returns the first wrong field.
async fn wrong_field(harness: &Harness, method: &str, path: &str, form: &Value) -> String {
    let answer = harness.ask(method, path, Some(form)).await;
    assert_eq!(answer.status, 422, "{}", answer.json());
    answer.json()["errors"][0]["pointer"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn mtls_provider_key_never_leaks() {
    let (harness, mtls) = (Harness::new().await, MtlsProvider::start());
    // One whole line of the key, which is random from end to end.
    let canary = Canary::new(mtls.ours.key.lines().nth(2).unwrap());
    mtls.store_key(&harness).await;
    let registered = harness.create("providers", mtls.form("vllm")).await;
    assert_eq!(registered["client_cert"], mtls.ours.certificate.as_str());
    assert_eq!(
        (&registered["client_key_id"], &registered["requires_key"]),
        (&json!("tls-key"), &json!(false))
    );
    assert_eq!(registered["ca_cert"], mtls.ca.pem());
    assert_eq!(harness.act("providers/vllm/heartbeat", Value::Null).await["status"], "active");

    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.create("agents", json!({"id": "a", "name": "A", "provider_id": "vllm", "project_id": "p"})).await;
    harness.bead("b", json!({})).await;
    harness.wait_for_bead_status("b", "closed").await;
    assert_eq!(mtls.provider.chat_count(), 1);
    let requests = mtls.provider.requests();
    assert!(
        requests.iter().all(|request| request.authorization.is_none()),
        "no key of another kind goes along"
    );

    let events = harness.events(0).await;
    let used: Vec<_> = events.iter().filter(|event| event["type"] == "key.used").collect();
    assert!(!used.is_empty());
    for event in &used {
        assert_eq!((&event["subject"], &event["data"]["purpose"]), (&json!("tls-key"), &json!("tls")));
        assert_eq!(event["data"]["host"], "127.0.0.1");
    }
    let mut harness = harness;
    for path in ["providers", "keys", "events?limit=1000", "runs"] {
        canary.assert_not_in(&harness.ask("GET", path, None).await.body, path);
    }
    harness.server.terminate().await;
    canary.assert_not_in(harness.server.stderr_text().as_bytes(), "the log");
    assert!(canary.assert_not_below(&harness.server.data_dir()) > 3);
}

#[tokio::test]
async fn mtls_provider_is_not_probed_while_the_vault_is_locked() {
    let (harness, mtls) = (Harness::new().await, MtlsProvider::start());
    mtls.store_key(&harness).await;
    harness.create("providers", mtls.form("vllm")).await;
    assert_eq!(harness.act("providers/vllm/heartbeat", Value::Null).await["status"], "active");
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.create("agents", json!({"id": "a", "name": "A", "provider_id": "vllm", "project_id": "p"})).await;
    harness.act("vault/lock", Value::Null).await;
    let asked = mtls.provider.requests().len();
    assert_eq!(harness.ask("POST", "providers/vllm/heartbeat", None).await.status, 423);
    // Reading what it offered needs no key.
    assert_eq!(harness.get("providers/vllm/models").await.as_array().map(Vec::is_empty), Some(false));
    harness.bead("b", json!({})).await;
    assert_eq!(mtls.provider.requests().len(), asked, "the key went with the lock");
    assert_eq!(harness.get("providers/vllm").await["status"], "active");
    assert_eq!(harness.get("beads/b").await["status"], "open", "no agent gets it");
    harness.act("vault/unlock", json!({"password": TEST_PASSWORD})).await;
    harness.wait_for_bead_status("b", "closed").await;
}

#[tokio::test]
async fn provider_of_another_ca_is_unhealthy_with_the_reason() {
    let (harness, mtls) = (Harness::new().await, MtlsProvider::start());
    mtls.store_key(&harness).await;
    let mut form = mtls.form("vllm");
    form["ca_cert"] = TestCa::new("another ca").pem().into();
    harness.create("providers", form).await;
    let found = harness.act("providers/vllm/heartbeat", Value::Null).await;
    assert_eq!(found["status"], "unhealthy");
    let why = found["status_reason"].as_str().unwrap();
    assert!(why.contains("comes from an unknown authority; ca_cert names another one"), "{why}");

    let patch = json!({"ca_cert": mtls.ca.pem()});
    assert_eq!(harness.ask("PATCH", "providers/vllm", Some(&patch)).await.status, 200);
    assert_eq!(harness.act("providers/vllm/heartbeat", Value::Null).await["status"], "active");

    let stranger = TestCa::new("yet another").client("arbiter");
    let patch = json!({"client_cert": stranger.certificate});
    assert_eq!(harness.ask("PATCH", "providers/vllm", Some(&patch)).await.status, 200);
    let found = harness.act("providers/vllm/heartbeat", Value::Null).await;
    let why = found["last_heartbeat_error"].as_str().unwrap();
    assert!(why.contains("client_cert does not belong to the private key"), "{why}");
}

#[tokio::test]
async fn unusable_provider_certificate_is_refused_by_its_field() {
    let (harness, mtls) = (Harness::new().await, MtlsProvider::start());
    mtls.store_key(&harness).await;
    harness.create("keys", json!({"id": "api-key", "name": "API", "value": "sk-1"})).await;
    let with = |changes: Value| {
        let mut form = mtls.form("vllm");
        for (name, value) in changes.as_object().unwrap() {
            form[name] = value.clone();
        }
        form
    };
    let both = format!("{}{}", mtls.ours.certificate, mtls.ours.key);
    for (changes, pointer) in [
        (json!({"client_key_id": null}), "/client_cert"),
        (json!({"client_cert": null}), "/client_key_id"),
        (json!({"client_cert": "nonsense"}), "/client_cert"),
        (json!({"client_cert": both}), "/client_cert"),
        (json!({"ca_cert": "nonsense"}), "/ca_cert"),
        (json!({"client_key_id": "nobody"}), "/client_key_id"),
        (json!({"client_key_id": "api-key"}), "/client_key_id"),
        (json!({"endpoint": "http://127.0.0.1:1"}), "/client_cert"),
    ] {
        assert_eq!(
            wrong_field(&harness, "POST", "providers", &with(changes.clone())).await,
            pointer,
            "{changes}"
        );
    }
    harness.create("providers", mtls.form("vllm")).await;
    for (patch, pointer) in [
        (json!({"client_key_id": null}), "/client_cert"),
        (json!({"client_key_id": "api-key"}), "/client_key_id"),
        (json!({"ca_cert": "nonsense"}), "/ca_cert"),
        (json!({"endpoint": "http://127.0.0.1:1"}), "/client_cert"),
    ] {
        assert_eq!(wrong_field(&harness, "PATCH", "providers/vllm", &patch).await, pointer, "{patch}");
    }
    assert_eq!(harness.ask("DELETE", "keys/tls-key", None).await.status, 409, "a provider needs it");
    let mut whole = mtls.form("vllm");
    for name in ["client_cert", "client_key_id", "ca_cert"] {
        whole.as_object_mut().unwrap().remove(name);
    }
    let replaced = harness.ask("PUT", "providers/vllm", Some(&whole)).await;
    assert_eq!((replaced.status, &replaced.json()["client_key_id"]), (200, &Value::Null));
    assert_eq!(harness.ask("DELETE", "keys/tls-key", None).await.status, 204, "now no provider uses it");
}

#[tokio::test]
async fn cli_registers_an_mtls_provider_from_files() {
    let (harness, mtls) = (Harness::new().await, MtlsProvider::start());
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = mtls.ours.write(files.path(), "ours");
    let ca = files.path().join("ca.pem");
    std::fs::write(&ca, mtls.ca.pem()).unwrap();
    let [certificate, key, ca] = [certificate, key, ca].map(|path| path.display().to_string());
    let stored = ["key", "add", "TLS", "--id", "k", "--purpose", "tls", "--api-key-file", &key, "--json"];
    assert_eq!(harness.cli(&stored).await.json()["purpose"], "tls");
    let url = mtls.provider.url();
    let add = ["provider", "add", "P", "--id", "p", "--type", "custom", "--endpoint", &url, "--json"];
    let files = ["--client-cert", &certificate, "--client-key-id", "k", "--ca-cert", &ca];
    let added = harness.cli(&[&add[..], &files].concat()).await.json();
    assert_eq!(added["client_cert"], mtls.ours.certificate.as_str());
    let beat = harness.cli(&["provider", "heartbeat", "p", "--json"]).await.json();
    assert_eq!(beat["status"], "active", "{beat}");
}
