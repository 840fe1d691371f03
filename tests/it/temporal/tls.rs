//! TLS and certificates of the connection to a Temporal server, and refusals of plaintext.

use crate::harness::program::{self, private_file};
use crate::harness::{FAST_KDF, Harness};
use crate::temporal::start_bridged;
use arbiter_testkit::{TemporalServer, TestCa, tls_proxy};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn bridge_uses_tls_with_its_client_certificate() {
    let temporal = TemporalServer::start().await;
    let (ca, strangers) = (TestCa::new("temporal"), TestCa::new("strangers"));
    let config = ca.server(&["localhost", "127.0.0.1"]).server_config(Some(&ca));
    let proxy = tls_proxy(config, temporal.address()).await;
    let home = tempfile::tempdir().unwrap();
    let mine = ca.client("arbiter");
    let roots = private_file(home.path(), "ca.pem", ca.pem());
    let certificate = private_file(home.path(), "mine.pem", &mine.certificate);
    let key = private_file(home.path(), "mine.key", &mine.key);
    let foreign = private_file(home.path(), "foreign.pem", strangers.pem());
    let address = proxy.to_string();
    let variables = |roots: &str, shows: bool| {
        let mut all = vec![
            ("ARBITER_TEMPORAL__ADDRESS".to_owned(), address.clone()),
            ("ARBITER_TEMPORAL__TLS_CA".to_owned(), roots.to_owned()),
        ];
        if shows {
            all.push(("ARBITER_TEMPORAL__TLS_CERT".to_owned(), certificate.clone()));
            all.push(("ARBITER_TEMPORAL__TLS_KEY".to_owned(), key.clone()));
        }
        all
    };
    let with = async |variables: Vec<(String, String)>| {
        let borrowed: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        Harness::with(&borrowed).await
    };
    let harness = with(variables(&roots, true)).await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.wait_until_mirrored().await;
    drop(harness);
    // Without a certificate of ours, or with another authority for theirs, there is no bridge, and it says why.
    let harness = with(variables(&roots, false)).await;
    let status = harness.wait_for_bridge(|status| status["error"].is_string()).await;
    // Their alert says why, unless the connection is gone before it is read.
    let error = status["error"].as_str().unwrap();
    assert!(error.contains("cannot be used") && status["status"] == "connecting", "{status}");
    let harness = with(variables(&foreign, true)).await;
    let status = harness.wait_for_bridge(|status| status["error"].is_string()).await;
    assert!(status["error"].as_str().unwrap().contains("UnknownIssuer"), "{status}");
}

#[tokio::test]
async fn tls_settings_for_a_plaintext_temporal_address_stop_the_start() {
    let home = tempfile::tempdir().unwrap();
    let key = private_file(home.path(), "api-key", "a canary");
    let roots = private_file(home.path(), "ca.pem", TestCa::new("temporal").pem());
    let start = async |more: &[(&str, &str)]| {
        let mut command = program::command(home.path());
        command.args(["serve", "--listen", "127.0.0.1:0", "--temporal", "http://127.0.0.1:1", "--data-dir"]);
        command.arg(home.path().join("data")).env("ARBITER_PASSWORD", "a long password");
        command.envs([FAST_KDF]).envs(more.iter().copied());
        program::run(command, "").await
    };
    for (name, path) in [("ARBITER_TEMPORAL__API_KEY_FILE", &key), ("ARBITER_TEMPORAL__TLS_CA", &roots)] {
        let ended = start(&[(name, path.as_str())]).await;
        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert!(ended.stderr.contains("write https://") && !ended.stderr.contains("canary"), "{ended:?}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let ended = start(&[("ARBITER_TEMPORAL__API_KEY_FILE", &key)]).await;
    assert!(ended.code == Some(78) && ended.stderr.contains("api_key_file"), "{ended:?}");
}

#[tokio::test]
async fn only_the_configured_ui_origin_may_use_the_codec() {
    let temporal = TemporalServer::start().await;
    let harness = start_bridged(&temporal, &[("ARBITER_TEMPORAL__UI_URL", "http://localhost:8088/")]).await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.wait_until_mirrored().await;
    let body = json!({"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "ImEi"}]});
    let path = "/api/v1/temporal/codec/encode";
    let page = [("origin", "http://localhost:8088"), ("sec-fetch-site", "same-site")];
    let asked = harness
        .server
        .ask("OPTIONS", path, &[page[0], ("access-control-request-method", "POST")], None)
        .await;
    let headers = &asked.headers;
    assert_eq!(headers["access-control-allow-origin"], "http://localhost:8088");
    assert_eq!(headers["access-control-allow-credentials"], "true");
    assert!(headers["access-control-allow-headers"].to_str().unwrap().contains("x-namespace"));
    let sealed = harness.server.ask("POST", path, &page, Some(&body)).await;
    assert_eq!(sealed.status, 200);
    let opened =
        harness.server.ask("POST", "/api/v1/temporal/codec/decode", &page, Some(&sealed.json())).await;
    assert_eq!(opened.json(), body);
    let other = [("origin", "http://localhost:8089"), ("sec-fetch-site", "same-site")];
    assert_eq!(harness.server.ask("POST", path, &other, Some(&body)).await.status, 403);
    for (elsewhere, body) in [("beads", json!({"title": "t"})), ("temporal/codec/rotate", Value::Null)] {
        let asked = harness.server.ask("POST", &format!("/api/v1/{elsewhere}"), &page, Some(&body)).await;
        assert_eq!(asked.status, 403, "{elsewhere}");
    }
}
