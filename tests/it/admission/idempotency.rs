//! Idempotency keys: a repeated request is carried out once and answered alike.

use crate::harness::Harness;
use serde_json::{Value, json};

const KEY: (&str, &str) = ("Idempotency-Key", "once-only");

async fn post(harness: &Harness, path: &str, body: &Value) -> arbiter_testkit::HttpResponse {
    harness.server.ask("POST", path, &[KEY], Some(body)).await
}

#[tokio::test]
async fn repeated_idempotent_request_creates_one_bead_across_a_kill() {
    let mut harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let body = json!({"project_id": "p", "title": "Once"});
    let first = post(&harness, "/api/v1/beads", &body).await;
    assert_eq!(first.status, 201, "{}", first.json());
    let second = post(&harness, "/api/v1/beads", &body).await;
    harness.server.kill9();
    harness.server.restart().await;
    let third = post(&harness, "/api/v1/beads", &body).await;
    for repeat in [&second, &third] {
        assert_eq!((repeat.status, repeat.json()), (201, first.json()));
        assert_eq!(repeat.header("location"), first.header("location"));
        assert_eq!(repeat.header("etag"), first.header("etag"));
    }
    let beads = harness.get("beads").await;
    assert_eq!(beads.as_array().unwrap().len(), 1);
    let other = post(&harness, "/api/v1/beads", &json!({"project_id": "p", "title": "Another"})).await;
    assert_eq!((other.status, other.json()["type"].clone()), (422, json!("idempotency-mismatch")));
}

#[tokio::test]
async fn idempotency_key_is_reusable_after_refusal_not_for_secrets() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let wrong = post(&harness, "/api/v1/beads", &json!({"project_id": "p", "title": ""})).await;
    assert_eq!(wrong.status, 422);
    let right = post(&harness, "/api/v1/beads", &json!({"project_id": "p", "title": "Mended"})).await;
    assert_eq!(right.status, 201);
    let token = post(&harness, "/api/v1/tokens", &json!({"name": "t", "role": "viewer"})).await;
    assert_eq!((token.status, token.json()["type"].clone()), (400, json!("bad-header")));
}
