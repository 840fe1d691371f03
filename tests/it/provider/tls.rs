//! A provider that is known by a CA of its own and knows us by our certificate: beats, calls, refusals, and
//! where the private key is never seen.

use crate::harness::Stage;
use crate::harness::canary::Canary;
use arbiter_testkit::{Issued, Script, ScriptedProvider, TEST_PASSWORD, TestCa};
use serde_json::{Value, json};

/// A provider over TLS, its CA, and our certificate for it.
struct Partner {
    provider: ScriptedProvider,
    ca: TestCa,
    ours: Issued,
}

impl Partner {
    fn start() -> Self {
        let (ca, clients) = (TestCa::new("ca of the provider"), TestCa::new("ca of its clients"));
        let config = ca.server(&["127.0.0.1"]).server_config(Some(&clients));
        let provider = ScriptedProvider::start_tls(Script::default(), config);
        Self { provider, ca, ours: clients.client("arbiter") }
    }

    /// What registers it, with the entry `tls-key` as the key of our certificate.
    fn form(&self, id: &str) -> Value {
        json!({
            "id": id, "name": id, "type": "custom", "endpoint": self.provider.url(),
            "client_cert": self.ours.certificate, "client_key_id": "tls-key", "ca_cert": self.ca.pem(),
        })
    }

    async fn store_key(&self, stage: &Stage) {
        let key = json!({"id": "tls-key", "name": "TLS", "purpose": "tls", "value": self.ours.key});
        stage.create("keys", key).await;
    }
}

/// Starts a request that must be refused, and returns the first wrong field.
async fn wrong_field(stage: &Stage, method: &str, path: &str, form: &Value) -> String {
    let answer = stage.ask(method, path, Some(form)).await;
    assert_eq!(answer.status, 422, "{}", answer.json());
    answer.json()["errors"][0]["pointer"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_provider_is_beaten_and_called_with_our_certificate_and_its_key_is_seen_nowhere() {
    let (stage, partner) = (Stage::new().await, Partner::start());
    // One whole line of the key, which is random from end to end.
    let canary = Canary::new(partner.ours.key.lines().nth(2).unwrap());
    partner.store_key(&stage).await;
    let registered = stage.create("providers", partner.form("vllm")).await;
    assert_eq!(registered["client_cert"], partner.ours.certificate.as_str());
    assert_eq!(
        (&registered["client_key_id"], &registered["requires_key"]),
        (&json!("tls-key"), &json!(false))
    );
    assert_eq!(registered["ca_cert"], partner.ca.pem());
    assert_eq!(stage.act("providers/vllm/heartbeat", Value::Null).await["status"], "active");

    stage.create("projects", json!({"id": "p", "name": "P"})).await;
    stage.create("agents", json!({"id": "a", "name": "A", "provider_id": "vllm", "project_id": "p"})).await;
    stage.bead("b", json!({})).await;
    stage.until_bead("b", "closed").await;
    assert_eq!(partner.provider.chat_count(), 1);
    let requests = partner.provider.requests();
    assert!(
        requests.iter().all(|request| request.authorization.is_none()),
        "no key of another kind goes along"
    );

    let events = stage.events(0).await;
    let used: Vec<_> = events.iter().filter(|event| event["type"] == "key.used").collect();
    assert!(!used.is_empty());
    for event in &used {
        assert_eq!((&event["subject"], &event["data"]["purpose"]), (&json!("tls-key"), &json!("tls")));
        assert_eq!(event["data"]["host"], "127.0.0.1");
    }
    let mut stage = stage;
    for path in ["providers", "keys", "events?limit=1000", "runs"] {
        canary.not_in(&stage.ask("GET", path, None).await.body, path);
    }
    stage.server.terminate().await;
    canary.not_in(stage.server.stderr_text().as_bytes(), "the log");
    assert!(canary.not_below(&stage.server.data_dir()) > 3);
}

#[tokio::test]
async fn while_the_vault_is_locked_such_a_provider_is_not_asked_and_not_found_down() {
    let (stage, partner) = (Stage::new().await, Partner::start());
    partner.store_key(&stage).await;
    stage.create("providers", partner.form("vllm")).await;
    assert_eq!(stage.act("providers/vllm/heartbeat", Value::Null).await["status"], "active");
    stage.create("projects", json!({"id": "p", "name": "P"})).await;
    stage.create("agents", json!({"id": "a", "name": "A", "provider_id": "vllm", "project_id": "p"})).await;
    stage.act("vault/lock", Value::Null).await;
    let asked = partner.provider.requests().len();
    for path in ["providers/vllm/heartbeat", "providers/vllm/models"] {
        let method = if path.ends_with("models") { "GET" } else { "POST" };
        assert_eq!(stage.ask(method, path, None).await.status, 423, "{path}");
    }
    stage.bead("b", json!({})).await;
    assert_eq!(partner.provider.requests().len(), asked, "the key went with the lock");
    assert_eq!(stage.get("providers/vllm").await["status"], "active");
    assert_eq!(stage.get("beads/b").await["status"], "open", "nobody is given it");
    stage.act("vault/unlock", json!({"password": TEST_PASSWORD})).await;
    stage.until_bead("b", "closed").await;
}

#[tokio::test]
async fn a_provider_of_another_ca_is_unhealthy_and_says_why() {
    let (stage, partner) = (Stage::new().await, Partner::start());
    partner.store_key(&stage).await;
    let mut form = partner.form("vllm");
    form["ca_cert"] = TestCa::new("another ca").pem().into();
    stage.create("providers", form).await;
    let found = stage.act("providers/vllm/heartbeat", Value::Null).await;
    assert_eq!(found["status"], "unhealthy");
    let why = found["status_reason"].as_str().unwrap();
    assert!(why.contains("comes from an unknown authority; ca_cert names another one"), "{why}");

    let patch = json!({"ca_cert": partner.ca.pem()});
    assert_eq!(stage.ask("PATCH", "providers/vllm", Some(&patch)).await.status, 200);
    assert_eq!(stage.act("providers/vllm/heartbeat", Value::Null).await["status"], "active");

    let stranger = TestCa::new("yet another").client("arbiter");
    let patch = json!({"client_cert": stranger.certificate});
    assert_eq!(stage.ask("PATCH", "providers/vllm", Some(&patch)).await.status, 200);
    let found = stage.act("providers/vllm/heartbeat", Value::Null).await;
    let why = found["last_heartbeat_error"].as_str().unwrap();
    assert!(why.contains("client_cert does not belong to the private key"), "{why}");
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_refused_by_their_field() {
    let (stage, partner) = (Stage::new().await, Partner::start());
    partner.store_key(&stage).await;
    stage.create("keys", json!({"id": "api-key", "name": "API", "value": "sk-1"})).await;
    let with = |changes: Value| {
        let mut form = partner.form("vllm");
        for (name, value) in changes.as_object().unwrap() {
            form[name] = value.clone();
        }
        form
    };
    let both = format!("{}{}", partner.ours.certificate, partner.ours.key);
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
            wrong_field(&stage, "POST", "providers", &with(changes.clone())).await,
            pointer,
            "{changes}"
        );
    }
    stage.create("providers", partner.form("vllm")).await;
    for (patch, pointer) in [
        (json!({"client_key_id": null}), "/client_cert"),
        (json!({"client_key_id": "api-key"}), "/client_key_id"),
        (json!({"ca_cert": "nonsense"}), "/ca_cert"),
        (json!({"endpoint": "http://127.0.0.1:1"}), "/client_cert"),
    ] {
        assert_eq!(wrong_field(&stage, "PATCH", "providers/vllm", &patch).await, pointer, "{patch}");
    }
    assert_eq!(stage.ask("DELETE", "keys/tls-key", None).await.status, 409, "a provider needs it");
    let mut whole = partner.form("vllm");
    for name in ["client_cert", "client_key_id", "ca_cert"] {
        whole.as_object_mut().unwrap().remove(name);
    }
    let replaced = stage.ask("PUT", "providers/vllm", Some(&whole)).await;
    assert_eq!((replaced.status, &replaced.json()["client_key_id"]), (200, &Value::Null));
    assert_eq!(stage.ask("DELETE", "keys/tls-key", None).await.status, 204, "now nobody does");
}

#[tokio::test]
async fn the_command_line_registers_such_a_provider_from_files() {
    let (stage, partner) = (Stage::new().await, Partner::start());
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = partner.ours.write(files.path(), "ours");
    let ca = files.path().join("ca.pem");
    std::fs::write(&ca, partner.ca.pem()).unwrap();
    let [certificate, key, ca] = [certificate, key, ca].map(|path| path.display().to_string());
    let stored = ["key", "add", "TLS", "--id", "k", "--purpose", "tls", "--api-key-file", &key, "--json"];
    assert_eq!(stage.cli(&stored).await.json()["purpose"], "tls");
    let url = partner.provider.url();
    let add = ["provider", "add", "P", "--id", "p", "--type", "custom", "--endpoint", &url, "--json"];
    let files = ["--client-cert", &certificate, "--client-key-id", "k", "--ca-cert", &ca];
    let added = stage.cli(&[&add[..], &files].concat()).await.json();
    assert_eq!(added["client_cert"], partner.ours.certificate.as_str());
    let beat = stage.cli(&["provider", "heartbeat", "p", "--json"]).await.json();
    assert_eq!(beat["status"], "active", "{beat}");
}
