//! Temporal's own command line: decisions, lists, and use without our codec.

use crate::harness::program::private_file;
use crate::harness::temporal::TemporalHarness;
use arbiter_testkit::{ResponseMode, WebhookReceiver};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// A moment so long from now, as the API takes it.
fn in_seconds(seconds: u64) -> String {
    let at = SystemTime::now() + Duration::from_secs(seconds);
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    arbiter_core::kernel::time::Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap()).to_string()
}

#[tokio::test]
async fn decision_workflow_ends_with_choice_timeout_or_nothing() {
    let both = TemporalHarness::with_agents(&[]).await;
    both.harness.bead("b", json!({})).await;
    let chosen = both.create_decision(json!({"bead_id": "b", "options": ["red", "blue"]})).await;
    let late = both.create_decision(json!({"deadline": in_seconds(2), "options": ["red", "blue"]})).await;
    let gone = both.create_decision(json!({"timeout": "never"})).await;
    let early = both.create_decision(json!({"deadline": in_seconds(3600)})).await;
    let resolve = async |id: &str, input: &str| {
        let workflow = format!("decision-{id}");
        both.cli(&["workflow", "update", "execute", "-w", &workflow, "--name", "resolve", "--input", input])
            .await
    };
    let result = async |id: &str| {
        both.cli_json(&["workflow", "result", "-w", &format!("decision-{id}")]).await["result"].clone()
    };
    assert_eq!(result(&late).await, "timeout");
    assert_eq!(both.agreed_status("decision", &late).await, ("timeout".to_owned(), Value::Null));

    let before = both.seq().await;
    for (input, words) in [
        (r#""green""#, "is one of red, blue"),
        (r#"{"rationale": "because"}"#, "decision must not be empty"),
        ("7", "decision must not be empty"),
    ] {
        let said = resolve(&chosen, input).await;
        assert!(!said.ok && said.stderr.contains(words), "{input}: {said:?}");
    }
    assert_eq!(both.events_since(before).await, [""; 0]);
    let said = resolve(&chosen, r#"{"decision": "red", "rationale": "warm", "decider_id": "zed"}"#).await;
    assert!(said.ok, "{said:?}");
    assert_eq!(result(&chosen).await, "red");
    let resolved = [format!("decision.resolved {chosen}"), "bead.ready b".to_owned()];
    assert_eq!(both.events_since(before).await, resolved);
    assert_eq!(both.agreed_status("decision", &chosen).await, ("resolved".to_owned(), json!("red")));
    let api = both.harness.get(&format!("decisions/{chosen}")).await;
    assert_eq!((&api["rationale"], &api["decider_id"]), (&json!("warm"), &json!("temporal:zed")));
    let twice = resolve(&chosen, r#""blue""#).await;
    assert!(!twice.ok && twice.stderr.contains("already completed"), "{twice:?}");

    both.harness.act(&format!("decisions/{gone}/cancel"), json!({"reason": "no need"})).await;
    assert_eq!(result(&gone).await, "cancelled");
    assert_eq!(both.agreed_status("decision", &gone).await, ("cancelled".to_owned(), Value::Null));
    assert!(resolve(&early, r#""whatever I like""#).await.ok);
    assert_eq!(result(&early).await, "whatever I like");
}

#[tokio::test]
async fn decision_workflow_retries_notice_until_delivered() {
    let home = tempfile::tempdir().unwrap();
    let file = private_file(home.path(), "secret", "whsec_of-a-test");
    let receiver = WebhookReceiver::start(ResponseMode::Status(503)).await;
    let notify = [("ARBITER_NOTIFY__URL", receiver.url()), ("ARBITER_NOTIFY__SECRET_FILE", &file)];
    let both = TemporalHarness::with(&notify, &[]).await;
    let workflow = format!("decision-{}", both.create_decision(json!({})).await);
    let waiting = async || {
        let found = both.cli_json(&["workflow", "describe", "-w", &workflow]).await;
        found["pendingActivities"][0].clone()
    };
    both.wait_until_settled().await;
    let is_tried_again = |activity: &Value| {
        activity["activityType"]["name"] == "notify" && activity["attempt"].as_u64().unwrap_or(0) > 1
    };
    both.wait_until("the notice is not tried again", waiting, is_tried_again).await;
    assert_eq!(both.harness.get("system/status").await["notices"]["taken"], 0);
    receiver.set_mode(ResponseMode::Status(204));
    both.wait_until("the notice never arrives", waiting, Value::is_null).await;
    assert_eq!(both.harness.get("system/status").await["notices"]["taken"], 1);
}

#[tokio::test]
async fn workflows_are_found_by_status_and_project() {
    let both = TemporalHarness::with_agents(&["ada"]).await;
    both.harness.create("projects", json!({"id": "q", "name": "Q"})).await;
    for (id, project) in [("a", "p"), ("b", "p"), ("c", "q")] {
        both.harness.bead(id, json!({"project_id": project})).await;
    }
    both.harness.act("beads/b/block", json!({"reason": "no wood"})).await;
    both.harness.create("agents", json!({"id": "free", "name": "free", "kind": "external"})).await;
    let list = async |query: &str| {
        let listed = both.cli_json(&["workflow", "list", "--query", query]).await;
        let ids = listed.as_array().into_iter().flatten().map(|one| &one["execution"]["workflowId"]);
        let mut ids: Vec<String> = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let open = "WorkflowType = 'BeadProcessingWorkflow' AND ArbiterStatus = 'open'";
    for (query, found) in [
        (open.to_owned(), &["bead-a", "bead-c"][..]),
        (format!("{open} AND ArbiterProject = 'q'"), &["bead-c"]),
        ("ArbiterStatus = 'blocked'".to_owned(), &["bead-b"]),
        ("ArbiterProject = 'p'".to_owned(), &["agent-ada", "bead-a", "bead-b", "dispatcher-p", "events-p"]),
        ("ArbiterProject = ''".to_owned(), &[]),
        ("WorkflowType = 'AgentLifecycleWorkflow' AND ArbiterProject IS NULL".to_owned(), &["agent-free"]),
    ] {
        both.wait_until(&query, async || list(&query).await, |seen| *seen == found).await;
    }
    // What has ended keeps the status it ended with.
    both.harness.act("beads/a/close", json!({"reason": "done"})).await;
    both.harness.ask("PATCH", "agents/ada", Some(&json!({"project_id": "q"}))).await;
    let closed = "ArbiterStatus = 'closed' AND ExecutionStatus = 'Completed'";
    both.wait_until(closed, async || list(closed).await, |seen| *seen == ["bead-a"]).await;
    let api = both.harness.get("temporal/workflows?query=ArbiterStatus%3D'closed'").await;
    assert_eq!(api[0]["id"], "bead-a", "{api}");
}

/// Tells whether a text is in this value, as it is or in base64.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => {
            let bytes = STANDARD.decode(found).unwrap_or_default();
            found.contains(text) || String::from_utf8_lossy(&bytes).contains(text)
        }
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(fields) => fields.values().any(|field| holds(field, text)),
        _ => false,
    }
}

#[tokio::test]
async fn payloads_are_unreadable_without_an_authorized_codec() {
    let both = TemporalHarness::with_agents(&["ada"]).await;
    both.harness.bead("b", json!({"title": "A canary"})).await;
    both.wait_until_settled().await;
    let said = both.cli(&[
        "workflow",
        "update",
        "execute",
        "-w",
        "bead-b",
        "--name",
        "complete",
        "--input",
        r#""A canary sang""#,
    ]);
    assert!(said.await.ok);
    both.wait_until_settled().await;
    for with_codec in [true, false] {
        let show = ["workflow", "show", "-w", "bead-b", "-o", "json"];
        let said = if with_codec { both.cli(&show).await } else { both.temporal.cli(&show).await };
        let history = said.json();
        assert_eq!(holds(&history, "canary"), with_codec, "{}", said.stdout);
        assert_eq!(holds(&history, "binary/encrypted"), !with_codec, "{}", said.stdout);
    }
    let token = json!({"name": "watcher", "role": "viewer"});
    let viewer = both.harness.create("tokens", token).await["token"].as_str().unwrap().to_owned();
    let endpoint = format!("{}/api/v1/temporal/codec", both.harness.server.url());
    for auth in [format!("Bearer {viewer}"), "Bearer nobody".to_owned()] {
        let query = ["workflow", "query", "-w", "bead-b", "--name", "getMirror"];
        let codec = ["--codec-endpoint", &endpoint, "--codec-auth", &auth];
        let said = both.temporal.cli(&[&query[..], &codec].concat()).await;
        assert!(!said.ok && !said.stdout.contains("canary"), "{said:?}");
    }
}
