//! Keys that are bound to hosts: a provider that moves does not take its key along.

use crate::harness::{KEY, Stage};
use arbiter_testkit::{HttpAnswer, Script, ScriptedProvider};
use serde_json::{Value, json};

fn not_for_host(answer: &HttpAnswer) {
    let json = answer.json();
    assert_eq!((answer.status, json["type"].as_str()), (409, Some("key-not-for-host")), "{json}");
}

/// The endpoint of a scripted provider under another name of the same machine.
fn elsewhere(provider: &ScriptedProvider) -> String {
    provider.url().replace("127.0.0.1", "localhost")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_moves_to_another_host_only_with_its_key_given_anew() {
    let stage = Stage::new().await;
    let provider = stage.furnish(Script::default(), &[]).await;
    let patch = async |body: Value| stage.ask("PATCH", "providers/scripted", Some(&body)).await;
    assert_eq!(stage.get("keys").await[0]["allowed_hosts"], json!(["127.0.0.1"]));
    let (before, keys) = (stage.get("providers/scripted").await, stage.get("keys").await);
    not_for_host(&patch(json!({"endpoint": elsewhere(&provider), "name": "Moved"})).await);
    let put = json!({"name": "Moved", "type": "custom", "endpoint": elsewhere(&provider)});
    not_for_host(&stage.ask("PUT", "providers/scripted", Some(&put)).await);
    let after = stage.get("providers/scripted").await;
    assert_eq!((&after["revision"], &after["name"]), (&before["revision"], &before["name"]));
    assert_eq!(stage.get("keys").await, keys);

    // On the same host everything else may change, the port too.
    let other = ScriptedProvider::start(Script::default().requiring_key(KEY));
    assert_eq!(patch(json!({"endpoint": other.url()})).await.status, 200);
    assert_eq!(stage.act("providers/scripted/heartbeat", Value::Null).await["status"], "active");

    let moved = patch(json!({"endpoint": elsewhere(&provider), "api_key": KEY})).await;
    assert_eq!(moved.status, 200, "{}", moved.json());
    assert_eq!(stage.get("keys").await[0]["allowed_hosts"], json!(["localhost"]));
    let told = stage.get("events?type=key.updated&subject=key_scripted").await;
    let hosts = json!({"allowed_hosts": {"old": ["127.0.0.1"], "new": ["localhost"]}});
    assert_eq!(told.as_array().unwrap().last().unwrap()["data"]["changes"], hosts);
    let beat = stage.act("providers/scripted/heartbeat", Value::Null).await;
    assert_eq!(beat["status"], "active", "{beat}");
    not_for_host(&patch(json!({"endpoint": provider.url()})).await);
    // Without a key it may go anywhere.
    let open = patch(json!({"endpoint": provider.url(), "requires_key": false})).await;
    assert_eq!(open.status, 200, "{}", open.json());
    not_for_host(&patch(json!({"requires_key": true})).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_does_not_get_a_key_that_is_bound_to_another_host() {
    let stage = Stage::new().await;
    let provider = ScriptedProvider::start(Script::default().requiring_key(KEY));
    stage
        .create(
            "keys",
            json!({"id": "theirs", "name": "t", "value": KEY, "allowed_hosts": ["API.example.com"]}),
        )
        .await;
    stage.create("keys", json!({"id": "anywhere", "name": "a", "value": KEY})).await;
    let new = |key: &str| json!({"id": "p", "name": "P", "type": "custom", "endpoint": provider.url(), "key_id": key});
    not_for_host(&stage.ask("POST", "providers", Some(&new("theirs"))).await);
    assert_eq!(stage.ask("GET", "providers/p", None).await.status, 404);
    stage.create("providers", new("anywhere")).await;
    not_for_host(&stage.ask("PATCH", "providers/p", Some(&json!({"key_id": "theirs"}))).await);
    assert_eq!(stage.act("providers/p/heartbeat", Value::Null).await["status"], "active");

    // A key that is bound elsewhere afterwards goes nowhere, and the provider says why.
    let bound = json!({"value": KEY, "allowed_hosts": ["api.example.com"]});
    let bound = stage.ask("PUT", "keys/anywhere", Some(&bound)).await;
    assert_eq!(bound.json()["allowed_hosts"], json!(["api.example.com"]));
    let asked = provider.requests().len();
    for _ in 0..3 {
        stage.act("providers/p/heartbeat", Value::Null).await;
    }
    let down = stage.get("providers/p").await;
    assert_eq!(down["status"], "unhealthy", "{down}");
    assert!(down["status_reason"].as_str().unwrap().contains("bound to other hosts"), "{down}");
    assert_eq!(provider.requests().len(), asked);
    let back = json!({"value": KEY, "allowed_hosts": ["127.0.0.1", "localhost"]});
    assert_eq!(stage.ask("PUT", "keys/anywhere", Some(&back)).await.status, 200);
    assert_eq!(stage.act("providers/p/heartbeat", Value::Null).await["status"], "active");
    // A key whose hosts are not named keeps them.
    let same = stage.ask("PUT", "keys/anywhere", Some(&json!({"value": KEY}))).await;
    assert_eq!(same.json()["allowed_hosts"], json!(["127.0.0.1", "localhost"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_and_purposes_are_checked_and_shown() {
    let stage = Stage::new().await;
    for (wrong, pointer) in [
        (json!({"name": "n", "value": "v", "allowed_hosts": ["http://h"]}), "/allowed_hosts/0"),
        (json!({"name": "n", "value": "v", "allowed_hosts": ["h", "h:80"]}), "/allowed_hosts/1"),
        (json!({"name": "n", "value": "v", "purpose": "other"}), "/purpose"),
    ] {
        let refused = stage.ask("POST", "keys", Some(&wrong)).await;
        assert_eq!(
            (refused.status, &refused.json()["errors"][0]["pointer"]),
            (422, &json!(pointer)),
            "{wrong}"
        );
    }
    let add =
        ["key", "add", "Mine", "--id", "mine", "--host", "A.example", "--host", "::1", "--api-key-stdin"];
    let added = stage.cli_with(&add, "sk-mine\n").await;
    assert_eq!(added.code, Some(0), "{added:?}");
    let listed = stage.cli(&["key", "list"]).await;
    assert!(listed.stdout.contains("HOSTS") && listed.stdout.contains("::1, a.example"), "{listed:?}");
    let rotate = ["key", "rotate", "mine", "--host", "b.example", "--api-key-stdin"];
    let rotated = stage.cli_with(&rotate, "sk-other\n").await;
    assert_eq!((rotated.code, rotated.stdout.trim()), (Some(0), "mine: replaced"), "{rotated:?}");
    assert_eq!(stage.get("keys").await[0]["allowed_hosts"], json!(["b.example"]));
    for purpose in ["tls", "codec"] {
        stage.create("keys", json!({"name": "n", "value": "v", "purpose": purpose})).await;
    }
    let unknown = stage.ask("PUT", "keys/none", Some(&json!({"value": "v"}))).await;
    assert_eq!(unknown.status, 404);
}
