//! Requests that come twice are carried out once and answered alike.

use crate::harness::Stage;
use serde_json::{Value, json};

const KEY: (&str, &str) = ("Idempotency-Key", "once-only");

async fn post(stage: &Stage, path: &str, body: &Value) -> arbiter_testkit::HttpAnswer {
    stage.server.ask("POST", path, &[KEY], Some(body)).await
}

#[tokio::test]
async fn a_repeated_request_makes_one_bead_and_gets_the_same_answer_also_after_a_kill() {
    let mut stage = Stage::new().await;
    stage.create("projects", json!({"id": "p", "name": "P"})).await;
    let body = json!({"project_id": "p", "title": "Once"});
    let first = post(&stage, "/api/v1/beads", &body).await;
    assert_eq!(first.status, 201, "{}", first.json());
    let second = post(&stage, "/api/v1/beads", &body).await;
    stage.server.kill9();
    stage.server.restart().await;
    let third = post(&stage, "/api/v1/beads", &body).await;
    for repeat in [&second, &third] {
        assert_eq!((repeat.status, repeat.json()), (201, first.json()));
        assert_eq!(repeat.header("location"), first.header("location"));
        assert_eq!(repeat.header("etag"), first.header("etag"));
    }
    let beads = stage.get("beads").await;
    assert_eq!(beads.as_array().unwrap().len(), 1);
    let other = post(&stage, "/api/v1/beads", &json!({"project_id": "p", "title": "Another"})).await;
    assert_eq!((other.status, other.json()["type"].clone()), (422, json!("idempotency-mismatch")));
}

#[tokio::test]
async fn a_refused_request_may_be_mended_under_the_same_key_and_secrets_take_none() {
    let stage = Stage::new().await;
    stage.create("projects", json!({"id": "p", "name": "P"})).await;
    let wrong = post(&stage, "/api/v1/beads", &json!({"project_id": "p", "title": ""})).await;
    assert_eq!(wrong.status, 422);
    let right = post(&stage, "/api/v1/beads", &json!({"project_id": "p", "title": "Mended"})).await;
    assert_eq!(right.status, 201);
    let token = post(&stage, "/api/v1/tokens", &json!({"name": "t", "role": "viewer"})).await;
    assert_eq!((token.status, token.json()["type"].clone()), (400, json!("bad-header")));
}
