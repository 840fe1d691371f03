//! Rights on keys: operators, pages of other origins and guessers get none.

use crate::admission::refusals::problem;
use crate::harness::{Harness, KEY};
use arbiter_testkit::{Script, ScriptedProvider, TestCa};
use serde_json::{Value, json};

#[tokio::test]
async fn operator_cannot_send_or_replace_a_foreign_key() {
    let harness = Harness::new().await;
    let catcher = ScriptedProvider::start(Script::default());
    let key = |id: &str, purpose: &str, hosts: &[&str]| json!({"id": id, "name": id, "purpose": purpose, "allowed_hosts": hosts, "value": format!("sk-admin-{id}")});
    harness.create("keys", key("anywhere", "provider", &[])).await;
    harness.create("keys", key("bound", "provider", &["127.0.0.1"])).await;
    harness.create("keys", key("mirror", "codec", &[])).await;
    harness.create("keys", key("key_zed", "provider", &["127.0.0.1"])).await;
    let operator = harness.token(json!({"name": "op", "role": "operator"})).await;
    let ask = async |method: &str, path: &str, body: Value| {
        harness.ask_as(&operator, method, path, Some(&body).filter(|body| !body.is_null())).await
    };
    let provider = |id: &str, more: Value| {
        let mut new = json!({"id": id, "name": id, "type": "custom", "endpoint": catcher.url()});
        for (name, value) in more.as_object().unwrap() {
            new[name] = value.clone();
        }
        new
    };
    for named in ["anywhere", "key_zed"] {
        let new = provider("zed", json!({"key_id": named, "requires_key": true}));
        problem(&ask("POST", "providers", new).await, 403, "forbidden");
    }
    let codec = provider("zed", json!({"key_id": "mirror", "requires_key": true}));
    problem(&harness.ask("POST", "providers", Some(&codec)).await, 422, "invalid");
    let bound = provider("bound", json!({"key_id": "bound", "requires_key": true}));
    assert_eq!(ask("POST", "providers", bound).await.status, 201, "an administrator said where it may go");
    assert_eq!(ask("POST", "providers", provider("zed", json!({}))).await.status, 201);
    let own = provider("own", json!({"api_key": KEY}));
    assert_eq!(ask("POST", "providers", own).await.status, 201);

    let other_port = json!({"endpoint": "http://127.0.0.1:9/v1"});
    for (id, patch) in [
        ("zed", json!({"key_id": "anywhere"})),
        ("zed", json!({"key_id": "bound", "api_key": "sk-mine"})),
        ("zed", json!({"api_key": "sk-mine"})),
        ("bound", json!({"api_key": "sk-mine"})),
        ("bound", other_port.clone()),
        ("own", other_port.clone()),
    ] {
        let answer = ask("PATCH", &format!("providers/{id}"), patch.clone()).await;
        assert_eq!(answer.status, 403, "{id} {patch}: {}", answer.json());
    }
    let moved = json!({"endpoint": "http://127.0.0.1:9/v1", "api_key": "sk-fresh"});
    assert_eq!(ask("PATCH", "providers/own", moved).await.status, 200, "with its key a provider moves");
    assert_eq!(ask("DELETE", "providers/zed", Value::Null).await.status, 204);
    let keys = harness.get("keys").await;
    assert!(
        keys.as_array().unwrap().iter().any(|key| key["id"] == "key_zed"),
        "it was not the provider's: {keys}"
    );
    assert_eq!(
        harness.ask("PATCH", "providers/bound", Some(&other_port)).await.status,
        200,
        "an administrator may"
    );
}

#[tokio::test]
async fn operator_cannot_move_a_key_to_a_socket_or_authority() {
    let harness = Harness::new().await;
    let (ca, other) = (TestCa::new("an authority"), TestCa::new("another authority"));
    let key = json!({"id": "bound", "name": "b", "allowed_hosts": ["127.0.0.1", "/run/a.sock", "/run/b.sock"], "value": KEY});
    harness.create("keys", key).await;
    let provider = |id: &str, endpoint: &str| json!({"id": id, "name": id, "type": "custom", "endpoint": endpoint, "key_id": "bound", "requires_key": true, "status": "inactive"});
    for (id, endpoint) in [("socket", "/run/a.sock"), ("plain", "https://127.0.0.1:9")] {
        harness.create("providers", provider(id, endpoint)).await;
    }
    let mut private = provider("private", "https://127.0.0.1:9");
    private["ca_cert"] = ca.pem().into();
    harness.create("providers", private.clone()).await;
    let operator = harness.token(json!({"name": "op", "role": "operator"})).await;
    for (id, patch) in [
        ("socket", json!({"endpoint": "/run/b.sock"})),
        ("socket", json!({"endpoint": "https://127.0.0.1:9"})),
        ("plain", json!({"endpoint": "/run/a.sock"})),
        ("plain", json!({"endpoint": "http://127.0.0.1:9"})),
        ("plain", json!({"ca_cert": ca.pem()})),
        ("private", json!({"ca_cert": other.pem()})),
        ("private", json!({"ca_cert": null})),
    ] {
        let answer = harness.ask_as(&operator, "PATCH", &format!("providers/{id}"), Some(&patch)).await;
        problem(&answer, 403, "forbidden");
    }
    private["id"] = "fresh".into();
    problem(&harness.ask_as(&operator, "POST", "providers", Some(&private)).await, 403, "forbidden");
    let same = json!({"endpoint": "/run/a.sock", "description": "as before"});
    assert_eq!(harness.ask_as(&operator, "PATCH", "providers/socket", Some(&same)).await.status, 200);
    let moved = json!({"endpoint": "/run/b.sock"});
    assert_eq!(harness.ask("PATCH", "providers/socket", Some(&moved)).await.status, 200);
}

#[tokio::test]
async fn import_file_does_not_reset_the_password_throttle() {
    let harness = Harness::new().await;
    let wrong = json!({"password": "no"});
    for _ in 0..2 {
        problem(&harness.ask("POST", "vault/export", Some(&wrong)).await, 403, "wrong-password");
    }
    let blank = json!({"password": "x", "file": {"keys": {}}, "on_conflict": "skip"});
    problem(&harness.ask("POST", "vault/import", Some(&blank)).await, 422, "invalid");
    problem(&harness.ask("POST", "vault/export", Some(&wrong)).await, 403, "wrong-password");
    problem(&harness.ask("POST", "vault/export", Some(&wrong)).await, 429, "throttled");
}

#[tokio::test]
async fn lock_and_shutdown_do_not_wait_for_a_long_import() {
    let mut harness = Harness::new().await;
    // Each entry costs a derivation, and none opens.
    let entry = |n: usize| json!({"id": format!("k{n}"), "name": "k", "encrypted_data": "A".repeat(128)});
    let file: serde_json::Map<String, Value> = (0..450).map(|n| (format!("k{n}"), entry(n))).collect();
    let body = json!({"password": "x", "file": {"keys": file}, "on_conflict": "skip"});
    let importing = {
        let (url, token) = (harness.server.url().to_owned(), harness.server.token().unwrap().to_owned());
        let body = body.clone();
        tokio::spawn(async move {
            let bearer = format!("Bearer {token}");
            let url = format!("{url}/api/v1/vault/import");
            arbiter_testkit::send("POST", &url, &[("authorization", &bearer)], Some(&body)).await
        })
    };
    // The import has begun once another one has to wait for it; reading goes on meanwhile.
    harness.get("vault").await;
    assert_eq!(harness.ask("POST", "vault/lock", None).await.status, 200);
    let answer = importing.await.unwrap().unwrap();
    assert!(matches!(answer.status, 403 | 409 | 423), "{}", answer.json());
    let many: serde_json::Map<String, Value> = (0..501).map(|n| (format!("k{n}"), entry(n))).collect();
    harness.act("vault/unlock", json!({"password": arbiter_testkit::TEST_PASSWORD})).await;
    let body = json!({"password": "x", "file": {"keys": many}, "on_conflict": "skip"});
    problem(&harness.ask("POST", "vault/import", Some(&body)).await, 422, "invalid");
    assert!(harness.server.terminate().await.success());
}

#[tokio::test]
async fn cors_origin_cannot_use_the_session_cookie() {
    let harness = Harness::with(&[("ARBITER_HTTP__CORS_ORIGINS", r#"["http://localhost:3000"]"#)]).await;
    let token = harness.server.token().unwrap().to_owned();
    let signed = harness.server.send("POST", "/api/v1/session", &[], Some(&json!({"token": token}))).await;
    let pair = signed.header("set-cookie").split(';').next().unwrap().to_owned();
    let page = [("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")];
    let with = |shown: (&'static str, String)| {
        let mut headers: Vec<(&str, String)> =
            page.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        headers.push(shown);
        headers
    };
    for (shown, status) in
        [(("cookie", pair.clone()), 401), (("authorization", format!("Bearer {token}")), 200)]
    {
        let headers = with(shown);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = harness.server.send("POST", "/api/v1/vault/lock", &headers, None).await;
        assert_eq!(answer.status, status, "{}", answer.json());
    }
    assert_eq!(harness.server.send("GET", "/api/v1/whoami", &[("cookie", &pair)], None).await.status, 200);
}

#[tokio::test]
async fn agent_cannot_change_planning_fields_or_unclaimed_beads() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let agent = json!({"id": "ext", "name": "ext", "project_id": "p", "kind": "external"});
    harness.create("agents", agent).await;
    let token = harness.token(json!({"name": "cli", "role": "agent", "agent_id": "ext"})).await;
    harness.bead("before", json!({})).await;
    harness.bead("grave", json!({"priority": 0, "assigned_to": "ext", "blocked_by": ["before"]})).await;
    for patch in [
        json!({"priority": 2}),
        json!({"blocked_by": []}),
        json!({"assigned_to": null}),
        json!({"defer_until": null}),
        json!({"parent": "before"}),
        json!({"status": "closed"}),
    ] {
        let answer = harness.ask_as(&token, "PATCH", "beads/grave", Some(&patch)).await;
        assert_eq!(answer.status, 403, "{patch}: {}", answer.json());
    }
    for (action, body) in [
        ("complete", json!({"summary": "s"})),
        ("close", json!({"reason": "r"})),
        ("block", json!({"reason": "r"})),
    ] {
        let answer = harness.ask_as(&token, "POST", &format!("beads/grave/{action}"), Some(&body)).await;
        problem(&answer, 403, "forbidden");
    }
    let described = harness.ask_as(&token, "PATCH", "beads/grave", Some(&json!({"description": "d"}))).await;
    assert_eq!(described.status, 200, "{}", described.json());
    assert_eq!(harness.get("beads/grave").await["priority"], 0);
}

#[tokio::test]
async fn project_cascade_delete_removes_agents_and_beads() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.create("agents", json!({"id": "a", "name": "a", "project_id": "p", "kind": "external"})).await;
    harness.bead("b", json!({})).await;
    let token = harness.token(json!({"name": "cli", "role": "agent", "agent_id": "a"})).await;
    problem(&harness.ask("DELETE", "projects/p", None).await, 409, "in-use");
    assert_eq!(harness.ask("DELETE", "projects/p?cascade=true", None).await.status, 204);
    for gone in ["projects/p", "agents/a", "beads/b"] {
        problem(&harness.ask("GET", gone, None).await, 404, "not-found");
    }
    problem(&harness.ask_as(&token, "GET", "whoami", None).await, 401, "unauthorized");
}
