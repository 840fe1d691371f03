//! Decisions and file locks through the running program: options, deadlines, answers, escalation, closing of
//! projects, signed notices, and the holders of file locks.

use crate::admission::refusals::problem;
use crate::harness::program::private_file;
use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{ResponseMode, WebhookReceiver};
use serde_json::{Value, json};

async fn harness_with_project() -> Harness {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness
}

impl Harness {
    async fn asked(&self, fields: Value) -> String {
        let mut new = json!({"project_id": "p", "question": "Which colour?"});
        for (name, value) in fields.as_object().unwrap() {
            new[name] = value.clone();
        }
        self.create("decisions", new).await["id"].as_str().unwrap().to_owned()
    }

    async fn decide(&self, id: &str, answer: &str) -> arbiter_testkit::HttpResponse {
        let body = json!({"decision": answer, "rationale": "because"});
        self.ask("POST", &format!("decisions/{id}/decide"), Some(&body)).await
    }
}

#[tokio::test]
async fn decision_takes_one_listed_option_once_and_frees_the_bead() {
    let harness = harness_with_project().await;
    harness.bead("wall", json!({})).await;
    let id = harness.asked(json!({"bead_id": "wall", "options": ["red", "blue"]})).await;
    assert_eq!(harness.get("beads/wall").await["ready"], false);
    problem(&harness.decide(&id, "green").await, 422, "invalid");
    assert_eq!(harness.decide(&id, "red").await.status, 200);
    problem(&harness.decide(&id, "blue").await, 409, "transition");
    assert_eq!(harness.get("beads/wall").await["ready"], true);
    let decided = harness.get(&format!("decisions/{id}")).await;
    assert_eq!((&decided["decision"], &decided["decider_id"]), (&json!("red"), &json!("admin")));
}

#[tokio::test]
async fn decision_deadline_reminds_and_applies_on_timeout() {
    let harness = harness_with_project().await;
    let mut events = harness.stream("?type=decision.*", None).await;
    let choose = json!({"options": ["red", "blue"], "timeout": "2s", "on_timeout": "choose:blue"});
    let chosen = harness.asked(choose).await;
    let mut seen = Vec::new();
    while !seen.contains(&"decision.resolved".to_owned()) {
        seen.push(events.next(TIMEOUT).await.unwrap().event);
    }
    assert!(seen.contains(&"decision.reminder".to_owned()), "{seen:?}");
    let decided = harness.get(&format!("decisions/{chosen}")).await;
    assert_eq!((&decided["decision"], &decided["decider_id"]), (&json!("blue"), &json!("system")));
    let plain = harness.asked(json!({"timeout": "1s"})).await;
    harness.wait_until(&format!("decisions/{plain}"), |one| one["status"] == "timeout").await;
    let higher = harness.asked(json!({"timeout": "1s", "on_timeout": "escalate", "priority": 3})).await;
    let raised = harness
        .wait_until(&format!("decisions/{higher}"), |one| {
            !one["escalated_at"].is_null() || one["status"] != "pending"
        })
        .await;
    assert_eq!((&raised["status"], &raised["priority"]), (&json!("pending"), &json!(0)));
    let never = harness.asked(json!({"timeout": "never"})).await;
    assert_eq!(harness.get(&format!("decisions/{never}")).await["deadline"], Value::Null);
    let wrong = json!({"project_id": "p", "question": "q", "options": ["a"], "on_timeout": "choose:b"});
    problem(&harness.ask("POST", "decisions", Some(&wrong)).await, 422, "invalid");
}

#[tokio::test]
async fn decision_answer_on_changed_subject_is_refused() {
    let harness = harness_with_project().await;
    harness.bead("wall", json!({})).await;
    let id = harness.asked(json!({"bead_id": "wall"})).await;
    let changed = harness.ask("PATCH", "beads/wall", Some(&json!({"description": "Another wall."}))).await;
    assert_eq!(changed.status, 200);
    problem(&harness.decide(&id, "red").await, 409, "stale");
    assert_eq!(harness.get(&format!("decisions/{id}")).await["status"], "pending");
}

#[tokio::test]
async fn bead_escalates_once_and_approval_closes_it() {
    let harness = harness_with_project().await;
    harness.bead("wall", json!({})).await;
    harness.act("beads/wall/escalate", json!({"reason": "is it good enough?"})).await;
    let id = harness.wait_for_decision_about("wall").await;
    let again = harness.ask("POST", "beads/wall/escalate", Some(&json!({"reason": "again"}))).await;
    problem(&again, 409, "already-asked");
    let asked = harness.get(&format!("decisions/{id}")).await;
    assert_eq!(asked["options"], json!(["approve", "deny", "needs_more_info"]), "{asked}");
    assert_eq!(harness.decide(&id, "approve").await.status, 200);
    assert_eq!(harness.get("beads/wall").await["status"], "closed");
}

#[tokio::test]
async fn project_with_open_work_closes_after_approval() {
    let harness = harness_with_project().await;
    harness.bead("wall", json!({})).await;
    let answer = harness.ask("POST", "projects/p/close", None).await;
    assert_eq!(answer.status, 202, "{}", answer.json());
    let decisions = harness.get("decisions?project_id=p&status=pending").await;
    let id = decisions[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(harness.get("projects/p").await["status"], "open");
    assert_eq!(harness.decide(&id, "yes").await.status, 200);
    harness.wait_until("projects/p", |project| project["status"] == "closed").await;
}

#[tokio::test]
async fn file_lock_has_one_owner_per_path_and_ends_with_the_bead() {
    let harness = harness_with_project().await;
    for id in ["one", "two"] {
        harness.create("agents", json!({"id": id, "name": id, "kind": "external"})).await;
        harness.bead(&format!("bead-{id}"), json!({})).await;
        harness.act(&format!("beads/bead-{id}/claim"), json!({"agent_id": id})).await;
    }
    let lock = |agent: &str, path: &str| json!({"project_id": "p", "path": path, "agent_id": agent, "bead_id": format!("bead-{agent}")});
    let taken = harness.create("file-locks", lock("one", "./src//a/../main.rs")).await;
    assert_eq!((&taken["path"], &taken["ttl_sec"]), (&json!("src/main.rs"), &json!(600)));
    let refused = harness.ask("POST", "file-locks", Some(&lock("two", "src/main.rs"))).await;
    let told = problem(&refused, 409, "file-locked");
    assert!(told["detail"].as_str().unwrap().contains("one"), "{told}");
    for wrong in ["../x", "/etc/passwd", "", "a\u{0}b"] {
        problem(&harness.ask("POST", "file-locks", Some(&lock("two", wrong))).await, 422, "invalid");
    }
    // Of several files all are locked, or none.
    let several = json!({"project_id": "p", "paths": ["src/lib.rs", "src/main.rs"], "agent_id": "two", "bead_id": "bead-two"});
    problem(&harness.ask("POST", "file-locks", Some(&several)).await, 409, "file-locked");
    assert_eq!(harness.get("file-locks?project_id=p").await.as_array().unwrap().len(), 1);
    let renewed =
        harness.act("file-locks/renew", json!({"project_id": "p", "agent_id": "one", "ttl_sec": 3600})).await;
    assert_eq!(renewed[0]["ttl_sec"], 3600);
    harness.act("beads/bead-one/close", json!({"reason": "done"})).await;
    assert_eq!(harness.get("file-locks").await, json!([]), "the bead has ended, and with it the lock");
    harness.create("file-locks", lock("two", "src/main.rs")).await;
    let gone = harness.ask("DELETE", "file-locks/p/src/main.rs?agent_id=two", None).await;
    assert_eq!(gone.status, 204);
    let done = harness.cli(&["lock", "list"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

#[tokio::test]
async fn decision_notice_is_signed_retried_and_hides_the_secret() {
    const SECRET: &str = "whsec_Canary-notify-5f1c9a";
    let home = tempfile::tempdir().unwrap();
    let file = private_file(home.path(), "secret", SECRET);
    let receiver = WebhookReceiver::start(ResponseMode::Status(500)).await;
    let harness =
        Harness::with(&[("ARBITER_NOTIFY__URL", receiver.url()), ("ARBITER_NOTIFY__SECRET_FILE", &file)])
            .await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let id = harness.asked(json!({})).await;
    // Who does not take it at first is told again.
    receiver.wait_until_received(1).await;
    receiver.set_mode(ResponseMode::Status(204));
    receiver.wait_until_received(2).await;
    let subjects: Vec<Value> = receiver.received().iter().map(|event| event["subject"].clone()).collect();
    assert_eq!(subjects, [id.as_str(), id.as_str()]);
    let heard = receiver.text();
    let lower = heard.to_lowercase();
    assert!(lower.contains("webhook-signature: v1,") && lower.contains("webhook-timestamp: "), "{heard}");
    assert!(heard.contains("decision.created"), "{heard}");
    // It is counted a moment after it was taken, and no event tells of that.
    let counted = async {
        loop {
            let status = harness.get("system/status").await;
            if status["notices"]["taken"] == 1 {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(TIMEOUT, counted).await.expect("the notice is not counted");
    let well = json!({"taken": 1, "given_up": 0, "failures": 0, "next_try": null});
    assert_eq!(status["notices"], well);
    let metrics = harness.server.ask("GET", "/metrics", &[], None).await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    for line in [
        "arbiter_notices_total{outcome=\"taken\"} 1",
        "arbiter_notices_total{outcome=\"given_up\"} 0",
        "arbiter_notice_failures 0",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    for shown in [heard, harness.server.stderr_text(), metrics, status.to_string()] {
        assert!(!shown.contains(SECRET), "the secret shows itself");
    }
    assert_eq!(Harness::new().await.get("system/status").await["notices"], Value::Null);
}
