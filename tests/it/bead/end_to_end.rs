//! The whole chain once, from the first start to the last bead: a key enters the vault, agents work on beads
//! with it over HTTP, a person decides, a kill changes nothing, and the key appears nowhere else.

use crate::harness::canary::Canary;
use crate::harness::program::BINARY;
use crate::harness::{FAST_KDF, Harness, TIMEOUT};
use arbiter_testkit::{ChatInput, Reply, Script, ScriptedProvider, ServerProcess};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The key that the provider wants.
const KEY: &str = "sk-Canary+one/7f3a9c5e1b2d4068-of-the-story";
/// A key that another provider does not want, and complains about word by word.
const WRONG_KEY: &str = "sk-Canary?two/d41d8cd98f00b204e9800998ecf8427e";
/// The vault's password, which comes over HTTP alone.
const PASSWORD: &str = "Canary?three/correct+horse-9d2b4f6a8c0e1357";
/// A password that is not the vault's.
const WRONG_PASSWORD: &str = "Canary+four/staple?battery-1a3c5e7092b4d6f8";
/// Everything is logged that can be.
const LOG_EVERYTHING: &[(&str, &str)] = &[
    ("ARBITER_LOG__FORMAT", "json"),
    ("ARBITER_LOG__LEVEL", "trace"),
    ("ARBITER_LOG__TARGETS__WORKFLOW", "trace"),
    ("ARBITER_LOG__TARGETS__ACTIVITY", "trace"),
    ("ARBITER_LOG__TARGETS__EVENT_BUS", "trace"),
    ("ARBITER_LOG__TARGETS__INTEGRATION", "trace"),
];

/// The plan: id, priority, tags and dependencies of each bead.
const PLAN: &[(&str, u8, &[&str], &[&str])] = &[
    ("ground", 1, &[], &[]),
    ("walls", 2, &[], &["ground"]),
    ("paint", 2, &["role:painter"], &["walls"]),
    ("roof", 2, &[], &["walls"]),
    ("opening", 0, &[], &["paint", "roof"]),
    ("garden", 4, &[], &[]),
];

/// Ends each work item with a summary; the painter asks for the colour first, and takes the answer.
fn model(chat: &ChatInput) -> Reply {
    let asked = chat.body["messages"].as_array().into_iter().flatten();
    let prompt = asked.filter(|message| message["role"] == "user").filter_map(|m| m["content"].as_str());
    let prompt: String = prompt.collect();
    let item = prompt.split("Work item ").nth(1).and_then(|rest| rest.split(':').next()).unwrap_or("?");
    if item == "paint" && !prompt.contains("sky blue") {
        let options = json!(["sky blue", "brick red"]);
        return Reply::tool("ask_decision", json!({"question": "Which colour?", "options": options}));
    }
    let colour = if item == "paint" { " in sky blue" } else { "" };
    Reply::tool("finish", json!({"summary": format!("[simulated] {item} is done{colour}")}))
        .with_usage(200, 20)
}

/// A server whose every answer is kept, to be searched in the end.
struct RecordingClient {
    harness: Harness,
    responses: Vec<(String, Vec<u8>)>,
}

impl RecordingClient {
    async fn get(&mut self, path: &str) -> Value {
        let answer = self.harness.server.ask("GET", path, &[], None).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.json());
        self.responses.push((format!("GET {path}"), answer.body.to_vec()));
        self.responses.push((format!("headers of {path}"), format!("{:?}", answer.headers).into_bytes()));
        answer.json()
    }

    async fn create(&mut self, path: &str, json: Value) -> Value {
        self.send("POST", path, json, 201).await
    }

    /// Sends what is to be answered so.
    async fn send(&mut self, method: &str, path: &str, json: Value, status: u16) -> Value {
        let answer = self.harness.ask(method, path, Some(&json)).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.json());
        self.responses.push((format!("{method} {path}"), answer.body.to_vec()));
        self.responses
            .push((format!("headers of {method} {path}"), format!("{:?}", answer.headers).into_bytes()));
        answer.json()
    }

    /// Keys and passwords in all the wrong places, whose refusals must not repeat them.
    async fn send_misplaced_secrets(&mut self) {
        for (method, path, body, status) in [
            ("POST", "keys", json!(KEY), 422),
            ("POST", "keys", json!({"name": "k", "value": {"key": KEY}}), 422),
            ("POST", "keys", json!({"name": "k", "value": KEY, "allowed_hosts": KEY}), 422),
            ("PUT", "keys/key_main", json!({"value": {"v": KEY}}), 422),
            ("PUT", "keys/no-such-key", json!({"value": KEY}), 404),
            ("PATCH", "providers/main", json!({"api_key": KEY, "max_concurrency": KEY}), 422),
            ("POST", "providers", json!({"name": "n", "type": KEY, "endpoint": "x", "api_key": KEY}), 422),
            ("POST", "vault/unlock", json!(WRONG_PASSWORD), 422),
            ("POST", "vault/unlock", json!({"password": [WRONG_PASSWORD]}), 422),
            ("POST", "vault/unlock", json!({"password": WRONG_PASSWORD}), 403),
        ] {
            if status == 403 {
                self.send("POST", "vault/lock", json!({}), 200).await;
            }
            self.send(method, path, body, status).await;
        }
        self.send("POST", "vault/unlock", json!({"password": PASSWORD}), 200).await;
        // An id is quoted to its sender only.
        let id = json!({"id": KEY, "name": "k", "value": "v"});
        assert_eq!(self.harness.ask("POST", "keys", Some(&id)).await.status, 422);
    }

    /// Returns what the kernel shows of the process to its owner.
    fn check_process(&mut self) {
        for name in ["cmdline", "environ", "comm", "status", "maps"] {
            let path = format!("/proc/{}/{name}", self.harness.server.id());
            let bytes =
                std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}: run this as root"));
            assert!(!bytes.is_empty(), "{path}");
            self.responses.push((path, bytes));
        }
    }

    /// Reads every route of the document; path parameters are filled with existing ids.
    async fn read_all_routes(&mut self, ids: &BTreeMap<&str, String>) {
        let document = self.get("/api/openapi.json").await;
        let paths: Vec<String> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, operations)| operations.get("get").is_some())
            .map(|(path, _)| path.clone())
            .collect();
        assert!(paths.len() > 25, "{paths:?}");
        for path in paths {
            if path.ends_with("/events/stream") || path.ends_with("/models") {
                continue;
            }
            let resource = path.split('/').nth(3).unwrap_or_default();
            let own = if path.starts_with("/v1/models/") { "auto" } else { "?" };
            let id = ids.get(resource).map_or(own, String::as_str);
            self.get(&path.replace("{id}", id).replace("{name}", id)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beads_close_end_to_end_and_only_the_provider_sees_the_key() {
    let canaries = [KEY, WRONG_KEY, PASSWORD, WRONG_PASSWORD].map(Canary::new);
    let provider = ScriptedProvider::start(Script::answering(model).requiring_key(KEY));
    let careless = ScriptedProvider::start(Script::default().requiring_key("another key"));
    let environment = [&[FAST_KDF], LOG_EVERYTHING].concat();
    let without = ["env", "-u", "ARBITER_PASSWORD"];
    let server = ServerProcess::start_behind(&without, BINARY, &[], &environment).await;
    let mut client = RecordingClient { harness: Harness { server }, responses: Vec::new() };
    assert_eq!(client.get("/api/v1/health").await["vault"], "uninitialized");
    client.create("vault/unlock", json!({"password": PASSWORD})).await;

    let health = client.get("/api/v1/health").await;
    assert_eq!((health["vault"].as_str(), health["dispatch"].as_str()), (Some("unlocked"), Some("active")));
    let mut frames = client.harness.stream("", Some(0)).await;

    client.create("projects", json!({"id": "house", "name": "A house"})).await;
    let new =
        json!({"id": "main", "name": "Main", "type": "openai", "endpoint": provider.url(), "api_key": KEY});
    let registered = client.create("providers", new).await;
    assert_eq!(
        (registered["requires_key"].as_bool(), registered["key_id"].as_str()),
        (Some(true), Some("key_main"))
    );
    assert!(registered.get("api_key").is_none());
    let new = json!({"id": "careless", "name": "Careless", "type": "custom", "endpoint": careless.url(), "api_key": WRONG_KEY});
    client.create("providers", new).await;
    for (id, role) in
        [("builder-1", Value::Null), ("builder-2", Value::Null), ("painter-1", json!("painter"))]
    {
        let new = json!({"id": id, "name": id, "role": role, "provider_id": "main", "project_id": "house"});
        assert_eq!(client.create("agents", new).await["status"], "idle");
    }
    for (id, priority, tags, needs) in PLAN {
        let new = json!({
            "id": id, "title": format!("Do the {id}"), "project_id": "house", "priority": priority,
            "tags": tags, "blocked_by": needs,
        });
        let bead = client.create("beads", new).await;
        assert_eq!((&bead["priority"], &bead["blocked_by"]), (&json!(priority), &json!(needs)), "{bead}");
    }

    // The painter asks, and the bead waits; a second answer is refused.
    let question = client.harness.wait_for_decision_about("paint").await;
    let asked = client.get(&format!("/api/v1/decisions/{question}")).await;
    assert_eq!((&asked["status"], &asked["question"]), (&json!("pending"), &json!("Which colour?")));
    let answer = json!({"decision": "sky blue", "rationale": "as the sky"});
    let decided = client.harness.act(&format!("decisions/{question}/decide"), answer.clone()).await;
    assert_eq!((&decided["status"], &decided["decider_id"]), (&json!("resolved"), &json!("admin")));
    let again = client.harness.ask("POST", &format!("decisions/{question}/decide"), Some(&answer)).await;
    assert_eq!((again.status, &again.json()["type"]), (409, &json!("transition")));

    // Every bead that needs no person is closed; the critical bead waits, and `why` names the decision.
    for id in ["ground", "walls", "paint", "roof", "garden"] {
        let bead = client.harness.wait_for_bead_status(id, "closed").await;
        assert!(bead["close_reason"].as_str().unwrap().contains(&format!("{id} is done")), "{bead}");
        assert!(bead["closed_at"].is_string(), "{bead}");
    }
    assert!(client.get("/api/v1/beads/paint").await["close_reason"].as_str().unwrap().contains("sky blue"));
    let approval = client.harness.wait_for_decision_about("opening").await;
    let waiting = client.get("/api/v1/beads/opening").await;
    assert_eq!((&waiting["status"], &waiting["priority"]), (&json!("open"), &json!(0)));
    let why = client.get("/api/v1/beads/opening/why").await;
    assert!(why["reasons"].to_string().contains(&approval), "{why}");
    client.harness.act(&format!("decisions/{approval}/decide"), json!({"decision": "approve"})).await;
    client.harness.wait_for_bead_status("opening", "closed").await;

    // What was done is stored: runs with their prompts and answers, and the use of the key.
    let runs = client.get("/api/v1/runs?project_id=house").await;
    let runs = runs.as_array().unwrap();
    assert_eq!(runs.len(), PLAN.len() + 1, "one run a bead, and one more after the question");
    assert!(runs.iter().all(|run| run["status"] == "succeeded" && run["key_uses"].as_u64() > Some(0)));
    let run = client.get(&format!("/api/v1/runs/{}", runs[0]["id"].as_str().unwrap())).await;
    assert!(run["prompt"].as_str().unwrap().contains("Work item"), "{run}");
    assert_eq!((&run["input_tokens"], &run["output_tokens"]), (&json!(200), &json!(20)));
    client.harness.wait_until("providers/careless", |p| p["status"] == "unhealthy").await;

    let ids = BTreeMap::from([
        ("providers", "careless".to_owned()),
        ("agents", "painter-1".to_owned()),
        ("projects", "house".to_owned()),
        ("org-charts", "house".to_owned()),
        ("personas", "default/ceo".to_owned()),
        ("beads", "paint".to_owned()),
        ("decisions", question),
        ("runs", runs[0]["id"].as_str().unwrap().to_owned()),
    ]);
    client.send_misplaced_secrets().await;
    client.check_process();
    client.read_all_routes(&ids).await;
    let metrics = client.harness.server.ask("GET", "/metrics", &[], None).await;
    assert_eq!(metrics.status, 200);
    client.responses.push(("metrics".to_owned(), metrics.body.to_vec()));

    // The stream told all of it, in the order of the log.
    let last = client.get("/api/v1/events/stats").await["last_seq"].as_u64().unwrap();
    let mut told = Vec::new();
    for seq in 1..=last {
        let frame = frames.next(TIMEOUT).await.unwrap();
        assert_eq!(frame.id.as_deref(), Some(seq.to_string().as_str()), "{frame:?}");
        told.push(frame.event.clone());
        client.responses.push((format!("event {seq}"), frame.data.into_bytes()));
    }
    for wanted in
        ["bead.ready", "bead.assigned", "run.finished", "bead.completed", "decision.resolved", "key.used"]
    {
        assert!(told.iter().any(|event| event == wanted), "{wanted} is not in {told:?}");
    }
    let completed = told.iter().filter(|event| *event == "bead.completed").count();
    assert_eq!(completed, PLAN.len(), "each bead is completed once");

    // The provider saw the key with each request, and no one else sees it anywhere.
    let requests = provider.requests();
    assert!(requests.iter().all(|request| request.authorization == Some(format!("Bearer {KEY}"))));
    assert!(requests.iter().any(|request| request.path == "/v1/chat/completions"));
    assert!(careless.requests().iter().all(|r| r.authorization == Some(format!("Bearer {WRONG_KEY}"))));
    let mut server = client.harness.server;
    server.kill9();
    let search = |data: &std::path::Path, log: &str| {
        for canary in &canaries {
            assert!(canary.assert_not_below(data) >= 4, "a database, a vault, a lock and a token");
            canary.assert_not_in(log.as_bytes(), "the log");
            for (place, bytes) in &client.responses {
                canary.assert_not_in(bytes, place);
            }
        }
    };
    search(&server.data_dir(), &server.stderr_text());

    // Still there after the kill, and after an end in good order.
    server.restart().await;
    for (id, ..) in PLAN {
        let (status, bead) = server.get(&format!("/api/v1/beads/{id}")).await;
        assert_eq!((status, &bead["status"]), (200, &json!("closed")));
    }
    assert!(server.terminate().await.success());
    search(&server.data_dir(), &server.stderr_text());
}
