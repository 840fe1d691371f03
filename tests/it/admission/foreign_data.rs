//! Every route, asked by tokens that are limited to project `p` for the objects of project `q`.

use crate::admission::rights::rights;
use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{HttpResponse, Reply, Script, SseClient};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A word that is in every object of `q`, and in the ids of those that no request names.
const SECRET: &str = "xylophone";
const FAR: &str = "2099-01-01T00:00:00Z";
/// The one route that does not end; it is listened to while the others are asked.
const STREAM: &str = "/api/v1/events/stream";

/// The foreign objects that requests name.
struct Foreign {
    decision: String,
    run: String,
}

impl Foreign {
    /// Creates at least one object of each kind in `q`.
    async fn create(harness: &Harness) -> Self {
        harness.create("projects", json!({"id": "q", "name": SECRET})).await;
        let positions = json!({"positions": [{"role_name": SECRET, "required": false, "max_instances": 1}]});
        harness.ask("PUT", "org-charts/q", Some(&positions)).await;
        let agent = json!({"id": "b", "name": SECRET, "provider_id": "foreign", "project_id": "q"});
        harness.create("agents", agent).await;
        let hidden = json!({"id": SECRET, "name": SECRET, "kind": "external", "project_id": "q"});
        harness.create("agents", hidden).await;
        for id in ["theirs", SECRET] {
            let bead =
                json!({"id": id, "title": SECRET, "project_id": "q", "tags": [SECRET], "defer_until": FAR});
            harness.create("beads", bead).await;
        }
        harness.create("beads/theirs/comments", json!({"comment": SECRET})).await;
        harness.create("projects/q/comments", json!({"comment": SECRET})).await;
        let question =
            json!({"project_id": "q", "bead_id": "theirs", "question": SECRET, "timeout": "never"});
        let decision = harness.create("decisions", question).await["id"].as_str().unwrap().to_owned();
        let prompt = json!({"agent_id": "b", "project_id": "q", "prompt": SECRET});
        let run = harness.act("work", prompt).await["id"].as_str().unwrap().to_owned();
        let locks = json!({"project_id": "q", "paths": ["src/main.rs", SECRET], "agent_id": SECRET,
            "ttl_sec": 86_400});
        harness.create("file-locks", locks).await;
        let budget = |scope: &str| json!({"scope": scope, "period": "month", "cap_usd": 5.0});
        let budgets = [budget("project:q"), budget("agent:b"), budget("agent:xylophone")];
        let set = harness.ask("PUT", "budgets", Some(&json!({"budgets": budgets}))).await;
        assert_eq!(set.status, 200, "{}", set.json());
        Self { decision, run }
    }

    /// Fills the parameters of a path with foreign objects.
    fn fill(&self, path: &str) -> String {
        let id = match path.split('/').nth(3).unwrap_or_default() {
            "beads" => "theirs",
            "agents" => "b",
            "projects" | "org-charts" => "q",
            "decisions" => &self.decision,
            "runs" => &self.run,
            "providers" => "foreign",
            "keys" => "key_foreign",
            _ => "unknown",
        };
        let filled = path.replace("{id}", id).replace("{project_id}", "q").replace("{depends_on}", "theirs");
        filled.replace("{path}", "src/main.rs").replace("{name}", "code-reviewer")
    }

    /// Everything of `q` that a change would leave a trace in.
    async fn state(&self, harness: &Harness) -> BTreeMap<String, Value> {
        let (decision, run) = (format!("decisions/{}", self.decision), format!("runs/{}", self.run));
        let paths = [
            "projects/q",
            "projects/q/comments",
            "org-charts/q",
            "agents?project_id=q",
            "beads?project_id=q",
            "beads/theirs/comments",
            &decision,
            &run,
            "file-locks?project_id=q",
            "budgets",
            "personas",
            "events?project_id=q&limit=1000",
        ];
        let mut state = BTreeMap::new();
        for path in paths {
            state.insert(path.to_owned(), harness.get(path).await);
        }
        // Heartbeats change the rest of its row.
        let provider = harness.get("providers/foreign").await;
        state.insert(
            "provider".to_owned(),
            json!([provider["name"], provider["endpoint"], provider["status"]]),
        );
        state
    }
}

/// Route, status for an operator limited to `p`, and a valid body, for each route that takes JSON.
pub fn bodies(token: &str) -> Vec<(&'static str, u16, Value)> {
    let lock = json!({"project_id": "q", "path": "src/main.rs", "agent_id": "b", "bead_id": "theirs"});
    let provider = json!({"name": "x", "type": "custom", "endpoint": "http://127.0.0.1:1"});
    let reason = json!({"reason": "x"});
    let payloads = json!({"payloads": [{"data": "", "metadata": {}}]});
    vec![
        ("POST /api/v1/agents", 403, json!({"name": "x", "provider_id": "foreign", "project_id": "q"})),
        ("PATCH /api/v1/agents/{id}", 404, json!({"name": "x"})),
        ("POST /api/v1/agents/{id}/assign", 404, json!({"bead_id": "theirs"})),
        ("POST /api/v1/agents/{id}/clone", 404, json!({"name": "x"})),
        ("POST /api/v1/agents/{id}/shutdown", 404, reason.clone()),
        ("POST /api/v1/agents/{id}/status", 404, json!({"status": "shutdown"})),
        ("POST /api/v1/beads", 404, json!({"title": "x", "project_id": "p", "parent": "theirs"})),
        (
            "POST /api/v1/beads/bulk",
            404,
            json!({"beads": [{"title": "x", "project_id": "p", "blocked_by": ["theirs"]}]}),
        ),
        ("POST /api/v1/beads/claim", 422, json!({"agent_id": "b", "project_id": "q"})),
        ("PATCH /api/v1/beads/{id}", 404, json!({"title": "x"})),
        ("POST /api/v1/beads/{id}/block", 404, reason.clone()),
        ("POST /api/v1/beads/{id}/claim", 404, json!({"agent_id": "b"})),
        ("POST /api/v1/beads/{id}/close", 404, reason.clone()),
        ("POST /api/v1/beads/{id}/comments", 404, json!({"comment": "x"})),
        ("POST /api/v1/beads/{id}/complete", 404, json!({"summary": "x"})),
        ("POST /api/v1/beads/{id}/dependencies", 404, json!({"depends_on": "ours"})),
        ("POST /api/v1/beads/{id}/escalate", 404, reason.clone()),
        ("POST /api/v1/beads/{id}/heartbeat", 404, json!({"lease_token": "x"})),
        ("POST /api/v1/beads/{id}/redispatch", 404, reason.clone()),
        ("POST /api/v1/beads/{id}/release", 404, reason.clone()),
        (
            "PUT /api/v1/budgets",
            403,
            json!({"budgets": [{"scope": "project:q", "period": "month", "cap_usd": 1.0}]}),
        ),
        ("POST /api/v1/decisions", 403, json!({"project_id": "q", "bead_id": "theirs", "question": "x"})),
        ("POST /api/v1/decisions/{id}/cancel", 404, reason.clone()),
        ("POST /api/v1/decisions/{id}/decide", 404, json!({"decision": "x"})),
        ("POST /api/v1/events", 403, json!({"message": "x", "project_id": "q"})),
        ("POST /api/v1/file-locks", 403, lock.clone()),
        ("POST /api/v1/file-locks/renew", 403, lock),
        ("POST /api/v1/keys", 403, json!({"name": "x", "value": "x"})),
        ("PUT /api/v1/keys/{id}", 403, json!({"value": "x"})),
        ("PUT /api/v1/org-charts/{id}", 404, json!({"positions": []})),
        ("POST /api/v1/personas", 403, json!({"name": "x", "persona": "x"})),
        ("PUT /api/v1/personas/{name}", 403, json!({"persona": "x"})),
        ("POST /api/v1/projects", 403, json!({"id": "x", "name": "x"})),
        ("PATCH /api/v1/projects/{id}", 404, json!({"name": "x"})),
        ("PUT /api/v1/projects/{id}", 404, json!({"name": "x"})),
        ("POST /api/v1/projects/{id}/agents", 404, json!({"agent_id": "b", "action": "unassign"})),
        ("POST /api/v1/projects/{id}/comments", 404, json!({"comment": "x"})),
        ("POST /api/v1/projects/{id}/park", 404, reason.clone()),
        ("POST /api/v1/providers", 403, provider.clone()),
        ("PATCH /api/v1/providers/{id}", 403, json!({"name": "x"})),
        ("PUT /api/v1/providers/{id}", 403, provider),
        ("POST /api/v1/repl", 403, json!({"message": "x", "project_id": "q", "provider_id": "foreign"})),
        ("POST /api/v1/runs/{id}/cancel", 404, reason.clone()),
        ("POST /api/v1/session", 201, json!({"token": token})),
        ("POST /api/v1/system/park", 403, reason),
        ("POST /api/v1/temporal/codec/decode", 403, payloads.clone()),
        ("POST /api/v1/temporal/codec/encode", 403, payloads),
        ("POST /api/v1/tokens", 403, json!({"name": "x", "role": "viewer", "projects": ["q"]})),
        ("POST /api/v1/vault/export", 403, json!({"password": "x", "keys": ["key_foreign"]})),
        ("POST /api/v1/vault/import", 403, json!({"password": "x", "file": {}})),
        ("POST /api/v1/vault/rotate", 403, json!({"old_password": "x", "new_password": "x"})),
        ("POST /api/v1/vault/unlock", 403, json!({"password": "x"})),
        ("POST /api/v1/work", 403, json!({"agent_id": "b", "project_id": "q", "prompt": "x"})),
        (
            "POST /v1/chat/completions",
            403,
            json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}),
        ),
    ]
}

/// Requests that name a foreign object where an object of `p` is expected, or as a filter.
fn mixed() -> Vec<(&'static str, &'static str, u16, Value)> {
    vec![
        ("PATCH", "beads/ours", 403, json!({"project_id": "q"})),
        ("PATCH", "beads/ours", 404, json!({"related_to": ["theirs"]})),
        ("POST", "beads/ours/dependencies", 404, json!({"depends_on": "theirs"})),
        ("POST", "beads/ours/claim", 422, json!({"agent_id": "b"})),
        ("POST", "agents/a/assign", 404, json!({"bead_id": "theirs"})),
        ("PATCH", "agents/a", 403, json!({"project_id": "q"})),
        ("POST", "projects/p/agents", 422, json!({"agent_id": "b", "action": "assign"})),
        ("POST", "decisions", 404, json!({"project_id": "p", "bead_id": "theirs", "question": "x"})),
        ("POST", "file-locks", 422, json!({"project_id": "p", "path": "f", "bead_id": "theirs"})),
        ("POST", "work", 422, json!({"agent_id": "b", "project_id": "p", "prompt": "x"})),
        ("GET", "agents?project_id=q", 200, Value::Null),
        ("GET", "beads?project_id=q", 200, Value::Null),
        ("GET", "beads/ready?project_id=q", 200, Value::Null),
        ("GET", "beads?assigned_to=b", 200, Value::Null),
        ("GET", "decisions?bead_id=theirs", 200, Value::Null),
        ("GET", "events?project_id=q", 200, Value::Null),
        ("GET", "file-locks?project_id=q", 200, Value::Null),
        ("GET", "runs?agent_id=b", 200, Value::Null),
        ("GET", "runs?project_id=q", 200, Value::Null),
    ]
}

/// Returns what a value breaks of a schema, as far as the document's bodies need it.
fn breach(schema: &Value, value: &Value, schemas: &Value) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str() {
        return breach(&schemas[name.rsplit('/').next().unwrap()], value, schemas);
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[choice].as_array() {
            let fits = choices.iter().any(|one| breach(one, value, schemas).is_none());
            return (!fits).then(|| format!("{value} is none of {schema}"));
        }
    }
    let allowed = schema["const"].is_null() || schema["const"] == *value;
    let listed = schema["enum"].as_array().is_none_or(|all| all.contains(value));
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = &schema["type"];
    let typed =
        kinds.is_null() || kinds == kind || kinds.as_array().is_some_and(|all| all.contains(&json!(kind)));
    if !(allowed && listed && typed) {
        return Some(format!("{value} is not of {schema}"));
    }
    if let Some(items) = value.as_array() {
        return items.iter().find_map(|item| breach(&schema["items"], item, schemas));
    }
    let fields = value.as_object()?;
    let required = schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap());
    if let Some(missing) = required.into_iter().find(|name| !fields.contains_key(*name)) {
        return Some(format!("{missing} is missing"));
    }
    fields.iter().find_map(|(name, field)| match schema["properties"].get(name) {
        Some(known) => breach(known, field, schemas),
        None if schema["additionalProperties"] == json!(false) => Some(format!("{name} is unknown")),
        None => None,
    })
}

/// Checks that the table has a valid body for every route of the document that takes one, and no other.
async fn check_table(harness: &Harness, bodies: &[(&'static str, u16, Value)]) {
    let document = harness.server.ask("GET", "/api/openapi.json", &[], None).await.json();
    let schemas = &document["components"]["schemas"];
    let mut unnamed: BTreeSet<&str> = bodies.iter().map(|(route, ..)| *route).collect();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if schema.is_null() {
                continue;
            }
            let route = format!("{} {path}", method.to_uppercase());
            let entry = bodies.iter().find(|(known, ..)| *known == route);
            let (_, _, body) = entry.unwrap_or_else(|| panic!("{route} has no body in the table"));
            assert_eq!(breach(schema, body, schemas), None, "{route}");
            unnamed.remove(route.as_str());
        }
    }
    assert!(unnamed.is_empty(), "no route takes these bodies: {unnamed:?}");
}

fn check_answer(answer: &HttpResponse, request: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert!(!text.contains(SECRET), "{request}: {text}");
    let headers = format!("{:?}", answer.headers);
    assert!(!headers.contains(SECRET), "{request}: {headers}");
    assert!(answer.status < 500, "{request}: {} {text}", answer.status);
}

/// Sends every request of the tables, and returns the operator's answers that have another status than the tables.
async fn ask_everything(harness: &Harness, token: &str, role: &str, foreign: &Foreign) -> Vec<String> {
    let (bodies, mut wrong) = (bodies(token), Vec::new());
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("openai-project", "q")];
    for (_, method, path) in rights().into_iter().filter(|(_, _, path)| *path != STREAM) {
        let route = format!("{method} {path}");
        let entry = bodies.iter().find(|(known, ..)| *known == route);
        let body = entry.map(|(_, _, body)| body);
        let answer = harness.server.send(method, &foreign.fill(path), &headers, body).await;
        let request = format!("{role} {route}");
        check_answer(&answer, &request);
        let named = ["agents", "beads", "decisions", "org-charts", "projects", "runs"];
        let is_named = path.contains("{id}") && named.iter().any(|noun| path.contains(noun));
        let wanted = entry.map(|(_, status, _)| *status).or_else(|| is_named.then_some(404));
        if wanted.is_some_and(|status| role == "operator" && answer.status != status) {
            wrong.push(format!("{request}: {} {}", answer.status, answer.json()));
        }
        assert!(!is_named || matches!(answer.status, 403 | 404), "{request}: {}", answer.status);
    }
    for (method, path, status, body) in mixed() {
        let body = Some(&body).filter(|body| !body.is_null());
        let answer = harness.ask_as(token, method, path, body).await;
        let request = format!("{role} {method} {path}");
        check_answer(&answer, &request);
        if role == "operator" && answer.status != status {
            wrong.push(format!("{request} {body:?}: {} {}", answer.status, answer.json()));
        }
    }
    wrong
}

#[tokio::test]
async fn limited_token_gets_no_foreign_data_from_any_route() {
    let harness = Harness::new().await;
    let provider = harness.setup(Script::always(Reply::text(SECRET)), &["a"]).await;
    harness.register("foreign", &provider.url(), crate::harness::KEY).await;
    harness.bead("ours", json!({"defer_until": FAR})).await;
    let foreign = Foreign::create(&harness).await;
    check_table(&harness, &bodies("x")).await;

    let mut tokens = Vec::new();
    for role in ["operator", "agent", "viewer"] {
        let agent = (role == "agent").then_some("a");
        let fields = json!({"name": role, "role": role, "agent_id": agent, "projects": ["p"]});
        tokens.push((role, harness.token(fields).await));
    }
    let url = format!("{}{STREAM}", harness.server.url());
    let mut frames = SseClient::connect(&url, Some(&tokens[0].1), Some("0")).await.unwrap();
    let before = foreign.state(&harness).await;
    for (role, token) in &tokens {
        let wrong = ask_everything(&harness, token, role, &foreign).await;
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    assert_eq!(foreign.state(&harness).await, before);

    harness.ask("PATCH", "beads/ours", Some(&json!({"title": "the last one"}))).await;
    loop {
        let frame = frames.next(TIMEOUT).await.unwrap();
        assert!(!frame.data.contains(SECRET), "{}", frame.data);
        if frame.data.contains("the last one") {
            break;
        }
    }

    // The word would be seen: without the limit it is in the answers.
    let mut seen = 0;
    for (_, _, path) in rights().into_iter().filter(|(_, method, path)| *method == "GET" && *path != STREAM) {
        let answer = harness.server.ask("GET", &foreign.fill(path), &[], None).await;
        seen += usize::from(String::from_utf8_lossy(&answer.body).contains(SECRET));
    }
    assert!(seen >= 15, "an unlimited token sees the word in {seen} answers");
}
