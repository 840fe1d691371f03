//! Temporal's own command line as a client: a request to a bead, an agent or a decision takes effect once and is
//! visible everywhere; a refusal has a text and changes nothing.

use crate::harness::temporal::TemporalHarness;
use serde_json::{Value, json};

/// Kind of request that a Temporal client sends.
enum MessageKind {
    /// An update, which answers.
    Update,
    /// A signal, which does not.
    Signal,
}
use MessageKind::{Signal, Update};

/// A request to an entity with its input, and the expected effect: events, status and named agent.
type Step<'a> = (MessageKind, &'a str, &'a str, &'a [&'a str], &'a str, Option<&'a str>);

impl TemporalHarness {
    /// Sends this by Temporal's command line; an input of `-` is none.
    async fn send(
        &self,
        sent: &MessageKind,
        workflow: &str,
        name: &str,
        input: &str,
    ) -> arbiter_testkit::TemporalOutput {
        let way: &[&str] = match sent {
            Update => &["workflow", "update", "execute"],
            Signal => &["workflow", "signal"],
        };
        let input: &[&str] = if input == "-" { &[] } else { &["--input", input] };
        self.cli(&[way, &["-w", workflow, "--name", name], input].concat()).await
    }

    /// Takes these steps at an entity.
    async fn take_steps(&self, entity: &str, id: &str, steps: &[Step<'_>]) {
        let workflow = format!("{entity}-{id}");
        for (sent, name, input, events, status, named) in steps {
            let before = self.seq().await;
            let said = self.send(sent, &workflow, name, input).await;
            assert!(said.ok, "{name} {input}: {said:?}");
            assert_eq!(self.events_since(before).await, *events, "{name} {input}");
            let agreed_status = (status.to_string(), json!(named));
            assert_eq!(self.agreed_status(entity, id).await, agreed_status, "{name} {input}");
        }
    }

    /// Sends a request that is refused: with this text if the client waits for an answer, and without any effect.
    async fn refused(&self, entity: &str, id: &str, refused: &[(MessageKind, &str, &str, &str)]) {
        let workflow = format!("{entity}-{id}");
        let (before, seq) = (self.agreed_status(entity, id).await, self.seq().await);
        for (sent, name, input, words) in refused {
            let said = self.send(sent, &workflow, name, input).await;
            match sent {
                Update => assert!(!said.ok && said.stderr.contains(words), "{name} {input}: {said:?}"),
                Signal => assert!(said.ok, "{name} {input}: {said:?}"),
            }
        }
        assert_eq!(self.events_since(seq).await, [""; 0]);
        assert_eq!(self.agreed_status(entity, id).await, before);
    }

    /// The workflow of an entity: how it stands, which run, and which life of the entity that follows.
    async fn run_of(&self, workflow: &str) -> (String, String, Value) {
        let found = self.cli_json(&["workflow", "describe", "-w", workflow]).await;
        let info = &found["workflowExecutionInfo"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let status = text(&info["status"]).replace("WORKFLOW_EXECUTION_STATUS_", "");
        (status, text(&info["execution"]["runId"]), info["memo"]["fields"]["run_no"].clone())
    }

    /// Waits until another run than this one follows the entity's next life.
    async fn next_run(&self, workflow: &str, before: &str) {
        let look = async || self.run_of(workflow).await;
        let is_next = |(status, run, of): &(String, String, Value)| {
            status == "RUNNING" && run != before && *of == json!(2)
        };
        self.wait_until("no other run begins", look, is_next).await;
    }
}

#[tokio::test]
async fn temporal_cli_bead_command_runs_once_and_shows_everywhere() {
    let both = TemporalHarness::with_agents(&["ada"]).await;
    both.harness.bead("b", json!({})).await;
    let begun = &["bead.status_change b", "bead.assigned b", "agent.status_change ada"];
    let steps: &[Step<'_>] = &[
        (Update, "assignToAgent", r#""ada""#, begun, "in_progress", Some("ada")),
        (
            Update,
            "updateStatus",
            r#"{"status": "blocked", "reason": "no wood"}"#,
            &["bead.status_change b", "agent.status_change ada", "agent.completed ada"],
            "blocked",
            Some("ada"),
        ),
        (Signal, "statusChange", r#""open""#, &["bead.status_change b", "bead.ready b"], "open", None),
        (
            Signal,
            "statusChange",
            r#"{"status": "in_progress", "agent_id": "ada"}"#,
            begun,
            "in_progress",
            Some("ada"),
        ),
        (
            Update,
            "updateStatus",
            r#""open""#,
            &["bead.status_change b", "agent.status_change ada", "bead.ready b"],
            "open",
            None,
        ),
        (Update, "assignToAgent", r#"{"agent_id": "ada"}"#, begun, "in_progress", Some("ada")),
    ];
    both.take_steps("bead", "b", steps).await;
    let reason = both.harness.events(0).await;
    assert!(reason.iter().any(|event| event["data"]["reason"] == "no wood"), "{reason:?}");
    both.refused(
        "bead",
        "b",
        &[
            (Update, "assignToAgent", r#""ada""#, "bead b is in_progress"),
            (Update, "assignToAgent", r#""  ""#, "agent_id must not be empty"),
            (Update, "assignToAgent", "7", "agent_id must not be empty"),
            (Update, "updateStatus", r#""in_progress""#, "bead b is in_progress already"),
            (Update, "updateStatus", r#""asleep""#, r#"no status of a bead is called \"asleep\""#),
            (Update, "complete", "{}", "summary must not be empty"),
            (Update, "complete", "-", "summary must not be empty"),
            (Signal, "statusChange", r#""asleep""#, ""),
            (Signal, "statusChange", r#""in_progress""#, ""),
            (Signal, "statusChange", "-", ""),
            (Signal, "nobodyKnowsThis", r#""open""#, ""),
        ],
    )
    .await;
    let (_, run, _) = both.run_of("bead-b").await;
    let ends =
        &["bead.status_change b", "bead.completed b", "agent.status_change ada", "agent.completed ada"];
    both.take_steps(
        "bead",
        "b",
        &[(Update, "complete", r#"{"summary": "a table"}"#, ends, "closed", Some("ada"))],
    )
    .await;
    assert_eq!(both.harness.get("beads/b").await["close_reason"], "a table");
    assert_eq!(both.run_of("bead-b").await, ("COMPLETED".to_owned(), run.clone(), json!(1)));
    assert_eq!(both.cli_json(&["workflow", "result", "-w", "bead-b"]).await["result"], "closed");
    let late = both.send(&Update, "bead-b", "updateStatus", r#""open""#).await;
    assert!(!late.ok && late.stderr.contains("already completed"), "{late:?}");

    both.harness.act("beads/b/reopen", Value::Null).await;
    both.next_run("bead-b", &run).await;
    assert_eq!(both.agreed_status("bead", "b").await, ("open".to_owned(), Value::Null));
    // Without an agent the person who says it takes it.
    let taken = &["bead.status_change b", "bead.assigned b"];
    let step = (Update, "updateStatus", r#""in_progress""#, &taken[..], "in_progress", Some("temporal"));
    both.take_steps("bead", "b", &[step]).await;
}

#[tokio::test]
async fn temporal_cli_command_with_unknown_agent_is_refused() {
    let both = TemporalHarness::with_agents(&[]).await;
    both.harness.bead("b", json!({})).await;
    let nobody = r#"{"status": "in_progress", "agent_id": "nobody"}"#;
    let refused = [
        (Update, "assignToAgent", r#""nobody""#, "no agent has the id nobody"),
        (Update, "updateStatus", nobody, "no agent has the id nobody"),
        (Signal, "statusChange", nobody, ""),
    ];
    both.refused("bead", "b", &refused).await;
    assert_eq!(both.agreed_status("bead", "b").await, ("open".to_owned(), Value::Null));
}

#[tokio::test]
async fn temporal_cli_agent_command_runs_once_and_shows_everywhere() {
    let both = TemporalHarness::with_agents(&["ada"]).await;
    both.harness.bead("b", json!({})).await;
    let restarted = &["agent.status_change ada", "agent.restarted ada", "agent.status_change ada"];
    let begun = &["bead.status_change b", "bead.assigned b", "agent.status_change ada"];
    let blocked = r#"{"status": "blocked", "reason": "ill"}"#;
    let steps: &[Step<'_>] = &[
        (Signal, "updateStatus", blocked, &["agent.status_change ada"], "blocked", None),
        (Signal, "updateStatus", r#""active""#, restarted, "idle", None),
        (Signal, "updateStatus", r#""blocked""#, &["agent.status_change ada"], "blocked", None),
        (Signal, "updateStatus", r#"{"status": "idle"}"#, &["agent.status_change ada"], "idle", None),
        (Signal, "assignBead", r#""b""#, begun, "working", Some("b")),
    ];
    both.take_steps("agent", "ada", steps).await;
    assert_eq!(both.agreed_status("bead", "b").await, ("in_progress".to_owned(), json!("ada")));
    let refused = [
        (Signal, "updateStatus", r#""working""#, ""),
        (Signal, "updateStatus", r#""asleep""#, ""),
        (Signal, "updateStatus", "7", ""),
        (Signal, "assignBead", r#"{"bead_id": "b"}"#, ""),
        (Signal, "assignBead", r#""nothing""#, ""),
        (Signal, "assignBead", "-", ""),
    ];
    both.refused("agent", "ada", &refused).await;
    let (_, run, _) = both.run_of("agent-ada").await;
    let ends: &[&str] =
        &["agent.status_change ada", "agent.shutdown ada", "bead.status_change b", "bead.ready b"];
    both.take_steps("agent", "ada", &[(Signal, "shutdown", r#""holidays""#, ends, "shutdown", None)]).await;
    assert_eq!(both.agreed_status("bead", "b").await, ("open".to_owned(), Value::Null));
    assert_eq!(both.run_of("agent-ada").await, ("COMPLETED".to_owned(), run.clone(), json!(1)));
    assert_eq!(both.cli_json(&["workflow", "result", "-w", "agent-ada"]).await["result"], "shutdown");

    both.harness.act("agents/ada/restart", Value::Null).await;
    both.next_run("agent-ada", &run).await;
    assert_eq!(both.agreed_status("agent", "ada").await, ("idle".to_owned(), Value::Null));
    let again = (Signal, "assignBead", r#"{"bead_id": "b"}"#, &begun[..], "working", Some("b"));
    both.take_steps("agent", "ada", &[again]).await;
}
