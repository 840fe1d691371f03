//! Providers on this machine behind a Unix socket.

use crate::admission::refusals::problem;
use crate::harness::{Harness, KEY};
use arbiter_testkit::{Reply, Script, ScriptedProvider};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use tokio::net::{TcpStream, UnixListener};

/// Passes every connection of a socket on to an address.
fn relay(socket: &Path, address: SocketAddr) {
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(address).await.unwrap();
                // Either side may break off.
                drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_provider_is_reached_by_unix_socket_and_binds_its_key() {
    let harness = Harness::new().await;
    let provider =
        ScriptedProvider::start(Script::always(Reply::text("From the socket.")).requiring_key(KEY));
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("llama.sock");
    relay(&socket, provider.address());
    let path = socket.to_str().unwrap();
    let new = json!({"id": "near", "name": "Near", "type": "local", "endpoint": path, "api_key": KEY});
    harness.create("providers", new).await;
    let row = harness.act("providers/near/heartbeat", Value::Null).await;
    assert_eq!((&row["status"], &row["endpoint"]), (&json!("active"), &json!(path)), "{row}");
    let answer = harness.chat("near/auto", json!({})).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "From the socket.", "{}", answer.json());
    let keys = harness.get("keys").await;
    assert_eq!(keys[0]["allowed_hosts"], json!([path]), "{keys}");
    let elsewhere = json!({"endpoint": provider.url()});
    problem(&harness.ask("PATCH", "providers/near", Some(&elsewhere)).await, 409, "key-not-for-host");
    for (kind, endpoint) in [("openai", path), ("local", "/run/../x"), ("custom", "/")] {
        let wrong = json!({"name": "x", "type": kind, "endpoint": endpoint});
        let answer = harness.ask("POST", "providers", Some(&wrong)).await;
        problem(&answer, 422, "invalid");
        assert_eq!(answer.json()["errors"][0]["pointer"], "/endpoint");
    }
    let none =
        json!({"id": "none", "name": "None", "type": "custom", "endpoint": home.path().join("none.sock")});
    harness.create("providers", none).await;
    let row = harness.act("providers/none/heartbeat", Value::Null).await;
    assert!(row["last_heartbeat_error"].as_str().unwrap().contains("cannot be reached"), "{row}");
}
