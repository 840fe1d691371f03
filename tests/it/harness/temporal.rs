//! A server beside a real Temporal server: what clients see there, and checks that the workflows, the API,
//! the log and the database agree.

use crate::harness::python;
use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{TemporalOutput, TemporalServer};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Interval of polls of state that has no event.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Both servers.
pub struct TemporalHarness {
    /// Temporal's.
    pub temporal: TemporalServer,
    /// Ours.
    pub harness: Harness,
}

impl TemporalHarness {
    /// Both on fresh directories, with a project `p` and external agents of it.
    pub async fn with_agents(agents: &[&str]) -> Self {
        Self::with(&[], agents).await
    }

    /// The same with these variables for ours.
    pub async fn with(environment: &[(&str, &str)], agents: &[&str]) -> Self {
        let temporal = TemporalServer::start().await;
        let address = temporal.address();
        let harness =
            Harness::with(&[environment, &[("ARBITER_TEMPORAL__ADDRESS", address.as_str())]].concat()).await;
        harness.create("projects", json!({"id": "p", "name": "P"})).await;
        for id in agents {
            let agent = json!({"id": id, "name": id, "kind": "external", "project_id": "p"});
            harness.create("agents", agent).await;
        }
        let both = Self { temporal, harness };
        both.wait_until_settled().await;
        both
    }

    /// A decision of project `p`; its id.
    pub async fn create_decision(&self, fields: Value) -> String {
        let mut new = json!({"project_id": "p", "question": "Which colour?"});
        for (name, value) in fields.as_object().unwrap() {
            new[name] = value.clone();
        }
        self.harness.create("decisions", new).await["id"].as_str().unwrap().to_owned()
    }

    /// Takes steps as Temporal's Python client with our codec; what each of them saw.
    pub async fn python(&self, steps: Value) -> Vec<Value> {
        let endpoint = self.codec();
        let token = self.harness.server.token().unwrap();
        self.steps(steps, &[("CODEC_ENDPOINT", &endpoint), ("CODEC_TOKEN", token)]).await
    }

    /// The same as a client without a codec.
    pub async fn plain_python(&self, steps: Value) -> Vec<Value> {
        self.steps(steps, &[]).await
    }

    async fn steps(&self, steps: Value, codec: &[(&str, &str)]) -> Vec<Value> {
        self.wait_until_settled().await;
        let address = self.temporal.address();
        let variables = [&[("TEMPORAL_ADDRESS", address.as_str())], codec].concat();
        let seen = python::run("temporal_client.py", &[&steps.to_string()], &variables).await;
        seen.as_array().unwrap().clone()
    }

    /// Where our codec is.
    fn codec(&self) -> String {
        format!("{}/api/v1/temporal/codec", self.harness.server.url())
    }

    /// Runs Temporal's own command line with our codec. Strangers come when what has happened is there to be found: the
    /// API has answered before the mirror has brought it.
    pub async fn cli(&self, arguments: &[&str]) -> TemporalOutput {
        self.wait_until_settled().await;
        let endpoint = self.codec();
        let bearer = format!("Bearer {}", self.harness.server.token().unwrap());
        let codec = ["--codec-endpoint", &endpoint, "--codec-auth", &bearer];
        self.temporal.cli(&[arguments, &codec].concat()).await
    }

    /// The same for what changes nothing and must succeed; what it prints with `-o json`. Its patience with a busy
    /// server is shorter than ours.
    pub async fn cli_json(&self, arguments: &[&str]) -> Value {
        let look = async || self.cli(&[arguments, &["-o", "json"]].concat()).await;
        let said =
            self.wait_until(&format!("{arguments:?}"), look, |said| said.ok || !said.is_timeout()).await;
        said.json()
    }

    /// The answer to a query, by Temporal's command line.
    pub async fn query(&self, workflow: &str, name: &str) -> Value {
        let said = self.cli_json(&["workflow", "query", "-w", workflow, "--name", name]).await;
        let answer = said["queryResult"][0].clone();
        // As the command line shows what is null in Temporal's own encoding of that.
        if answer == json!({"metadata": {"encoding": "YmluYXJ5L251bGw="}}) { Value::Null } else { answer }
    }

    /// Waits until something is so, looking again and again; what it was in the end.
    pub async fn wait_until<T: std::fmt::Debug>(
        &self,
        what: &str,
        look: impl AsyncFn() -> T,
        predicate: impl Fn(&T) -> bool,
    ) -> T {
        let began = Instant::now();
        loop {
            let seen = look().await;
            if predicate(&seen) {
                return seen;
            }
            let errors = || self.harness.server.stderr_text();
            assert!(began.elapsed() < TIMEOUT, "{what}: still {seen:?}\n{}", errors());
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until everything that happened is at the Temporal server.
    pub async fn wait_until_settled(&self) -> Value {
        let is_settled = |status: &Value| {
            status["status"] == "connected" && status["lag"] == json!(0) && status["depth"] == json!(0)
        };
        self.wait_until(
            "the mirror has not caught up",
            async || self.harness.get("temporal/status").await,
            is_settled,
        )
        .await
    }

    /// Waits until no message to or from the workflows is in flight, so that every effect has happened.
    pub async fn wait_until_quiet(&self) {
        let look = async || {
            let before = self.idle_history_lengths().await;
            self.wait_until_settled().await;
            (before, self.idle_history_lengths().await, self.seq().await)
        };
        let is_quiet = |(before, after, _): &(Option<_>, Option<_>, u64)| before.is_some() && before == after;
        self.wait_until("it never becomes quiet", look, is_quiet).await;
    }

    /// The lengths of the histories of all that runs; none while any of it has something to do.
    async fn idle_history_lengths(&self) -> Option<BTreeMap<String, Value>> {
        let running =
            self.harness.get("temporal/workflows?query=ExecutionStatus%3D'Running'&limit=100").await;
        let running = running.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap());
        let describe = async |id: &str| {
            let found = self.cli_json(&["workflow", "describe", "-w", id]).await;
            let is_busy =
                ["pendingActivities", "pendingWorkflowTask"].iter().any(|name| !found[*name].is_null());
            (!is_busy).then(|| (id.to_owned(), found["workflowExecutionInfo"]["historyLength"].clone()))
        };
        join_all(running.map(describe)).await.into_iter().collect()
    }

    /// The number of the newest event.
    pub async fn seq(&self) -> u64 {
        self.harness.get("events/stats").await["last_seq"].as_u64().unwrap()
    }

    /// Waits until every effect has happened and returns type and subject of every event after `after`. Leaves out
    /// warnings about a slow connection, from us or from Temporal's library: they only report a retry.
    pub async fn events_since(&self, after: u64) -> Vec<String> {
        self.wait_until_quiet().await;
        let events = self.harness.events(after).await;
        let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
        let of_the_way = |event: &&Value| {
            let subject = event["subject"].as_str().unwrap();
            let ways = ["integration", "temporalio"];
            let is_of_a_run = event["type"].as_str().unwrap().starts_with("workflow.");
            is_of_a_run || event["type"] == "log.message" && ways.iter().any(|way| subject.starts_with(way))
        };
        let events = events.iter().filter(|event| !of_the_way(event));
        events.map(|event| format!("{} {}", text(event, "type"), text(event, "subject"))).collect()
    }

    /// The status on which the workflow, the API, the log and the database agree, and who it names.
    pub async fn agreed_status(&self, entity: &str, id: &str) -> (String, Value) {
        self.wait_until_quiet().await;
        let (table, named, asked) = match entity {
            "agent" => ("agents", "current_bead", "getCurrentBead"),
            "bead" => ("beads", "assigned_to", "getAssignedAgent"),
            _ => ("decisions", "decision", "getDecision"),
        };
        let workflow = format!("{entity}-{id}");
        let status = self.query(&workflow, "getStatus").await;
        let mut name = self.query(&workflow, asked).await;
        if entity == "decision" {
            name = name["decision"].clone();
        }
        let there = (status, name);
        let api = self.harness.get(&format!("{table}/{id}")).await;
        assert_eq!((api["status"].clone(), api[named].clone()), there, "the API: {api}");
        assert_eq!(self.row(table, named, id, &there.0).await, there, "the database about {entity} {id}");
        let logged_status = self.logged_status(entity, id).await;
        assert_eq!(logged_status, there.0, "the log about {entity} {id}");
        let verified = self.harness.get("audit/verify").await;
        assert_eq!(verified["ok"], true, "{verified}");
        (there.0.as_str().unwrap().to_owned(), there.1)
    }

    /// Status and another field of a row, as the database finds it by that status.
    async fn row(&self, table: &str, column: &str, id: &str, status: &Value) -> (Value, Value) {
        let status = status.as_str().unwrap();
        let found = self.harness.get(&format!("{table}?status={status}&limit=1000")).await;
        let row = found.as_array().unwrap().iter().find(|row| row["id"] == id);
        let row = row.unwrap_or_else(|| panic!("{id} is not among the {status} of {table}: {found}"));
        (row["status"].clone(), row[column].clone())
    }

    /// The status that the log tells of.
    async fn logged_status(&self, entity: &str, id: &str) -> Value {
        let mut status = Value::Null;
        for event in self.harness.events(0).await {
            if event["subject"] == id && event["type"].as_str().unwrap().starts_with(entity) {
                let data = &event["data"];
                for found in [&data["status"], &data["new"]] {
                    if found.is_string() {
                        status = found.clone();
                    }
                }
            }
        }
        status
    }
}

/// The words that an update, a query or a run failed with, as the Python client has them.
pub fn error_message(seen: &Value) -> &str {
    seen["error"]["cause"].as_str().unwrap_or_else(|| panic!("it did not fail: {seen}"))
}
