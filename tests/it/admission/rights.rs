//! Rights: each route for every role, within the projects of a token, and on an agent's own beads.

use crate::admission::refusals::problem;
use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{HttpResponse, Script};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The least role of each route.
const RIGHTS: &str = include_str!("rights.txt");
/// The roles in order of their rights, after a request without a token.
const ROLES: [&str; 5] = ["none", "viewer", "agent", "operator", "admin"];

/// Role, method and path of each route.
pub fn rights() -> Vec<(&'static str, &'static str, &'static str)> {
    let lines = RIGHTS.lines().filter(|line| !line.starts_with('#'));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.map(|words| (words[0], words[1], words[2])).collect()
}

impl Harness {
    /// The text of a new token.
    pub async fn token(&self, fields: Value) -> String {
        self.create("tokens", fields).await["token"].as_str().unwrap().to_owned()
    }

    /// Sends a request with this token.
    pub async fn ask_as(&self, token: &str, method: &str, path: &str, json: Option<&Value>) -> HttpResponse {
        let bearer = format!("Bearer {token}");
        self.server.send(method, &format!("/api/v1/{path}"), &[("authorization", &bearer)], json).await
    }
}

#[tokio::test]
async fn route_admits_exactly_the_roles_of_the_table() {
    let harness = Harness::new().await;
    harness.setup(Script::default(), &["a"]).await;
    let document = harness.server.ask("GET", "/api/openapi.json", &[], None).await.json();
    let described: BTreeSet<(String, String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, operations)| {
            operations.as_object().unwrap().iter().map(move |(method, operation)| {
                let role = operation["x-role"].as_str().unwrap().replace("public", "none");
                (role, method.to_uppercase(), path.clone())
            })
        })
        .collect();
    let wanted: BTreeSet<_> =
        rights().into_iter().map(|(r, m, p)| (r.to_owned(), m.to_owned(), p.to_owned())).collect();
    assert_eq!(described, wanted);

    let rank = |role: &str| ROLES.iter().position(|known| *known == role).unwrap();
    let mut shown = vec![Vec::new()];
    for role in &ROLES[1..] {
        let agent = (*role == "agent").then_some("a");
        let token = harness.token(json!({"name": role, "role": role, "agent_id": agent})).await;
        shown.push(vec![("authorization".to_owned(), format!("Bearer {token}"))]);
    }
    for (role, headers) in ROLES.iter().zip(&shown) {
        for (least, method, path) in rights() {
            let filled = path.replace('{', "no-").replace('}', "");
            // The stream would not end.
            let query = if path.ends_with("/stream") { "?last_event_id=none" } else { "" };
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let body = json!({});
            let body = matches!(method, "POST" | "PUT" | "PATCH").then_some(&body);
            let answer = harness.server.send(method, &format!("{filled}{query}"), &headers, body).await;
            let said = format!("{role} {method} {path}: {} {}", answer.status, answer.json());
            match (*role, rank(role) >= rank(least)) {
                (_, true) => assert!(!matches!(answer.status, 401 | 403) && answer.status < 500, "{said}"),
                ("none", false) => assert_eq!(answer.status, 401, "{said}"),
                (_, false) if path.starts_with("/v1/") => {
                    assert_eq!(
                        (answer.status, &answer.json()["error"]["code"]),
                        (403, &json!("forbidden")),
                        "{said}"
                    );
                }
                (_, false) => {
                    problem(&answer, 403, "forbidden");
                    assert!(answer.json()["detail"].as_str().unwrap().contains(least), "{said}");
                }
            }
        }
    }
}

#[tokio::test]
async fn agent_token_acts_only_on_its_own_claims_and_beads() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    for id in ["mine", "other"] {
        let agent = json!({"id": id, "name": id, "project_id": "p", "kind": "external"});
        harness.create("agents", agent).await;
    }
    let token = harness.token(json!({"name": "cli", "role": "agent", "agent_id": "mine"})).await;
    for id in ["one", "two", "three"] {
        harness.bead(id, json!({})).await;
    }
    let lease = harness.act("beads/two/claim", json!({"agent_id": "other"})).await["lease"]["token"].clone();
    let act = async |path: &str, body: Value| harness.ask_as(&token, "POST", path, Some(&body)).await;

    // The bead of another agent, even with that agent's lease, and a bead without an agent.
    for bead in ["two", "three"] {
        for (action, body) in [
            ("complete", json!({"summary": "s", "lease_token": lease})),
            ("close", json!({"reason": "r", "lease_token": lease})),
            ("block", json!({"reason": "r", "lease_token": lease})),
            ("release", json!({"lease_token": lease})),
            ("heartbeat", json!({"lease_token": lease})),
            ("dependencies", json!({"depends_on": "one", "lease_token": lease})),
        ] {
            problem(&act(&format!("beads/{bead}/{action}"), body).await, 403, "forbidden");
        }
        let patch = json!({"title": "t", "lease_token": lease});
        let patched = harness.ask_as(&token, "PATCH", &format!("beads/{bead}"), Some(&patch)).await;
        problem(&patched, 403, "forbidden");
        let question = json!({"project_id": "p", "bead_id": bead, "question": "May I?"});
        problem(&act("decisions", question).await, 403, "forbidden");
    }
    problem(&act("beads/one/claim", json!({"agent_id": "other"})).await, 403, "forbidden");
    problem(
        &act("beads/one/comments", json!({"comment": "c", "author_id": "other"})).await,
        403,
        "forbidden",
    );

    // Its own.
    let claimed = act("beads/one/claim", json!({})).await;
    assert_eq!(claimed.status, 200, "{}", claimed.json());
    problem(&act("beads/one/complete", json!({"summary": "s"})).await, 422, "invalid");
    let wrong = json!({"summary": "s", "lease_token": lease});
    problem(&act("beads/one/complete", wrong).await, 409, "stale-lease");
    let own = claimed.json()["lease"]["token"].clone();
    assert_eq!(act("beads/one/heartbeat", json!({"lease_token": own})).await.status, 200);
    assert_eq!(act("beads/two/comments", json!({"comment": "look"})).await.status, 201);
    assert_eq!(act("beads", json!({"title": "t", "project_id": "p"})).await.status, 201);
    assert_eq!(act("decisions", json!({"project_id": "p", "question": "Why?"})).await.status, 201);
    let done = act("beads/one/complete", json!({"summary": "s", "lease_token": own})).await;
    assert_eq!(done.json()["status"], "closed", "{}", done.json());

    // What it did says who did it, by which token, and from where.
    let history = harness.get("beads/one/history?limit=1000").await;
    let closed = history.as_array().unwrap().iter().find(|event| event["type"] == "bead.completed").unwrap();
    let id = harness.ask_as(&token, "GET", "whoami", None).await.json()["token_id"].clone();
    assert_eq!(closed["actor"], "mine");
    assert_eq!(closed["origin"], json!({"address": "127.0.0.1", "token_id": id}));
}

#[tokio::test]
async fn project_token_neither_sees_nor_changes_other_projects() {
    const SECRET: &str = "xylophone";
    let harness = Harness::new().await;
    harness.setup(Script::default(), &["a"]).await;
    harness.create("projects", json!({"id": "q", "name": SECRET})).await;
    let agent = json!({"id": "b", "name": SECRET, "provider_id": "scripted", "project_id": "q",
        "status": "inactive"});
    harness.create("agents", agent).await;
    harness.bead("ours", json!({"defer_until": "2099-01-01T00:00:00Z"})).await;
    let theirs = json!({"id": "theirs", "title": SECRET, "project_id": "q", "tags": [SECRET],
        "defer_until": "2099-01-01T00:00:00Z"});
    harness.create("beads", theirs).await;
    harness.create("beads/theirs/comments", json!({"comment": SECRET})).await;
    harness.create("projects/q/comments", json!({"comment": SECRET})).await;
    let asked = harness.create("decisions", json!({"project_id": "q", "question": SECRET})).await;
    let (decision, projects) = (asked["id"].as_str().unwrap(), json!(["p"]));

    let viewer = harness.token(json!({"name": "v", "role": "viewer", "projects": projects})).await;
    let mut frames = {
        let url = format!("{}/api/v1/events/stream", harness.server.url());
        arbiter_testkit::SseClient::connect(&url, Some(&viewer), Some("0")).await.unwrap()
    };
    for (_, _, path) in rights().into_iter().filter(|(role, method, _)| *role == "viewer" && *method == "GET")
    {
        if path.ends_with("/stream") || path.ends_with("/models") || path == "/metrics" {
            continue;
        }
        let theirs = match path.split('/').nth(3).unwrap_or_default() {
            "beads" => "theirs",
            "agents" => "b",
            "projects" => "q",
            "decisions" => decision,
            _ => "scripted",
        };
        let headers = format!("Bearer {viewer}");
        let path = path.replace("{id}", theirs);
        let answer = harness.server.send("GET", &path, &[("authorization", &headers)], None).await;
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains(SECRET) && !text.contains("\"theirs\""), "{path}: {text}");
        let named = path.contains("/theirs")
            || path.ends_with("/b")
            || path.contains("/q")
            || path.contains(decision);
        if named {
            problem(&answer, 404, "not-found");
        }
    }
    let listed = harness.ask_as(&viewer, "GET", "beads", None).await;
    assert_eq!((listed.json()[0]["id"].as_str(), listed.header("x-total-count")), (Some("ours"), "1"));
    let other = harness.ask_as(&viewer, "GET", "beads?project_id=q", None).await;
    assert_eq!(other.json(), json!([]));

    // Nothing of the other project is streamed, from the log or live.
    harness.ask("PATCH", "beads/theirs", Some(&json!({"title": "xylophone 2"}))).await;
    harness.ask("PATCH", "beads/ours", Some(&json!({"title": "the last one"}))).await;
    loop {
        let frame = frames.next(TIMEOUT).await.unwrap();
        assert!(!frame.data.contains(SECRET), "{}", frame.data);
        if frame.data.contains("the last one") {
            break;
        }
    }

    let operator = harness.token(json!({"name": "o", "role": "operator", "projects": projects})).await;
    let ask = async |method: &str, path: &str, body: Value| {
        harness.ask_as(&operator, method, path, Some(&body).filter(|body| !body.is_null())).await
    };
    let created = ask("POST", "beads", json!({"title": "t", "project_id": "p"})).await;
    assert_eq!(created.status, 201, "{}", created.json());
    for (method, path, body) in [
        ("POST", "beads", json!({"title": "t", "project_id": "q"})),
        ("PATCH", "beads/ours", json!({"project_id": "q"})),
        ("POST", "decisions", json!({"question": "?", "project_id": "q"})),
        ("POST", "agents", json!({"name": "x", "provider_id": "scripted", "project_id": "q"})),
        ("POST", "agents", json!({"name": "x", "provider_id": "scripted"})),
        ("POST", "projects", json!({"name": "x"})),
        ("POST", "system/park", json!({"reason": "x"})),
        ("POST", "events", json!({"message": "x"})),
        ("POST", "providers", json!({"name": "x", "type": "custom", "endpoint": "http://127.0.0.1:1"})),
        ("DELETE", "providers/scripted", Value::Null),
    ] {
        problem(&ask(method, path, body).await, 403, "forbidden");
    }
    for (method, path, body) in [
        ("PATCH", "beads/theirs", json!({"title": "x"})),
        ("DELETE", "beads/theirs", Value::Null),
        ("POST", "beads/ours/dependencies", json!({"depends_on": "theirs"})),
        ("PATCH", "beads/ours", json!({"related_to": ["theirs"]})),
        ("POST", "beads", json!({"title": "t", "project_id": "p", "parent": "theirs"})),
        ("POST", "beads/theirs/close", json!({"reason": "x"})),
        ("POST", "agents/a/assign", json!({"bead_id": "theirs"})),
        ("POST", "agents/b/restart", Value::Null),
        ("DELETE", "projects/q", Value::Null),
        ("POST", &format!("decisions/{decision}/decide"), json!({"decision": "x"})),
    ] {
        problem(&ask(method, path, body).await, 404, "not-found");
    }
    let admin = json!({"name": "x", "role": "admin", "projects": ["p"]});
    problem(&harness.ask("POST", "tokens", Some(&admin)).await, 422, "invalid");
    let unknown = json!({"name": "x", "role": "viewer", "projects": ["nowhere"]});
    problem(&harness.ask("POST", "tokens", Some(&unknown)).await, 422, "invalid");
}

/// The essence of a content type.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

#[tokio::test]
async fn answers_have_only_documented_content_types() {
    let harness = Harness::new().await;
    let _provider = harness.setup(Script::default(), &["a"]).await;
    harness.bead("b", json!({"defer_until": "2099-01-01T00:00:00Z"})).await;
    let document = harness.server.ask("GET", "/api/openapi.json", &[], None).await.json();
    let check = |method: &str, path: &str, status: u16, found: &str| {
        let responses = &document["paths"][path][method]["responses"];
        let mut response = match &responses[status.to_string()] {
            Value::Null => &responses["default"],
            known => known,
        };
        if let Some(named) = response["$ref"].as_str() {
            response = document.pointer(named.trim_start_matches('#')).unwrap();
        }
        let types: Vec<&str> =
            response["content"].as_object().into_iter().flatten().map(|(name, _)| essence(name)).collect();
        assert!(
            types.contains(&essence(found)),
            "{method} {path} answered {status} with {found:?}, not {types:?}"
        );
    };
    let paths = document["paths"].as_object().unwrap();
    for path in paths.iter().filter(|(_, known)| known["get"].is_object()).map(|(path, _)| path) {
        let id = match path.split('/').nth(3).unwrap_or_default() {
            "beads" => "b",
            "agents" => "a",
            "projects" => "p",
            "providers" => "scripted",
            _ => "unknown",
        };
        let filled = path.replace("{id}", id).replace("{*", "no-").replace('{', "no-").replace('}', "");
        if path.ends_with("/stream") {
            continue;
        }
        let answer = harness.server.ask("GET", &filled, &[], None).await;
        check("get", path, answer.status, answer.header("content-type"));
    }
    let stream = harness.chat_streaming("auto").await;
    check("post", "/v1/chat/completions", 200, stream.headers["content-type"].to_str().unwrap());
    for (path, filled, body) in [
        ("/v1/chat/completions", "/v1/chat/completions", json!({"model": "none", "messages": []})),
        ("/api/v1/repl", "/api/v1/repl", json!({"message": "Hello", "stream": true})),
        ("/api/v1/projects/{id}/export", "/api/v1/projects/p/export", json!({})),
    ] {
        let answer = harness.server.ask("POST", filled, &[], Some(&body)).await;
        check("post", path, answer.status, answer.header("content-type"));
    }
    for format in ["dot", "mermaid"] {
        let graph =
            harness.server.ask("GET", &format!("/api/v1/work-graph?format={format}"), &[], None).await;
        check("get", "/api/v1/work-graph", 200, graph.header("content-type"));
    }
}

#[tokio::test]
async fn limited_token_neither_sees_nor_uses_what_is_foreign() {
    let harness = Harness::new().await;
    let _provider = harness.setup(Script::default(), &["own"]).await;
    harness.create("projects", json!({"id": "q", "name": "q"})).await;
    harness.create("agents", json!({"id": "of-all", "name": "a", "provider_id": "scripted"})).await;
    harness.bead("ours", json!({"defer_until": "2099-01-01T00:00:00Z"})).await;
    let theirs = json!({"id": "theirs", "title": "t", "project_id": "q", "blocked_by": ["ours"]});
    harness.create("beads", theirs).await;
    harness
        .create("beads", json!({"id": "their-child", "title": "t", "project_id": "q", "parent": "ours"}))
        .await;
    harness.bead("our-child", json!({"parent": "ours", "defer_until": "2099-01-01T00:00:00Z"})).await;
    let operator = harness.token(json!({"name": "o", "role": "operator", "projects": ["p"]})).await;
    let ask = async |method: &str, path: &str, body: Value| {
        harness.ask_as(&operator, method, path, Some(&body).filter(|body| !body.is_null())).await
    };
    let seen = harness.get("beads/ours").await;
    assert_eq!(
        (&seen["blocks"], seen["children"].as_array().unwrap().len()),
        (&json!(["theirs"]), 2),
        "{seen}"
    );
    for (method, path, body) in [
        ("GET", "beads/ours", Value::Null),
        ("GET", "beads", Value::Null),
        ("GET", "work-graph", Value::Null),
        ("PATCH", "beads/ours", json!({"title": "Ours"})),
        ("POST", "beads/ours/block", json!({"reason": "r"})),
    ] {
        let answer = ask(method, path, body).await;
        let text = answer.json().to_string();
        assert_eq!(answer.status, 200, "{method} {path}: {text}");
        assert!(text.contains("our-child") && !text.contains("their"), "{method} {path}: {text}");
    }

    let work = |agent: &str| json!({"agent_id": agent, "project_id": "p", "prompt": "Hello"});
    problem(&ask("POST", "work", work("of-all")).await, 403, "forbidden");
    assert_eq!(ask("POST", "work", work("own")).await.status, 200);
    assert_eq!(harness.ask("POST", "work", Some(&work("of-all"))).await.status, 200);

    let message =
        |subject: &str, project: &str| json!({"message": "m", "subject": subject, "project_id": project});
    for foreign in ["theirs", "q", "of-all", "scripted"] {
        let refused = problem(&ask("POST", "events", message(foreign, "p")).await, 422, "invalid");
        assert_eq!(refused["errors"][0]["pointer"], "/subject", "{foreign}");
    }
    problem(&harness.ask("POST", "events", Some(&message("theirs", "p"))).await, 422, "invalid");
    for own in ["ours", "p", "own", "a word"] {
        assert_eq!(ask("POST", "events", message(own, "p")).await.status, 201, "{own}");
    }
    let history = harness.get("beads/theirs/history").await;
    assert!(!history.to_string().contains("log.message"), "{history}");

    let agent = harness.token(json!({"name": "t", "role": "agent", "agent_id": "own"})).await;
    harness
        .bead("held", json!({"assigned_to": "own", "tags": ["role:dig", "red"], "blocked_by": ["ours"]}))
        .await;
    for (tags, status) in [
        (json!(["role:paint", "red"]), 403),
        (json!(["red"]), 403),
        (json!(["role:dig", "role:paint"]), 403),
        (json!(["blue", "role:dig"]), 200),
    ] {
        let answer = harness.ask_as(&agent, "PATCH", "beads/held", Some(&json!({"tags": tags}))).await;
        assert_eq!(answer.status, status, "{tags}: {}", answer.json());
    }
}
