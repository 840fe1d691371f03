//! Keys that are bound to hosts: a provider that moves to another host does not get its key.

use crate::harness::{Harness, KEY};
use arbiter_testkit::{HttpResponse, Script, ScriptedProvider};
use serde_json::{Value, json};

fn assert_key_not_for_host(answer: &HttpResponse) {
    let json = answer.json();
    assert_eq!((answer.status, json["type"].as_str()), (409, Some("key-not-for-host")), "{json}");
}

/// The endpoint of a scripted provider under another name of the same machine.
fn localhost_endpoint(provider: &ScriptedProvider) -> String {
    provider.url().replace("127.0.0.1", "localhost")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provider_moves_to_another_host_only_with_a_new_key() {
    let harness = Harness::new().await;
    let provider = harness.setup(Script::default(), &[]).await;
    let patch = async |body: Value| harness.ask("PATCH", "providers/scripted", Some(&body)).await;
    assert_eq!(harness.get("keys").await[0]["allowed_hosts"], json!(["127.0.0.1"]));
    let (before, keys) = (harness.get("providers/scripted").await, harness.get("keys").await);
    assert_key_not_for_host(
        &patch(json!({"endpoint": localhost_endpoint(&provider), "name": "Moved"})).await,
    );
    let put = json!({"name": "Moved", "type": "custom", "endpoint": localhost_endpoint(&provider)});
    assert_key_not_for_host(&harness.ask("PUT", "providers/scripted", Some(&put)).await);
    let after = harness.get("providers/scripted").await;
    assert_eq!((&after["revision"], &after["name"]), (&before["revision"], &before["name"]));
    assert_eq!(harness.get("keys").await, keys);

    // On the same host everything else may change, the port too.
    let other = ScriptedProvider::start(Script::default().requiring_key(KEY));
    assert_eq!(patch(json!({"endpoint": other.url()})).await.status, 200);
    assert_eq!(harness.act("providers/scripted/heartbeat", Value::Null).await["status"], "active");

    let moved = patch(json!({"endpoint": localhost_endpoint(&provider), "api_key": KEY})).await;
    assert_eq!(moved.status, 200, "{}", moved.json());
    assert_eq!(harness.get("keys").await[0]["allowed_hosts"], json!(["localhost"]));
    let told = harness.get("events?type=key.updated&subject=key_scripted").await;
    let hosts = json!({"allowed_hosts": {"old": ["127.0.0.1"], "new": ["localhost"]}});
    assert_eq!(told.as_array().unwrap().last().unwrap()["data"]["changes"], hosts);
    let beat = harness.act("providers/scripted/heartbeat", Value::Null).await;
    assert_eq!(beat["status"], "active", "{beat}");
    assert_key_not_for_host(&patch(json!({"endpoint": provider.url()})).await);
    // Without a key it may go anywhere.
    let open = patch(json!({"endpoint": provider.url(), "requires_key": false})).await;
    assert_eq!(open.status, 200, "{}", open.json());
    assert_key_not_for_host(&patch(json!({"requires_key": true})).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provider_never_gets_a_key_bound_to_another_host() {
    let harness = Harness::new().await;
    let provider = ScriptedProvider::start(Script::default().requiring_key(KEY));
    harness
        .create(
            "keys",
            json!({"id": "theirs", "name": "t", "value": KEY, "allowed_hosts": ["API.example.com"]}),
        )
        .await;
    harness.create("keys", json!({"id": "anywhere", "name": "a", "value": KEY})).await;
    let new = |key: &str| json!({"id": "p", "name": "P", "type": "custom", "endpoint": provider.url(), "key_id": key});
    assert_key_not_for_host(&harness.ask("POST", "providers", Some(&new("theirs"))).await);
    assert_eq!(harness.ask("GET", "providers/p", None).await.status, 404);
    harness.create("providers", new("anywhere")).await;
    assert_key_not_for_host(&harness.ask("PATCH", "providers/p", Some(&json!({"key_id": "theirs"}))).await);
    assert_eq!(harness.act("providers/p/heartbeat", Value::Null).await["status"], "active");

    // A key that is bound elsewhere afterwards goes nowhere, and the provider says why.
    let bound = json!({"value": KEY, "allowed_hosts": ["api.example.com"]});
    let bound = harness.ask("PUT", "keys/anywhere", Some(&bound)).await;
    assert_eq!(bound.json()["allowed_hosts"], json!(["api.example.com"]));
    let asked = provider.requests().len();
    for _ in 0..3 {
        harness.act("providers/p/heartbeat", Value::Null).await;
    }
    let down = harness.get("providers/p").await;
    assert_eq!(down["status"], "unhealthy", "{down}");
    assert!(down["status_reason"].as_str().unwrap().contains("bound to other hosts"), "{down}");
    assert_eq!(provider.requests().len(), asked);
    let back = json!({"value": KEY, "allowed_hosts": ["127.0.0.1", "localhost"]});
    assert_eq!(harness.ask("PUT", "keys/anywhere", Some(&back)).await.status, 200);
    assert_eq!(harness.act("providers/p/heartbeat", Value::Null).await["status"], "active");
    // A key whose hosts are not named keeps them.
    let same = harness.ask("PUT", "keys/anywhere", Some(&json!({"value": KEY}))).await;
    assert_eq!(same.json()["allowed_hosts"], json!(["127.0.0.1", "localhost"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_hosts_and_purposes_are_validated_and_listed() {
    let harness = Harness::new().await;
    for (wrong, pointer) in [
        (json!({"name": "n", "value": "v", "allowed_hosts": ["http://h"]}), "/allowed_hosts/0"),
        (json!({"name": "n", "value": "v", "allowed_hosts": ["h", "h:80"]}), "/allowed_hosts/1"),
        (json!({"name": "n", "value": "v", "purpose": "other"}), "/purpose"),
    ] {
        let refused = harness.ask("POST", "keys", Some(&wrong)).await;
        assert_eq!(
            (refused.status, &refused.json()["errors"][0]["pointer"]),
            (422, &json!(pointer)),
            "{wrong}"
        );
    }
    let add =
        ["key", "add", "Mine", "--id", "mine", "--host", "A.example", "--host", "::1", "--api-key-stdin"];
    let added = harness.cli_with(&add, "sk-mine\n").await;
    assert_eq!(added.code, Some(0), "{added:?}");
    let listed = harness.cli(&["key", "list"]).await;
    assert!(listed.stdout.contains("HOSTS") && listed.stdout.contains("::1, a.example"), "{listed:?}");
    let rotate = ["key", "rotate", "mine", "--host", "b.example", "--api-key-stdin"];
    let rotated = harness.cli_with(&rotate, "sk-other\n").await;
    assert_eq!((rotated.code, rotated.stdout.trim()), (Some(0), "mine: replaced"), "{rotated:?}");
    assert_eq!(harness.get("keys").await[0]["allowed_hosts"], json!(["b.example"]));
    for purpose in ["tls", "codec"] {
        harness.create("keys", json!({"name": "n", "value": "v", "purpose": purpose})).await;
    }
    let unknown = harness.ask("PUT", "keys/none", Some(&json!({"value": "v"}))).await;
    assert_eq!(unknown.status, 404);
}
