//! Requests that a running server refuses, each with its status and one clear reason.

use crate::harness::{Harness, KEY, TIMEOUT};
use arbiter_testkit::{HttpResponse, Script, send_text};
use serde_json::{Value, json};

/// The `type` of a problem, with its status and its detail checked.
pub fn problem(answer: &HttpResponse, status: u16, kind: &str) -> Value {
    let problem = answer.json();
    assert_eq!((answer.status, problem["type"].as_str()), (status, Some(kind)), "{problem}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(problem["status"], status);
    for field in ["title", "detail", "request_id"] {
        assert!(!problem[field].as_str().unwrap().is_empty(), "{field}: {problem}");
    }
    assert_eq!(answer.header("x-request-id"), problem["request_id"].as_str().unwrap());
    problem
}

impl Harness {
    /// A request that must be refused.
    async fn refused(&self, method: &str, path: &str, json: Value, status: u16, kind: &str) -> Value {
        let answer = self.ask(method, path, Some(&json).filter(|json| !json.is_null())).await;
        problem(&answer, status, kind)
    }

    /// A `POST` of this text as this content type.
    async fn post_text(&self, path: &str, content_type: &str, text: String) -> HttpResponse {
        let bearer = format!("Bearer {}", self.server.token().unwrap());
        let headers = [("authorization", bearer.as_str()), ("content-type", content_type)];
        let url = format!("{}/api/v1/{path}", self.server.url());
        send_text("POST", &url, &headers, text).await.unwrap()
    }
}

#[tokio::test]
async fn invalid_body_is_refused_and_changes_nothing() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let before = harness.get("events/stats").await["last_seq"].clone();
    let twice = "{\"title\": \"t\", \"project_id\": \"p\"} {}";
    for text in ["{\"title\": ", "", "nothing", twice] {
        let answer = harness.post_text("beads", "application/json", text.to_owned()).await;
        problem(&answer, 400, "malformed-json");
    }
    let answer = harness.post_text("beads", "text/plain", "{}".to_owned()).await;
    problem(&answer, 415, "media-type");
    let large = json!({"title": "t", "project_id": "p", "description": "x".repeat(1 << 20)});
    harness.refused("POST", "beads", large, 413, "too-large").await;

    let invalid = async |method: &str, path: &str, body: Value, pointer: &str| {
        let problem = harness.refused(method, path, body, 422, "invalid").await;
        let pointers: Vec<&str> =
            problem["errors"].as_array().unwrap().iter().filter_map(|e| e["pointer"].as_str()).collect();
        assert_eq!(pointers, [pointer], "{problem}");
    };
    let bead = |name: &str, value: Value| json!({"title": "t", "project_id": "p", name: value});
    invalid("POST", "beads", bead("colour", json!("red")), "/colour").await;
    invalid("POST", "beads", bead("status", json!("closed")), "/status").await;
    invalid("POST", "beads", bead("closed_at", json!("2026-01-01T00:00:00Z")), "/closed_at").await;
    invalid("POST", "beads", bead("type", json!("novel")), "/type").await;
    invalid("POST", "beads", bead("priority", json!(5)), "/priority").await;
    invalid("POST", "beads", bead("priority", json!("high")), "/priority").await;
    invalid("POST", "beads", bead("tags", json!(["a", 1])), "/tags/1").await;
    invalid("POST", "beads", bead("id", json!("No Such Id!")), "/id").await;
    invalid("POST", "beads", json!({"project_id": "p"}), "/title").await;
    invalid("POST", "beads", json!({"title": "t", "project_id": "nowhere"}), "/project_id").await;
    invalid("POST", "agents", json!({"name": "a", "provider_id": "nobody"}), "/provider_id").await;
    invalid(
        "POST",
        "providers",
        json!({"name": "n", "type": "openai", "endpoint": "http://127.0.0.1:1", "requires_key": true}),
        "/requires_key",
    )
    .await;
    assert_eq!(harness.get("events/stats").await["last_seq"], before, "nothing has happened");
}

#[tokio::test]
async fn unknown_path_method_or_query_is_refused_precisely() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    for path in ["beads/x", "agents/x", "providers/x", "projects/x", "decisions/x", "runs/x", "beads/x/why"] {
        let problem = harness.refused("GET", path, Value::Null, 404, "not-found").await;
        assert!(problem["detail"].as_str().unwrap().contains('x'), "{problem}");
    }
    harness.refused("POST", "beads/x/close", json!({"reason": "r"}), 404, "not-found").await;
    harness.refused("GET", "no/such/route", Value::Null, 404, "not-found").await;
    let answer = harness.ask("PUT", "beads", Some(&json!({}))).await;
    problem(&answer, 405, "method-not-allowed");
    let allowed: Vec<&str> = answer.header("allow").split(", ").collect();
    assert!(
        allowed.contains(&"GET") && allowed.contains(&"POST") && !allowed.contains(&"PUT"),
        "{allowed:?}"
    );
    for query in ["beads?colour=red", "beads?limit=1001", "beads?limit=0", "beads?status=gone", "health?x=1"]
    {
        harness.refused("GET", query, Value::Null, 400, "bad-query").await;
    }
}

#[tokio::test]
async fn request_without_valid_token_host_or_origin_is_refused() {
    let harness = Harness::new().await;
    let server = &harness.server;
    let none = server.send("GET", "/api/v1/beads", &[], None).await;
    problem(&none, 401, "unauthorized");
    assert!(none.header("www-authenticate").starts_with("Bearer"));
    for (name, value) in
        [("authorization", "Bearer arb_wrong"), ("x-api-key", "wrong"), ("authorization", "Basic eA==")]
    {
        problem(&server.send("GET", "/api/v1/beads", &[(name, value)], None).await, 401, "unauthorized");
    }
    let own = server.send("GET", "/api/v1/beads", &[("x-api-key", server.token().unwrap())], None).await;
    assert_eq!(own.status, 200);
    assert_eq!(
        server.send("GET", "/api/v1/health/live", &[], None).await.status,
        200,
        "health needs no token"
    );

    let rebound = server.ask("GET", "/api/v1/beads", &[("host", "evil.example")], None).await;
    problem(&rebound, 421, "misdirected");
    let port = server.url().rsplit(':').next().unwrap();
    let local = server.ask("GET", "/api/v1/beads", &[("host", &format!("localhost:{port}"))], None).await;
    assert_eq!(local.status, 200);
    let foreign = [("origin", "https://evil.example")];
    let crossed = server.ask("POST", "/api/v1/projects", &foreign, Some(&json!({"name": "n"}))).await;
    problem(&crossed, 403, "cross-site");
}

#[tokio::test]
async fn forbidden_transition_is_refused_and_names_the_state() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.create("agents", json!({"id": "ext", "name": "Ext", "kind": "external"})).await;
    harness.bead("one", json!({})).await;
    harness.bead("two", json!({"blocked_by": ["one"]})).await;
    let unready =
        harness.refused("POST", "beads/two/claim", json!({"agent_id": "ext"}), 409, "not-ready").await;
    assert!(unready["detail"].as_str().unwrap().contains("one"), "{unready}");
    let claimed = harness.act("beads/one/claim", json!({"agent_id": "ext"})).await;
    let token = claimed["lease"]["token"].as_str().unwrap();
    harness.refused("POST", "beads/one/heartbeat", json!({"lease_token": "old"}), 409, "stale-lease").await;
    harness
        .refused(
            "POST",
            "beads/one/complete",
            json!({"summary": "s", "lease_token": "old"}),
            409,
            "stale-lease",
        )
        .await;
    harness.act("beads/one/complete", json!({"summary": "s", "lease_token": token})).await;
    let twice =
        harness.refused("POST", "beads/one/close", json!({"reason": "again"}), 409, "transition").await;
    assert!(twice["detail"].as_str().unwrap().contains("closed"), "{twice}");
    let cycle = json!({"depends_on": "two", "type": "blocks"});
    let cycle = harness.refused("POST", "beads/one/dependencies", cycle, 409, "dependency-cycle").await;
    assert!(cycle["detail"].as_str().unwrap().contains("two"), "{cycle}");
    harness.refused("POST", "projects", json!({"id": "p", "name": "P"}), 409, "exists").await;
    harness.refused("POST", "agents/ext/status", json!({"status": "working"}), 409, "assign-a-bead").await;
    let deleted = harness.refused("DELETE", "projects/p", Value::Null, 409, "in-use").await;
    assert!(deleted["detail"].as_str().unwrap().contains("cascade"), "{deleted}");
}

#[tokio::test]
async fn bead_with_priority_0_keeps_it_and_waits_for_approval() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.create("agents", json!({"id": "ext", "name": "Ext", "kind": "external"})).await;
    assert_eq!(harness.bead("urgent", json!({"priority": 0})).await["priority"], 0);
    assert_eq!(harness.bead("usual", json!({})).await["priority"], 2);
    assert_eq!(harness.get("beads/urgent").await["priority"], 0);
    assert_eq!(harness.get("beads?priority=0").await[0]["id"], "urgent");
    let answer = harness.ask("PATCH", "beads/usual", Some(&json!({"priority": 0}))).await;
    assert_eq!((answer.status, &answer.json()["priority"]), (200, &json!(0)));
    // The dispatcher files a decision, so the bead waits for that; before, it is not approved.
    harness.wait_for_decision_about("urgent").await;
    harness.refused("POST", "beads/urgent/claim", json!({"agent_id": "ext"}), 409, "not-ready").await;
}

#[tokio::test]
async fn update_with_stale_etag_is_refused() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.bead("b", json!({})).await;
    let path = "/api/v1/beads/b";
    let tag = harness.server.ask("GET", path, &[], None).await.header("etag").to_owned();
    assert!(!tag.is_empty());
    let title = |text: &str| json!({"title": text});
    let condition = [("if-match", tag.as_str())];
    assert_eq!(harness.server.ask("PATCH", path, &condition, Some(&title("first"))).await.status, 200);
    let late = harness.server.ask("PATCH", path, &condition, Some(&title("second"))).await;
    problem(&late, 412, "precondition-failed");
    assert_eq!(harness.get("beads/b").await["title"], "first");
    let odd = harness.server.ask("PATCH", path, &[("if-match", "yesterday")], Some(&title("third"))).await;
    problem(&odd, 400, "bad-header");
}

#[tokio::test]
async fn unreachable_provider_is_unhealthy_and_its_beads_wait() {
    let harness = Harness::new().await;
    // A port that was free a moment ago and where nothing listens.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let new = json!({"id": "gone", "name": "Gone", "type": "openai", "endpoint": format!("http://{gone}"), "api_key": KEY});
    harness.create("providers", new).await;
    let provider = harness.wait_until("providers/gone", |provider| provider["status"] != "pending").await;
    assert_eq!(provider["status"], "unhealthy", "{provider}");
    assert!(!provider["last_heartbeat_error"].as_str().unwrap().is_empty(), "{provider}");
    harness.create("agents", json!({"id": "a", "name": "A", "provider_id": "gone", "project_id": "p"})).await;
    harness.bead("b", json!({})).await;
    let why = harness.get("beads/b/why").await;
    assert!(why["reasons"].to_string().contains("the provider cannot be called"), "{why}");
    assert_eq!(harness.get("beads/b").await["status"], "open");
    assert_eq!(harness.get("beads/b").await["attempts"], 0, "waiting is no attempt");
    // It comes back, and the bead moves by itself.
    let listening = arbiter_testkit::ScriptedProvider::start(Script::default().requiring_key(KEY));
    let moved = harness.ask("PATCH", "providers/gone", Some(&json!({"endpoint": listening.url()}))).await;
    assert_eq!(moved.status, 200, "{}", moved.json());
    harness.act("providers/gone/heartbeat", Value::Null).await;
    harness.wait_for_bead_status("b", "closed").await;
}

#[tokio::test]
async fn locked_vault_stores_no_key_and_stops_agents() {
    let harness = Harness::new().await;
    let provider = harness.setup(Script::default(), &["a"]).await;
    harness.act("vault/lock", Value::Null).await;
    let new = json!({"id": "n", "name": "N", "type": "openai", "endpoint": provider.url(), "api_key": KEY});
    harness.refused("POST", "providers", new, 423, "vault-locked").await;
    harness.refused("GET", "providers/n", Value::Null, 404, "not-found").await;
    harness.bead("b", json!({})).await;
    let why = harness.get("beads/b/why").await;
    assert!(why["reasons"].to_string().contains("provider"), "{why}");
    harness.refused("POST", "vault/unlock", json!({"password": "wrong"}), 403, "wrong-password").await;
    assert_eq!(harness.get("vault").await["state"], "locked");
    assert_eq!(provider.chat_count(), 0);
    let mut events = harness.stream("?type=vault.unlocked", None).await;
    let password = json!({"password": arbiter_testkit::TEST_PASSWORD});
    harness.act("vault/unlock", password).await;
    events.next(TIMEOUT).await.unwrap();
    harness.wait_for_bead_status("b", "closed").await;
}
