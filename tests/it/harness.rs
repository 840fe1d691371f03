//! A running server with one-line helpers: create, act, refuse, wait for a bead.
//!
//! Waits for events of the server's own stream, never for time to pass.

pub mod canary;
pub mod memory_image;
pub mod program;
pub mod python;
pub mod reexec_in_namespace;
pub mod rng;
pub mod temporal;

use crate::harness::program::{BINARY, ProgramOutput, command, run};
use arbiter_testkit::{
    HttpBodyStream, HttpResponse, Script, ScriptedProvider, ServerProcess, SseClient, send_streaming,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Within this everything happens that has to happen.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// The fewest rounds that the vault takes: tests open it often.
pub const FAST_KDF: (&str, &str) = ("ARBITER_VAULT__KDF_ITERATIONS", "100000");
/// The key of the scripted provider.
pub const KEY: &str = "sk-stage-0123456789abcdef";

fn chat_of(model: &str, fields: Value) -> Value {
    let mut chat = json!({"model": model, "messages": [{"role": "user", "content": "How are you?"}]});
    for (name, value) in fields.as_object().into_iter().flatten() {
        chat[name] = value.clone();
    }
    chat
}

/// A running server.
pub struct Harness {
    /// The process.
    pub server: ServerProcess,
}

impl Harness {
    /// A server on a fresh data directory.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// The same with these variables besides.
    pub async fn with(environment: &[(&str, &str)]) -> Self {
        let environment = [&[FAST_KDF], environment].concat();
        Self { server: ServerProcess::start(BINARY, &[], &environment).await }
    }

    /// A chat through the gateway: the whole answer.
    pub async fn chat(&self, model: &str, fields: Value) -> HttpResponse {
        self.server.ask("POST", "/v1/chat/completions", &[], Some(&chat_of(model, fields))).await
    }

    /// A chat through the gateway whose answer comes in pieces.
    pub async fn chat_streaming(&self, model: &str) -> HttpBodyStream {
        let url = format!("{}/v1/chat/completions", self.server.url());
        let bearer = format!("Bearer {}", self.server.token().unwrap());
        let body = chat_of(model, json!({"stream": true}));
        send_streaming("POST", &url, &[("authorization", &bearer)], &body).await.unwrap()
    }

    /// A project `p`, a provider `scripted` that wants [`KEY`], and agents of that project.
    pub async fn setup(&self, script: Script, agents: &[&str]) -> ScriptedProvider {
        let provider = ScriptedProvider::start(script.requiring_key(KEY));
        self.create("projects", json!({"id": "p", "name": "Project"})).await;
        self.register("scripted", &provider.url(), KEY).await;
        for id in agents {
            self.create(
                "agents",
                json!({"id": id, "name": id, "provider_id": "scripted", "project_id": "p"}),
            )
            .await;
        }
        provider
    }

    /// Registers a provider and waits for its first beat.
    pub async fn register(&self, id: &str, url: &str, key: &str) -> Value {
        let new = json!({"id": id, "name": id, "type": "custom", "endpoint": url, "api_key": key});
        self.create("providers", new).await;
        self.act(&format!("providers/{id}/heartbeat"), Value::Null).await
    }

    /// Any request: the whole answer.
    pub async fn ask(&self, method: &str, path: &str, json: Option<&Value>) -> HttpResponse {
        self.server.ask(method, &format!("/api/v1/{path}"), &[], json).await
    }

    /// `GET`, which must succeed.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, None).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.json());
        answer.json()
    }

    /// `POST` that creates.
    pub async fn create(&self, path: &str, json: Value) -> Value {
        let answer = self.ask("POST", path, Some(&json)).await;
        assert_eq!(answer.status, 201, "POST {path} {json}: {}", answer.json());
        answer.json()
    }

    /// `POST` that does something; a body of `null` is none.
    pub async fn act(&self, path: &str, json: Value) -> Value {
        let answer = self.ask("POST", path, Some(&json).filter(|json| !json.is_null())).await;
        assert_eq!(answer.status, 200, "POST {path} {json}: {}", answer.json());
        answer.json()
    }

    /// A bead of project `p` with these fields besides.
    pub async fn bead(&self, id: &str, fields: Value) -> Value {
        let mut bead = json!({"id": id, "title": format!("Bead {id}"), "project_id": "p"});
        for (name, value) in fields.as_object().into_iter().flatten() {
            bead[name] = value.clone();
        }
        self.create("beads", bead).await
    }

    /// A stream of events, from after `last` or from now on, behind its first frame.
    pub async fn stream(&self, query: &str, last: Option<u64>) -> SseClient {
        let url = format!("{}/api/v1/events/stream{query}", self.server.url());
        let last = last.map(|seq| seq.to_string());
        let mut client = SseClient::connect(&url, self.server.token(), last.as_deref()).await.unwrap();
        assert_eq!(client.next(TIMEOUT).await.unwrap().event, "connected");
        client
    }

    /// Waits until an entity is as wanted; looks again at each event about it.
    pub async fn wait_until(&self, path: &str, predicate: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + TIMEOUT;
        let mut events = self.stream("", None).await;
        let subject = path.rsplit('/').next().unwrap();
        loop {
            let entity = self.get(path).await;
            if predicate(&entity) {
                return entity;
            }
            loop {
                let patience = deadline.saturating_duration_since(Instant::now());
                let frame = events.next(patience).await.unwrap_or_else(|error| {
                    panic!("{path} never became as wanted ({error}): {entity}\n{}", self.server.stderr_text())
                });
                let event: Value = serde_json::from_str(&frame.data).unwrap();
                if event["subject"] == subject {
                    break;
                }
            }
        }
    }

    /// Waits until a bead has a status.
    pub async fn wait_for_bead_status(&self, id: &str, status: &str) -> Value {
        self.wait_until(&format!("beads/{id}"), |bead| bead["status"] == status).await
    }

    /// Waits for a decision about a bead; returns its id.
    pub async fn wait_for_decision_about(&self, bead: &str) -> String {
        let mut events = self.stream("?type=decision.created", Some(0)).await;
        loop {
            let frame = events.next(TIMEOUT).await.unwrap();
            let event: Value = serde_json::from_str(&frame.data).unwrap();
            if event["data"]["bead_id"] == bead {
                return event["subject"].as_str().unwrap().to_owned();
            }
        }
    }

    /// Every event of the log, page by page.
    pub async fn events(&self, after: u64) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), after);
        loop {
            let page = self.get(&format!("events?after={after}&limit=1000")).await;
            let Some(last) = page.as_array().unwrap().last() else { return all };
            after = last["seq"].as_u64().unwrap();
            all.extend(page.as_array().unwrap().iter().cloned());
        }
    }

    /// Runs `arbiter` as a client of this server.
    pub async fn cli(&self, arguments: &[&str]) -> ProgramOutput {
        self.cli_with(arguments, "").await
    }

    /// The same with a text on stdin.
    pub async fn cli_with(&self, arguments: &[&str], stdin: &str) -> ProgramOutput {
        let home = tempfile::tempdir().unwrap();
        let mut command = command(home.path());
        command.args(arguments).env("ARBITER_DATA_DIR", self.server.data_dir());
        run(command, stdin).await
    }
}
