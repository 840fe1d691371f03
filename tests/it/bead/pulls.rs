//! Pulls: external agents ask for the next bead and wait for it. `pulls_lost.rs` holds agents that disappear.

use crate::admission::refusals::problem;
use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{HttpResponse, Reply, Script};
use serde_json::{Value, json};
use tokio::time::timeout;

impl Harness {
    /// An external agent of this id with these fields besides.
    pub async fn create_external_agent(&self, id: &str, fields: Value) {
        let mut agent = json!({"id": id, "name": id, "kind": "external"});
        for (name, value) in fields.as_object().unwrap() {
            agent[name] = value.clone();
        }
        self.create("agents", agent).await;
    }

    /// Asks for the next bead.
    pub async fn pull(&self, body: Value) -> HttpResponse {
        self.ask("POST", "beads/claim", Some(&body)).await
    }

    /// The id of the next bead; none when there is none.
    pub async fn pull_id(&self, body: Value) -> Option<String> {
        let answer = self.pull(body).await;
        match answer.status {
            200 => Some(answer.json()["bead"]["id"].as_str().unwrap().to_owned()),
            204 => None,
            _ => panic!("{}", answer.json()),
        }
    }

    /// Looks until so many requests wait for a bead.
    pub async fn wait_for_waiters(&self, count: usize) {
        let wanted = format!("arbiter_beads_awaited {count}");
        let looking = async {
            loop {
                let metrics = self.server.ask("GET", "/metrics", &[], None).await;
                if String::from_utf8_lossy(&metrics.body).lines().any(|line| line == wanted) {
                    return;
                }
            }
        };
        timeout(TIMEOUT, looking).await.unwrap_or_else(|_| panic!("{wanted} was never so"));
    }
}

#[tokio::test]
async fn claim_next_follows_dispatcher_order_and_rules() {
    let harness = Harness::new().await;
    for id in ["p", "q"] {
        harness.create("projects", json!({"id": id, "name": id})).await;
    }
    harness.create_external_agent("any", json!({})).await;
    harness.create_external_agent("painter", json!({"role": "paint", "project_id": "p"})).await;
    let next = async |agent: &str, more: Value| {
        let mut body = json!({"agent_id": agent});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let found = harness.pull_id(body).await;
        if let Some(bead) = &found {
            harness.act(&format!("beads/{bead}/close"), json!({"reason": "seen"})).await;
        }
        found.unwrap_or_else(|| "nothing".to_owned())
    };
    assert_eq!(next("any", json!({})).await, "nothing");
    harness.bead("first", json!({})).await;
    harness.bead("second", json!({"blocked_by": ["first"]})).await;
    harness.bead("low", json!({"priority": 3})).await;
    harness.bead("high", json!({"priority": 1})).await;
    harness.bead("epic", json!({"type": "epic", "priority": 1})).await;
    harness.bead("later", json!({"priority": 1, "defer_until": "2999-01-01T00:00:00Z"})).await;
    harness.bead("paint", json!({"priority": 1, "tags": ["role:paint", "red"]})).await;
    harness.bead("meant", json!({"priority": 1, "assigned_to": "painter"})).await;
    harness
        .create("beads", json!({"id": "far", "title": "Far", "project_id": "q", "tags": ["red", "wet"]}))
        .await;
    // By role, by name, by project, by tags.
    assert_eq!(next("any", json!({"tags": ["red"]})).await, "far");
    assert_eq!(next("any", json!({"tags": ["red", "wet"]})).await, "nothing");
    assert_eq!(next("painter", json!({"project_id": "q"})).await, "nothing");
    assert_eq!(next("painter", json!({"tags": ["red"]})).await, "paint");
    assert_eq!(next("any", json!({"project_id": "q"})).await, "nothing");
    assert_eq!(next("any", json!({})).await, "high");
    assert_eq!(next("painter", json!({})).await, "meant");
    assert_eq!(next("any", json!({})).await, "first");
    assert_eq!(next("any", json!({})).await, "second");
    assert_eq!(next("any", json!({})).await, "low");
    assert_eq!(next("any", json!({})).await, "nothing");

    // Approval, a parked project, a limit, a parked system.
    harness.bead("critical", json!({"priority": 0})).await;
    assert_eq!(next("any", json!({})).await, "nothing");
    let asked = harness.wait_for_decision_about("critical").await;
    harness.act(&format!("decisions/{asked}/decide"), json!({"decision": "approve"})).await;
    harness.act("projects/p/park", json!({"reason": "audit"})).await;
    assert_eq!(next("any", json!({})).await, "nothing");
    harness.act("projects/p/resume", Value::Null).await;
    let limit = json!({"max_parallel": 1});
    assert_eq!(harness.ask("PATCH", "projects/p", Some(&limit)).await.status, 200);
    harness.bead("held", json!({})).await;
    harness.act("beads/held/claim", json!({"agent_id": "painter"})).await;
    assert_eq!(next("any", json!({})).await, "nothing");
    harness.act("beads/held/close", json!({"reason": "seen"})).await;
    harness.act("system/park", json!({"reason": "night"})).await;
    assert_eq!(next("any", json!({})).await, "nothing");
    harness.act("system/resume", Value::Null).await;
    assert_eq!(next("any", json!({})).await, "critical");
}

#[tokio::test]
async fn claim_next_refusal_names_its_reason() {
    let harness = Harness::new().await;
    harness.setup(Script::always(Reply::text("Done.")), &["llm"]).await;
    for id in ["mine", "other"] {
        harness.create_external_agent(id, json!({"project_id": "p"})).await;
    }
    harness.create_external_agent("any", json!({})).await;
    for (body, pointer) in [
        (json!({}), "/agent_id"),
        (json!({"agent_id": "nobody"}), "/agent_id"),
        (json!({"agent_id": "llm"}), "/agent_id"),
        (json!({"agent_id": "mine", "project_id": "none"}), "/project_id"),
        (json!({"agent_id": "mine", "wait_sec": 61}), "/wait_sec"),
        (json!({"agent_id": "mine", "wait_sec": -1}), "/wait_sec"),
        (json!({"agent_id": "mine", "ttl_sec": 5}), "/ttl_sec"),
        (json!({"agent_id": "mine", "colour": "red"}), "/colour"),
    ] {
        let told = problem(&harness.pull(body.clone()).await, 422, "invalid");
        assert_eq!(told["errors"][0]["pointer"], pointer, "{body}: {told}");
    }
    let token = harness.token(json!({"name": "t", "role": "agent", "agent_id": "mine"})).await;
    let act = async |path: &str, body: Value| harness.ask_as(&token, "POST", path, Some(&body)).await;
    problem(&act("beads/claim", json!({"agent_id": "other"})).await, 403, "forbidden");
    assert_eq!(act("beads/claim", json!({})).await.status, 204);
    harness.act("system/park", json!({"reason": "so that no other agent takes it"})).await;
    harness.bead("one", json!({"assigned_to": "mine"})).await;
    harness.act("system/resume", Value::Null).await;
    let claimed = act("beads/claim", json!({"ttl_sec": 30})).await;
    assert_eq!((claimed.status, &claimed.json()["bead"]["assigned_to"]), (200, &json!("mine")));
    // It has one: no more before that is done.
    problem(&act("beads/claim", json!({})).await, 409, "transition");
    let lease = claimed.json()["lease"]["token"].clone();
    let renewed = act("beads/one/heartbeat", json!({"lease_token": lease})).await;
    assert_eq!((renewed.status, &renewed.json()["token"]), (200, &lease));
    let done = act("beads/one/complete", json!({"summary": "s", "lease_token": lease})).await;
    assert_eq!(done.json()["status"], "closed", "{}", done.json());
    harness.act("agents/mine/shutdown", Value::Null).await;
    problem(&act("beads/claim", json!({})).await, 409, "transition");

    let limited = harness.token(json!({"name": "l", "role": "operator", "projects": ["p"]})).await;
    harness.create("projects", json!({"id": "q", "name": "Q"})).await;
    let ask = async |body: Value| harness.ask_as(&limited, "POST", "beads/claim", Some(&body)).await;
    problem(&ask(json!({"agent_id": "any"})).await, 403, "forbidden");
    problem(&ask(json!({"agent_id": "other", "project_id": "q"})).await, 403, "forbidden");
    assert_eq!(ask(json!({"agent_id": "other"})).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claim_next_waiters_wake_in_fifo_order() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    for id in ["a", "b"] {
        harness.create_external_agent(id, json!({})).await;
    }
    let first = harness.pull_id(json!({"agent_id": "a", "wait_sec": 60}));
    let second = async {
        harness.wait_for_waiters(1).await;
        harness.pull_id(json!({"agent_id": "b", "wait_sec": 60})).await
    };
    let make = async {
        harness.wait_for_waiters(2).await;
        harness.bead("one", json!({})).await;
        harness.wait_for_waiters(1).await;
        harness.bead("two", json!({})).await;
    };
    let (one, two, ()) = tokio::join!(first, second, make);
    assert_eq!((one.as_deref(), two.as_deref()), (Some("one"), Some("two")));
    for bead in ["one", "two"] {
        harness.act(&format!("beads/{bead}/close"), json!({"reason": "seen"})).await;
    }
    // The end of a pause is no event, and ends a wait as well.
    let soon = in_seconds(2);
    harness.bead("soon", json!({"defer_until": soon})).await;
    assert_eq!(harness.pull_id(json!({"agent_id": "a"})).await, None);
    assert_eq!(harness.pull_id(json!({"agent_id": "a", "wait_sec": 60})).await.as_deref(), Some("soon"));
    // Without anything to do the wait has an end, and the agent is as free as before.
    assert_eq!(harness.pull_id(json!({"agent_id": "b", "wait_sec": 1})).await, None);
    assert_eq!(harness.get("agents/b").await["status"], "idle");
}

/// The time in so many seconds.
fn in_seconds(seconds: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let at = i64::try_from((now + std::time::Duration::from_secs(seconds)).as_millis()).unwrap();
    arbiter::core::kernel::time::Timestamp::from_millis(at).to_string()
}

#[tokio::test]
async fn claim_next_repeated_returns_same_bead_and_lease() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.create_external_agent("a", json!({})).await;
    let bearer = format!("Bearer {}", harness.server.token().unwrap());
    let ask = async |key: &str| {
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
        let body = json!({"agent_id": "a"});
        harness.server.send("POST", "/api/v1/beads/claim", &headers, Some(&body)).await
    };
    assert_eq!(ask("none").await.status, 204);
    harness.bead("x", json!({})).await;
    assert_eq!(ask("none").await.status, 204, "the same answer as before");
    let first = ask("one").await;
    let again = ask("one").await;
    assert_eq!((first.status, &first.json()["bead"]["id"]), (200, &json!("x")));
    assert_eq!(first.json(), again.json());
    problem(&ask("two").await, 409, "transition");
}

#[tokio::test]
async fn cli_script_works_through_beads() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.create_external_agent("script", json!({})).await;
    harness.bead("one", json!({"tags": ["x"]})).await;
    let next =
        ["bead", "claim", "--next", "--agent", "script", "--project", "p", "--tag", "x", "--ttl", "60"];
    let claimed = harness.cli(&next).await;
    assert_eq!(claimed.code, Some(0), "{claimed:?}");
    let (bead, token) = claimed.stdout.trim().split_once(' ').unwrap();
    assert_eq!(bead, "one");
    assert_eq!(harness.cli(&["bead", "heartbeat", bead, "--lease-token", token]).await.code, Some(0));
    let released = harness.cli(&["bead", "release", bead, "--lease-token", token]).await;
    assert_eq!((released.code, released.stdout.trim()), (Some(0), "one: released (open)"), "{released:?}");
    let again = harness.cli(&next).await;
    let (bead, token) = again.stdout.trim().split_once(' ').unwrap();
    let done = harness.cli(&["bead", "complete", bead, "--summary", "s", "--lease-token", token]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let none = harness.cli(&[&next[..], &["--wait", "0"]].concat()).await;
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""), "{none:?}");
    for wrong in [
        &["bead", "claim"][..],
        &["bead", "claim", "one", "--next"],
        &["bead", "claim", "one", "--wait", "1"],
    ] {
        assert_eq!(harness.cli(wrong).await.code, Some(2), "{wrong:?}");
    }
}
