//! The client against a scripted server on loopback.

use super::*;
use crate::cli::client::scripted_server::{ScriptedServer, answer};
use crate::cli::client::trust::Trust;
use secrecy::SecretString;
use serde_json::json;

fn client(server: &ScriptedServer) -> Client {
    server.client(Some("secret-token"))
}

#[tokio::test]
async fn request_escapes_ids_and_sends_the_token() {
    let server = ScriptedServer::start(vec![answer("200 OK", &[], r#"{"id":"x"}"#)]);
    let request = Request::get(&["beads", "a/b ?#", "why"]).filter("q", Some("x&y=ü"));
    let record = client(&server).json(&request).await.unwrap();
    assert_eq!(record, json!({"id": "x"}));
    let head = server.requests().remove(0).to_ascii_lowercase();
    assert!(head.starts_with("get /api/v1/beads/a%2fb%20%3f%23/why?q=x%26y%3d%c3%bc http"), "{head}");
    assert!(head.contains("authorization: bearer secret-token"), "{head}");
}

#[tokio::test]
async fn problem_answer_becomes_a_failure_with_its_request_id() {
    let body = r#"{"title":"Not found","detail":"no bead bd-9","status":404}"#;
    let headers = ["content-type: application/problem+json", "x-request-id: req-7"];
    let server = ScriptedServer::start(vec![answer("404 Not Found", &headers, body)]);
    let failure = client(&server).json(&Request::get(&["beads", "bd-9"])).await.unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    assert_eq!(failure.to_string(), "no bead bd-9\n  request req-7");
}

#[tokio::test]
async fn missing_token_exits_as_refused() {
    let server = ScriptedServer::start(vec![answer("401 Unauthorized", &[], "{}")]);
    let failure = server.client(None).json(&Request::get(&["beads"])).await.unwrap_err();
    assert_eq!(failure.exit_code(), 77);
    assert!(!server.requests()[0].to_ascii_lowercase().contains("authorization"));
}

#[tokio::test]
async fn absent_server_is_unreachable() {
    let server = ScriptedServer::start(Vec::new());
    let client = client(&server);
    drop(server);
    let failure = client.json(&Request::get(&["beads"])).await.unwrap_err();
    assert_eq!(failure.exit_code(), 69);
    assert!(failure.to_string().starts_with("cannot reach a server at http://127.0.0.1:"));
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let headers = ["location: http://127.0.0.1:1/"];
    let server = ScriptedServer::start(vec![answer("302 Found", &headers, "")]);
    let failure = client(&server).json(&Request::get(&["beads"])).await.unwrap_err();
    assert_eq!(failure.to_string(), "the server answered 302 without a reason");
}

#[tokio::test]
async fn list_is_read_page_by_page_up_to_its_limit() {
    let next = ["link: </api/v1/beads?limit=2&cursor=a%2Bb>; rel=\"next\""];
    let pages = || {
        vec![answer("200 OK", &next, "[1,2]"), answer("200 OK", &next, "[3]"), answer("200 OK", &[], "[4]")]
    };
    let server = ScriptedServer::start(pages());
    let all = client(&server).list(&Request::get(&["beads"]), 10).await.unwrap();
    assert_eq!(all, (vec![json!(1), json!(2), json!(3), json!(4)], Remainder::None));
    let requests = server.requests();
    assert!(requests[0].starts_with("GET /api/v1/beads?limit=10 "), "{}", requests[0]);
    assert!(requests[1].starts_with("GET /api/v1/beads?limit=8&cursor=a%2Bb "), "{}", requests[1]);

    let server = ScriptedServer::start(pages());
    let some = client(&server).list(&Request::get(&["beads"]), 2).await.unwrap();
    assert_eq!(some, (vec![json!(1), json!(2)], Remainder::More));
}

#[test]
fn token_with_line_break_is_a_usage_error() {
    let url = "http://127.0.0.1:1".parse().unwrap();
    let token = Some(SecretString::from("a\nb"));
    assert_eq!(Client::new(&Target { url, token, trust: Trust::default() }).unwrap_err().exit_code(), 2);
}
