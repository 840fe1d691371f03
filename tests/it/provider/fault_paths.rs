//! Unreachable providers: closed ports, unknown names, TLS that breaks or never begins, forbidden redirects;
//! slow providers delay no other.

use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{Fault, Reply, Script, ScriptedProvider};
use rustix::net::{AddressFamily, SocketType};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use tokio::time::Instant;

/// Binds a port of loopback without a listener.
fn bound_port_without_listener() -> (rustix::fd::OwnedFd, SocketAddr) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddrV4::try_from(rustix::net::getsockname(&socket).unwrap());
    (socket, SocketAddr::V4(address.unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_provider_turns_unhealthy_with_the_reason() {
    let harness = Harness::with(&[("ARBITER_PROVIDERS__HEARTBEAT_TIMEOUT_MS", "700")]).await;
    let (_port, deaf) = bound_port_without_listener();
    // It takes connections and never says a word: the kernel does.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let silent = silent.local_addr().map(|address| (silent, address)).unwrap();
    let plain = ScriptedProvider::start(Script::default());
    let tls = ScriptedProvider::start_tls(
        Script::default(),
        arbiter_testkit::TestCa::new("unknown").server(&["127.0.0.1"]).server_config(None),
    );
    // No resolver is asked for a name that cannot be: a label has 63 letters at most.
    let no_name = format!("http://{}.invalid/v1", "a".repeat(64));
    let table = [
        ("refused", format!("http://{deaf}/v1"), "the provider cannot be reached", "refused"),
        ("refused-tls", format!("https://{deaf}/v1"), "the provider cannot be reached", "refused"),
        ("no-name", no_name, "the provider cannot be reached", "lookup"),
        ("silent", format!("http://{}/v1", silent.1), "the provider took too long", ""),
        ("silent-tls", format!("https://{}/v1", silent.1), "the provider took too long", ""),
        ("no-tls", plain.url().replace("http:", "https:"), "the provider cannot be reached", ""),
        ("not-plain", tls.url().replace("https:", "http:"), "the provider cannot be reached", ""),
        ("unknown-ca", tls.url(), "the provider cannot be reached", "certificate"),
    ];
    for (id, endpoint, kind, detail) in table {
        let new = json!({"id": id, "name": id, "type": "custom", "endpoint": endpoint, "model": "m"});
        harness.create("providers", new).await;
        let beat = harness.act(&format!("providers/{id}/heartbeat"), Value::Null).await;
        let error = beat["last_heartbeat_error"].as_str().unwrap_or_default();
        assert_eq!(beat["status"], "unhealthy", "{id}: {beat}");
        assert!(error.starts_with(kind) && error.contains(detail), "{id}: {error}");
        let answer = harness.chat(&format!("{id}/m"), json!({})).await;
        assert_eq!(answer.status, 503, "{id}: {}", answer.json());
        let told = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(told.contains("it is unhealthy") && told.contains(kind), "{id}: {told}");
    }
    assert_eq!((plain.requests().len(), tls.requests().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vanished_provider_is_unhealthy_after_three_and_recovers() {
    let harness = Harness::with(&[("ARBITER_PROVIDERS__RETRY_BUDGET_MS", "0")]).await;
    let provider = ScriptedProvider::start(Script::default());
    harness.register("one", &provider.url(), "k").await;
    provider.shutdown();
    for wanted in ["degraded", "degraded", "unhealthy"] {
        let answer = harness.chat("one/auto", json!({})).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (502, &json!("provider_failed")));
        assert!(answer.json().to_string().contains("the provider cannot be reached"), "{}", answer.json());
        harness.wait_until("providers/one", |row| row["status"] == wanted).await;
    }
    // That it is unhealthy can be read a moment before calls go by it.
    let deadline = Instant::now() + TIMEOUT;
    while harness.chat("one/auto", json!({})).await.status != 503 {
        assert!(Instant::now() < deadline, "it is still asked");
    }
    let back = ScriptedProvider::start(Script::always(Reply::text("Back.")));
    let patched = harness.ask("PATCH", "providers/one", Some(&json!({"endpoint": back.url()}))).await;
    assert_eq!(patched.status, 200, "{}", patched.json());
    assert_eq!(harness.act("providers/one/heartbeat", Value::Null).await["status"], "active");
    assert_eq!(harness.chat("one/auto", json!({})).await.status, 200);
}

#[tokio::test]
async fn heartbeats_and_calls_follow_no_redirect() {
    let harness = Harness::new().await;
    let trap = ScriptedProvider::start(Script::default());
    let targets = [trap.url(), "http://169.254.169.254/latest/meta-data/".to_owned()];
    for (at, target) in targets.into_iter().enumerate() {
        let provider = ScriptedProvider::start(Script::always(Reply::redirect(target.clone())));
        let id = format!("one-{at}");
        harness.register(&id, &provider.url(), "k").await;
        for status in [301, 302, 303, 307, 308] {
            let reply = Reply { status, ..Reply::redirect(target.clone()) };
            provider.set_script(Script::always(reply.clone()).with_models_reply(reply));
            let beat = harness.act(&format!("providers/{id}/heartbeat"), Value::Null).await;
            let error = beat["last_heartbeat_error"].as_str().unwrap_or_default();
            assert!(error.contains(&format!("status {status}")), "{status}: {beat}");
            provider.set_script(Script::default());
            assert_eq!(
                harness.act(&format!("providers/{id}/heartbeat"), Value::Null).await["status"],
                "active"
            );
        }
    }
    assert_eq!(trap.requests(), []);
    // Nor is such an address taken for a provider's.
    let new = json!({"name": "m", "type": "custom", "endpoint": "http://169.254.169.254/v1"});
    assert_eq!(harness.ask("POST", "providers", Some(&new)).await.status, 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_continue_while_other_providers_hang() {
    const BEATS: usize = 15;
    // No heartbeat of a hanging provider ends during the test.
    let settings = [
        ("ARBITER_PROVIDERS__HEARTBEAT_INTERVAL_MS", "200"),
        ("ARBITER_PROVIDERS__HEARTBEAT_TIMEOUT_MS", "120000"),
    ];
    let harness = Harness::with(&settings).await;
    let silent = Script::default().with_models_reply(Reply::failing(Fault::Hang));
    let hanging = ScriptedProvider::start(silent);
    for at in 0..20 {
        let id = format!("hanging-{at}");
        let new = json!({"id": id, "name": id, "type": "custom", "endpoint": hanging.url(), "model": "m"});
        harness.create("providers", new).await;
    }
    let sound = ScriptedProvider::start(Script::default());
    harness.register("sound", &sound.url(), "k").await;
    let deadline = Instant::now() + TIMEOUT;
    let beats = async |id: &str| {
        let beats = harness.get(&format!("providers/{id}/heartbeats?limit=100")).await;
        beats.as_array().unwrap().len()
    };
    // A heartbeat has no event, so the test asks until there are enough.
    while beats("sound").await < BEATS {
        assert!(Instant::now() < deadline, "only {} beats", beats("sound").await);
        tokio::task::yield_now().await;
    }
    for at in 0..20 {
        assert_eq!(beats(&format!("hanging-{at}")).await, 0, "the sound provider waits for no other");
    }
}
