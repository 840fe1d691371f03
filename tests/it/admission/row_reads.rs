//! Number of reads of the store that a change of one row takes.

use crate::harness::Harness;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The log names each read of the store by its query.
const LOG: [(&str, &str); 2] = [("ARBITER_LOG__FORMAT", "json"), ("ARBITER_LOG__LEVEL", "trace")];

/// A route, and the reads of its row by query, for a token that is limited to projects. One is for the rights before
/// the handler, except of a project, whose id suffices. One is the actor's, on whose row the change is decided, and
/// for a bead one is the answer's.
const READS: [(&str, &[(&str, usize)]); 4] = [
    ("PATCH /api/v1/beads/mine", &[("bead", 1), ("bead_detail", 1), ("bead_state", 1)]),
    ("PATCH /api/v1/agents/spare", &[("agent", 3)]),
    ("POST /api/v1/decisions/why/decide", &[("decision", 2)]),
    ("PATCH /api/v1/projects/p", &[("project", 1)]),
];

impl Harness {
    /// Asks for nothing, and waits until the log tells of it.
    async fn mark(&self, name: &str) {
        self.server.send("GET", "/api/v1/nowhere", &[("x-request-id", name)], None).await;
        self.server.wait_for_log(name).await;
    }

    /// Sends a request that must succeed, and returns how often each query of its noun was made meanwhile. Others are
    /// also those of the dispatcher, which an event wakes.
    async fn reads_of(&self, token: &str, route: &str, body: &Value) -> BTreeMap<String, usize> {
        let (from, to) = (format!("before {route}"), format!("after {route}"));
        let [from, to] = [from, to].map(|mark| mark.replace([' ', '/'], "-"));
        self.mark(&from).await;
        let (method, path) = route.split_once(' ').unwrap();
        let bearer = format!("Bearer {token}");
        let answer = self.server.send(method, path, &[("authorization", &bearer)], Some(body)).await;
        assert_eq!(answer.status, 200, "{route}: {}", answer.json());
        self.mark(&to).await;
        let log = self.server.stderr_text();
        let between = log.split_once(&from).unwrap().1.split_once(&to).unwrap().0;
        let noun = path.split('/').nth(3).unwrap().trim_end_matches('s');
        let mut counts = BTreeMap::new();
        for rest in between.split("\"query\":\"").skip(1) {
            let query = rest.split('"').next().unwrap();
            if query == noun || query.strip_prefix(noun).is_some_and(|rest| rest.starts_with('_')) {
                *counts.entry(query.to_owned()).or_default() += 1;
            }
        }
        counts
    }
}

#[tokio::test]
async fn limited_change_reads_its_row_as_often_as_stated() {
    let harness = Harness::with(&LOG).await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    for id in ["worker", "spare"] {
        let config = json!({"autonomy": "full"});
        let agent = json!({"id": id, "name": id, "project_id": "p", "kind": "external", "config": config});
        harness.create("agents", agent).await;
    }
    harness.bead("mine", json!({})).await;
    harness.create("decisions", json!({"id": "why", "project_id": "p", "question": "Why?"})).await;
    let fields = json!({"name": "a", "role": "agent", "agent_id": "worker", "projects": ["p"]});
    let agent = harness.token(fields).await;
    let operator = harness.token(json!({"name": "o", "role": "operator", "projects": ["p"]})).await;
    let claimed = harness.ask_as(&agent, "POST", "beads/mine/claim", Some(&json!({}))).await;
    let lease = claimed.json()["lease"]["token"].clone();
    let mut measured = Vec::new();
    for (route, wanted) in READS {
        let (token, body) = match route.split('/').nth(3).unwrap() {
            "beads" => (&agent, json!({"title": "new", "lease_token": lease})),
            "decisions" => (&agent, json!({"decision": "because"})),
            _ => (&operator, json!({"name": "new"})),
        };
        let counts = harness.reads_of(token, route, &body).await;
        let wanted: BTreeMap<String, usize> = wanted.iter().map(|(q, n)| ((*q).to_owned(), *n)).collect();
        measured.push((route, counts, wanted));
    }
    let wrong: Vec<_> = measured.iter().filter(|(_, counts, wanted)| counts != wanted).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
