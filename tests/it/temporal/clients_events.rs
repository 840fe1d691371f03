//! The aggregator, a project's dispatcher and a provider's heartbeat as clients of Temporal see them: their counts
//! match the log, each message appears once, and no client can pass for the server.

use crate::harness::KEY;
use crate::harness::temporal::TemporalHarness;
use arbiter_testkit::{Reply, Script, ScriptedProvider};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Events and counts of an aggregator, as Python's client reads them.
async fn aggregated(both: &TemporalHarness, project: &str) -> (Vec<Value>, BTreeMap<String, u64>) {
    both.wait_until_quiet().await;
    let id = format!("events-{project}");
    let steps = json!([
        {"do": "query", "id": id, "name": "getEvents"},
        {"do": "query", "id": id, "name": "getMetrics"},
    ]);
    let seen = both.python(steps).await;
    (seen[0].as_array().unwrap().clone(), serde_json::from_value(seen[1].clone()).unwrap())
}

/// The same from the log.
async fn logged(both: &TemporalHarness, project: Option<&str>) -> (Vec<Value>, BTreeMap<String, u64>) {
    let mut events = both.harness.events(0).await;
    events.retain(|event| event["project_id"].as_str() == project);
    let mut counts = BTreeMap::new();
    for event in &events {
        *counts.entry(event["type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    (events, counts)
}

#[tokio::test]
async fn aggregator_counts_match_the_event_log() {
    let both = TemporalHarness::with_agents(&["ada"]).await;
    both.harness.create("agents", json!({"id": "free", "name": "free", "kind": "external"})).await;
    for id in ["a", "b", "c"] {
        both.harness.bead(id, json!({})).await;
    }
    both.harness.act("beads/a/claim", json!({"agent_id": "ada"})).await;
    both.harness.act("beads/b/close", json!({"reason": "done"})).await;
    for (name, project) in [("p", Some("p")), ("_system", None)] {
        let (events, counts) = aggregated(&both, name).await;
        let (logged, of_log) = logged(&both, project).await;
        assert_eq!(counts, of_log, "{name}");
        assert_eq!(events, logged, "{name}");
        assert!(!events.is_empty(), "{name}");
    }
    let by_cli = both.query("events-p", "getMetrics").await;
    let (_, counts) = logged(&both, Some("p")).await;
    assert_eq!(by_cli, json!(counts));
}

#[tokio::test]
async fn foreign_event_signal_is_logged_only_as_a_message() {
    let both = TemporalHarness::with_agents(&["ada"]).await;
    both.harness.bead("b", json!({})).await;
    both.wait_until_quiet().await;
    let before = both.seq().await;
    let claims = json!({"type": "bead.completed", "subject": "b", "seq": 1, "message": "I am done"});
    let sealed = |seal: &str| {
        let body =
            json!({"events": [{"seq": 900_000, "type": "bead.completed", "subject": "b"}]}).to_string();
        json!({"body": body, "seal": seal})
    };
    let event = |given: Value| json!({"do": "signal", "id": "events-p", "name": "event", "args": [given]});
    let steps = json!([
        event(json!("hello")),
        event(claims.clone()),
        event(json!(["one", {"message": "two", "level": "error"}])),
        event(sealed("")),
        event(sealed(&"A".repeat(44))),
        event(json!([])),
        event(Value::Null),
        {"do": "signal", "id": "events-p", "name": "event"},
        {"do": "signal", "id": "events-_system", "name": "event", "args": ["to all"]},
    ]);
    // A client may also send plain text to the aggregator's workflow.
    let seen = both.plain_python(steps).await;
    assert!(seen.iter().all(Value::is_null), "{seen:?}");
    let events_since = both.events_since(before).await;
    let said: Vec<Value> = both.harness.events(before).await;
    assert_eq!(events_since.len(), 7, "{said:?}");
    for event in &said {
        assert_eq!(
            (&event["type"], &event["source"]),
            (&json!("log.message"), &json!("temporal")),
            "{event}"
        );
        assert_eq!(event["actor"], "temporal", "{event}");
    }
    let of_p: Vec<&Value> =
        said.iter().filter(|event| event["project_id"] == "p").map(|event| &event["data"]).collect();
    let texts: Vec<&str> = of_p.iter().map(|data| data["message"].as_str().unwrap()).collect();
    assert_eq!(texts, ["hello", "I am done", "one", "two", "an event", "an event"]);
    assert_eq!(of_p[1]["event"], claims);
    assert_eq!(of_p[4]["event"], sealed(""));
    let to_all = said.iter().find(|event| event["project_id"].is_null()).unwrap();
    assert_eq!(to_all["data"]["message"], "to all");
    // It comes back to the aggregator as any other event does, once.
    let (events, counts) = aggregated(&both, "p").await;
    assert_eq!((events, counts.clone()), logged(&both, Some("p")).await);
    assert_eq!(counts["log.message"], 6);
    assert_eq!(both.agreed_status("bead", "b").await, ("open".to_owned(), Value::Null));
    assert!(both.seq().await == before + 7);
}

#[tokio::test]
async fn trigger_dispatches_and_stop_pauses_heartbeat_until_a_change() {
    let both = TemporalHarness::with_agents(&[]).await;
    let provider = ScriptedProvider::start(Script::always(Reply::text("Yes.")).requiring_key(KEY));
    both.harness.register("scripted", &provider.url(), KEY).await;
    both.wait_until_quiet().await;
    let before = both.seq().await;
    let heartbeat = "provider-heartbeat-scripted";
    let trigger = json!({"do": "signal", "id": "dispatcher-p", "name": "trigger"});
    let seen = both
        .python(json!([
            {"do": "both", "steps": [trigger, trigger, trigger]},
            {"do": "until", "id": "dispatcher-p", "name": "getStatus", "wanted": "idle"},
            {"do": "history", "id": "dispatcher-p"},
            {"do": "describe", "id": heartbeat},
            {"do": "signal", "id": heartbeat, "name": "stop", "args": [{"reason": "holidays"}]},
            {"do": "result", "id": heartbeat},
            {"do": "query", "id": heartbeat, "name": "getStatus"},
        ]))
        .await;
    let history = seen[2].as_array().unwrap();
    let looks = history.iter().filter(|event| **event == "activity_task_completed").count();
    assert!((1..=3).contains(&looks), "{history:?}");
    assert_eq!((&seen[5], &seen[6]), (&json!("stopped"), &json!("active")), "{seen:?}");
    assert_eq!(both.events_since(before).await, [""; 0]);

    // The provider is none the worse, and the next change of it begins another run.
    assert_eq!(both.harness.get("providers/scripted").await["status"], "active");
    let disabled =
        both.harness.ask("PATCH", "providers/scripted", Some(&json!({"status": "inactive"}))).await;
    assert_eq!(disabled.status, 200, "{}", disabled.json());
    let again = both
        .wait_until(
            "no other run begins",
            async || both.python(json!([{"do": "describe", "id": heartbeat}])).await[0].clone(),
            |found| found["status"] == "RUNNING" && found["run"] != seen[3]["run"],
        )
        .await;
    assert_eq!(again["type"], "ProviderHeartbeatWorkflow");
    both.wait_until_settled().await;
    let seen = both
        .python(json!([{"do": "until", "id": heartbeat, "name": "getStatus", "wanted": "disabled"}]))
        .await;
    assert_eq!(seen, [json!("disabled")]);
    // A provider that is deleted has no heartbeat.
    assert_eq!(both.harness.ask("DELETE", "providers/scripted", None).await.status, 204);
    let seen = both.python(json!([{"do": "result", "id": heartbeat}])).await;
    assert_eq!(seen, [json!("deleted")]);
}

#[tokio::test]
async fn workflow_start_and_end_are_logged_once() {
    let both = TemporalHarness::with_agents(&[]).await;
    both.harness.bead("b", json!({})).await;
    both.wait_until_quiet().await;
    both.harness.act("beads/b/close", json!({"reason": "done"})).await;
    both.wait_until_quiet().await;
    let patch = json!({"title": "Changed after its end"});
    assert_eq!(both.harness.ask("PATCH", "beads/b", Some(&patch)).await.status, 200);
    both.wait_until_quiet().await;
    let events = both.harness.get("events?subject=bead-b").await;
    let kinds: Vec<&Value> = events.as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["workflow.started", "workflow.completed"], "{events}");
    assert_eq!(events[0]["project_id"], "p");
    assert_eq!(events[0]["data"]["workflow_type"], "BeadProcessingWorkflow");
}
