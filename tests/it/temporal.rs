//! The bridge to a real Temporal server: it mirrors every change through outages of that server; nothing waits
//! for it, and no secret reaches it.

pub mod cli;
pub mod cli_more;
pub mod clients;
pub mod clients_events;
pub mod clients_starts;
pub mod rebuild;
pub mod tls;
pub mod workers;

use crate::harness::canary::Canary;
use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{ChatInput, Fault, Reply, Script, ScriptedProvider, TEST_PASSWORD, TemporalServer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A server that mirrors at this Temporal server.
pub async fn start_bridged(temporal: &TemporalServer, more: &[(&str, &str)]) -> Harness {
    let address = temporal.address();
    Harness::with(&[&[("ARBITER_TEMPORAL__ADDRESS", address.as_str())], more].concat()).await
}

impl Harness {
    /// Waits until everything that has happened is mirrored; returns the bridge's status.
    pub async fn wait_until_mirrored(&self) -> Value {
        let seq = self.get("system/status").await["event_seq"].as_u64().unwrap();
        self.wait_for_bridge(|status| {
            status["status"] == "connected"
                && status["mirrored_seq"].as_u64() >= Some(seq)
                && status["depth"] == 0
        })
        .await
    }

    /// Waits until the bridge stands so.
    pub async fn wait_for_bridge(&self, predicate: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let status = self.get("temporal/status").await;
            if predicate(&status) {
                return status;
            }
            assert!(began.elapsed() < 4 * TIMEOUT, "the bridge stands so: {status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks a workflow something, by Temporal's own command line and our codec.
    pub async fn workflow(&self, temporal: &TemporalServer, id: &str, query: &str) -> Value {
        let codec = format!("{}/api/v1/temporal/codec", self.server.url());
        let bearer = format!("Bearer {}", self.server.token().unwrap());
        let words = ["workflow", "query", "-w", id, "--name", query, "-o", "json"];
        let words = [&words[..], &["--codec-endpoint", &codec, "--codec-auth", &bearer]].concat();
        let began = Instant::now();
        loop {
            let said = temporal.cli(&words).await;
            if !said.is_timeout() || began.elapsed() > TIMEOUT {
                return said.json()["queryResult"][0].clone();
            }
        }
    }

    /// How many events of each type of this project there are.
    async fn event_counts(&self, project: &str) -> BTreeMap<String, u64> {
        let mut event_counts = BTreeMap::new();
        for event in self.events(0).await {
            if event["project_id"] == project {
                *event_counts.entry(event["type"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        event_counts
    }
}

async fn create_beads(harness: &Harness, numbers: std::ops::Range<u32>) {
    for number in numbers {
        harness.bead(&format!("b-{number}"), json!({"title": format!("Work {number}")})).await;
    }
}

#[tokio::test]
async fn mirror_catches_up_with_late_or_restarted_temporal_server() {
    let mut temporal = TemporalServer::not_started();
    let harness = start_bridged(&temporal, &[]).await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    create_beads(&harness, 0..20).await;
    let status = harness.wait_for_bridge(|status| status["error"].is_string()).await;
    assert_eq!(status["status"], "connecting", "{status}");
    assert!(status["error"].as_str().unwrap().contains(&temporal.address()), "{status}");
    assert_eq!(harness.server.get("/api/v1/health").await.1["temporal"], "connecting");
    assert_eq!(harness.server.get("/api/v1/health/ready").await.0, 200);

    temporal.restart().await;
    harness.wait_until_mirrored().await;
    assert_eq!(
        harness.workflow(&temporal, "events-p", "getMetrics").await,
        json!(harness.event_counts("p").await)
    );
    assert_eq!(harness.workflow(&temporal, "bead-b-7", "getStatus").await, "open");

    temporal.kill9();
    // While Temporal is down every change is answered.
    create_beads(&harness, 20..60).await;
    harness.act("beads/b-7/close", json!({"reason": "done"})).await;
    temporal.restart().await;
    harness.wait_until_mirrored().await;
    // Each effect once, although messages are sent again.
    assert_eq!(
        harness.workflow(&temporal, "events-p", "getMetrics").await,
        json!(harness.event_counts("p").await)
    );
    assert_eq!(harness.workflow(&temporal, "bead-b-7", "getStatus").await, "closed");
    assert_eq!(harness.workflow(&temporal, "bead-b-59", "getStatus").await, "open");
}

#[tokio::test]
async fn killed_server_resumes_mirroring_at_its_position() {
    let temporal = TemporalServer::start().await;
    let mut harness = start_bridged(&temporal, &[]).await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    for round in 0..4 {
        create_beads(&harness, round * 20..round * 20 + 20).await;
        harness.server.kill9();
        harness.server.restart().await;
    }
    harness.wait_until_mirrored().await;
    assert_eq!(
        harness.workflow(&temporal, "events-p", "getMetrics").await,
        json!(harness.event_counts("p").await)
    );
}

#[tokio::test]
async fn locked_vault_pauses_mirroring_and_updates() {
    let temporal = TemporalServer::start().await;
    let harness = start_bridged(&temporal, &[]).await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.bead("b", json!({})).await;
    harness.wait_until_mirrored().await;
    harness.act("vault/lock", Value::Null).await;
    harness.wait_for_bridge(|status| status["status"] == "waiting_for_vault").await;
    harness.bead("c", json!({})).await;
    let update = [
        "workflow",
        "update",
        "execute",
        "-w",
        "bead-b",
        "--name",
        "updateStatus",
        "--input",
        r#""blocked""#,
    ];
    let waiting = temporal.cli(&update);
    tokio::pin!(waiting);
    // It has had every chance to go through when the server has nothing left to say.
    let early = tokio::time::timeout(Duration::from_secs(2), &mut waiting).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(harness.get("beads/b").await["status"], "open");
    harness.act("vault/unlock", json!({"password": TEST_PASSWORD})).await;
    // Without the codec it cannot show the answer.
    tokio::time::timeout(2 * TIMEOUT, waiting).await.unwrap();
    harness.wait_for_bead_status("b", "blocked").await;
    harness.wait_until_mirrored().await;
    assert_eq!(harness.workflow(&temporal, "bead-c", "getStatus").await, "open");
}

#[tokio::test]
async fn temporal_server_disk_holds_no_secret_and_no_plaintext() {
    let mut temporal = TemporalServer::start().await;
    let (key, text, answer) = (Canary::random("key"), Canary::random("text"), Canary::random("answer"));
    let told = answer.text().to_owned();
    let script = Script::answering(move |_: &ChatInput| Reply::text(told.clone()));
    let provider = ScriptedProvider::start(script.requiring_key(key.text()));
    let harness = start_bridged(&temporal, &[]).await;
    harness.create("projects", json!({"id": "p", "name": text.text()})).await;
    harness.register("scripted", &provider.url(), key.text()).await;
    let agent = json!({"id": "ada", "name": "Ada", "provider_id": "scripted", "project_id": "p"});
    harness.create("agents", agent).await;
    harness.bead("b", json!({"title": text.text(), "description": text.text()})).await;
    harness.wait_for_bead_status("b", "closed").await;
    let asked = json!({"id": "dec-1", "project_id": "p", "question": text.text()});
    harness.create("decisions", asked).await;
    let said = harness.act("repl", json!({"message": format!("What of {}?", text.text())})).await;
    assert_eq!((&said["via"], &said["response"]), (&json!("temporal"), &json!(answer.text())), "{said}");
    harness.act("temporal/codec/rotate", Value::Null).await;
    harness.bead("c", json!({"title": text.text(), "defer_until": "2099-01-01T00:00:00Z"})).await;
    harness.wait_until_mirrored().await;
    // Old payloads are read after the rotation, and refusals reveal nothing.
    assert_eq!(harness.workflow(&temporal, "bead-b", "getStatus").await, "closed");
    let update = ["workflow", "update", "execute", "-w", "decision-dec-1", "--name", "resolve", "--input"];
    assert!(!temporal.cli(&[&update[..], &[&format!("{:?}", " ")]].concat()).await.ok);
    let update = [
        "workflow",
        "update",
        "execute",
        "-w",
        "bead-c",
        "--name",
        "assignToAgent",
        "--input",
        r#""nobody""#,
    ];
    assert!(!temporal.cli(&update).await.ok);
    temporal.kill9();
    for canary in [&key, &text, &answer] {
        assert!(canary.assert_not_below(temporal.directory()) >= 2);
    }
}

#[tokio::test]
async fn question_uses_a_workflow_if_connected_else_a_direct_call() {
    let mut temporal = TemporalServer::start().await;
    let provider = ScriptedProvider::start(Script::always(Reply::text("Fine.").with_usage(9, 3)));
    let harness = start_bridged(&temporal, &[]).await;
    harness.register("scripted", &provider.url(), "k").await;
    harness.wait_until_mirrored().await;
    let chats = || provider.chat_count();
    let said = harness.act("repl", json!({"message": "How are you?"})).await;
    assert_eq!((&said["via"], &said["tokens_used"]), (&json!("temporal"), &json!(12)), "{said}");
    let workflow = said["workflow_id"].as_str().unwrap();
    assert!(workflow.starts_with("query-"), "{said}");
    let shown = temporal.cli(&["workflow", "describe", "-w", workflow, "-o", "json"]).await;
    assert!(shown.stdout.contains("COMPLETED"), "{shown:?}");
    assert_eq!(chats(), 1);
    // What it cost is in the ledger, and what used the key in the log, as of any call.
    assert_eq!(harness.get("usage").await[0]["calls"], 1);

    temporal.kill9();
    let said = harness.act("repl", json!({"message": "And now?"})).await;
    assert_eq!((&said["via"], &said["workflow_id"]), (&json!("direct"), &Value::Null), "{said}");
    assert_eq!(chats(), 2);

    // A call that another client starts through a workflow is not ours.
    temporal.restart().await;
    harness.wait_for_bridge(|status| status["status"] == "connected").await;
    let start = [
        "workflow",
        "execute",
        "--type",
        "ProviderQueryWorkflow",
        "--task-queue",
        "arbiter-control",
        "-w",
        "query-mine",
        "--input",
        r#"{"query_id": "mine", "provider_id": "scripted"}"#,
    ];
    assert!(!temporal.cli(&start).await.ok);
    assert_eq!(chats(), 2);
}

#[tokio::test]
async fn abandoned_temporal_call_is_cancelled() {
    let temporal = TemporalServer::start().await;
    let provider = ScriptedProvider::start(Script::always(Reply::failing(Fault::Hang)));
    let harness = start_bridged(&temporal, &[]).await;
    harness.register("scripted", &provider.url(), "k").await;
    harness.wait_until_mirrored().await;
    let utilization = async || {
        let metrics = harness.server.ask("GET", "/metrics", &[], None).await.body;
        let metrics = String::from_utf8(metrics.to_vec()).unwrap();
        let mut lines = metrics.lines().filter(|line| line.starts_with("arbiter_worker_utilization"));
        let line = lines.find(|line| line.contains("arbiter-providers"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    let wait_until = async |predicate: &dyn Fn(f64) -> bool| {
        let began = Instant::now();
        while !predicate(utilization().await) {
            assert!(began.elapsed() < TIMEOUT, "{}", utilization().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Time enough for a worker to have it on a machine with much else to do.
    let question = json!({"message": "Are you there?", "timeout_sec": 15});
    let (asked, ()) =
        tokio::join!(harness.ask("POST", "repl", Some(&question)), wait_until(&|busy| busy > 0.0));
    assert_eq!(asked.status, 504, "{asked:?}");

    // The worker's call ends with it, which the workflow says as well.
    wait_until(&|busy| busy == 0.0).await;
    let query = "/api/v1/temporal/workflows?type=ProviderQueryWorkflow";
    let made = harness.server.get(query).await.1;
    assert_eq!((made.as_array().unwrap().len(), &made[0]["status"]), (1, &json!("Canceled")), "{made}");
    assert_eq!((provider.chat_count(), provider.cancelled()), (1, 1));
}
