//! Idempotency keys: a repeated request is carried out once and answered alike.

use crate::harness::{Harness, TIMEOUT};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const KEY: (&str, &str) = ("Idempotency-Key", "once-only");
/// Requests whose clients leave, each a moment later than the one before.
const ROUNDS: usize = 30;

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

#[tokio::test]
async fn repeat_after_a_lost_connection_gets_the_kept_answer() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "Project"})).await;
    let address = harness.server.url().trim_start_matches("http://").to_owned();
    let token = harness.server.token().unwrap();
    let bearer = format!("Bearer {token}");
    for round in 0..ROUNDS {
        let (key, body) = (format!("lost-{round}"), json!({"title": "x", "project_id": "p"}));
        let text = body.to_string();
        let request = format!(
            "POST /api/v1/beads HTTP/1.1\r\nhost: {address}\r\nauthorization: {bearer}\r\nidempotency-key: {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        let mut connection = TcpStream::connect(&address).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        // The client leaves when its request has been carried out, or a moment earlier or later.
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        drop(connection);
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key.as_str())];
        let wait = async {
            loop {
                let again = harness.server.send("POST", "/api/v1/beads", &headers, Some(&body)).await;
                let is_running =
                    again.status == 409 && again.json()["detail"].to_string().contains("running");
                if !is_running {
                    return again;
                }
            }
        };
        let again = tokio::time::timeout(TIMEOUT, wait).await.expect("the first request ends");
        assert_eq!(again.status, 201, "{}", again.json());
    }
    // Each was carried out once.
    assert_eq!(harness.get("beads?limit=1000").await.as_array().unwrap().len(), ROUNDS);
}
