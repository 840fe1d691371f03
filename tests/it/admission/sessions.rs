//! Tokens and sessions: sign-in and sign-out, revocation, expiry, loss.

use crate::admission::refusals::problem;
use crate::harness::program::{command, run};
use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{Script, SseClient, SseError};
use serde_json::{Value, json};
use std::time::Duration;

/// `name=value` of the cookie that an answer sets, and how it is set.
fn cookie(answer: &arbiter_testkit::HttpResponse) -> (String, String) {
    let set = answer.header("set-cookie");
    let (pair, rules) = set.split_once(';').unwrap_or_else(|| panic!("no cookie: {set:?}"));
    (pair.to_owned(), rules.trim().to_owned())
}

impl Harness {
    async fn stream_of(&self, token: Option<&str>) -> SseClient {
        let url = format!("{}/api/v1/events/stream", self.server.url());
        SseClient::connect(&url, token, None).await.unwrap()
    }
}

/// Waits until a stream says that its token is good no more, and ends.
async fn wait_until_ended(stream: &mut SseClient) {
    let closing = stream.next_of_type("stream.closing", TIMEOUT).await.unwrap();
    assert!(closing.data.contains("revoked"), "{}", closing.data);
    assert!(matches!(stream.next(TIMEOUT).await, Err(SseError::Ended)), "it goes on");
}

#[tokio::test]
async fn browser_signs_in_with_a_token_and_out() {
    let harness = Harness::new().await;
    let server = &harness.server;
    let wrong = server.send("POST", "/api/v1/session", &[], Some(&json!({"token": "arb_no"}))).await;
    problem(&wrong, 401, "unauthorized");
    let token = harness.token(json!({"name": "ann", "role": "operator"})).await;
    let signed = server.send("POST", "/api/v1/session", &[], Some(&json!({"token": token}))).await;
    assert_eq!((signed.status, signed.json()["name"].as_str()), (201, Some("ann")));
    let (pair, rules) = cookie(&signed);
    let port = server.url().rsplit(':').next().unwrap();
    assert!(pair.starts_with(&format!("arbiter-{port}=")), "{pair}");
    assert_eq!(rules, "Max-Age=604800; Path=/; HttpOnly; SameSite=Strict");
    assert!(!pair.contains(&token), "the cookie is not the token");

    let browser = [("cookie", pair.as_str()), ("sec-fetch-site", "same-origin")];
    let me = server.send("GET", "/api/v1/whoami", &browser, None).await.json();
    assert_eq!((me["name"].as_str(), me["role"].as_str()), (Some("ann"), Some("operator")));
    let made = server.send("POST", "/api/v1/projects", &browser, Some(&json!({"name": "n"}))).await;
    assert_eq!(made.status, 201, "{}", made.json());
    let crossed = [("cookie", pair.as_str()), ("sec-fetch-site", "cross-site")];
    let crossed = server.send("POST", "/api/v1/projects", &crossed, Some(&json!({"name": "n"}))).await;
    problem(&crossed, 403, "cross-site");

    let out = server.send("DELETE", "/api/v1/session", &browser, None).await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").contains("Max-Age=0"), "{}", out.header("set-cookie"));
    problem(&server.send("GET", "/api/v1/whoami", &browser, None).await, 401, "unauthorized");
    let again = server.send("DELETE", "/api/v1/session", &browser, None).await;
    assert_eq!(again.status, 204, "signing out twice is no error");
}

#[tokio::test]
async fn session_survives_restart_but_not_token_revocation() {
    let mut harness = Harness::new().await;
    let made = harness.create("tokens", json!({"name": "ann", "role": "viewer"})).await;
    let token = made["token"].as_str().unwrap().to_owned();
    let signed = harness.server.send("POST", "/api/v1/session", &[], Some(&json!({"token": token}))).await;
    // The name follows the port, which a restart on port 0 changes.
    let (pair, _) = cookie(&signed);
    let secret = pair.split_once('=').unwrap().1.to_owned();
    harness.server.kill9();
    harness.server.restart().await;
    let port = harness.server.url().rsplit(':').next().unwrap().to_owned();
    let pair = format!("arbiter-{port}={secret}");
    let who = async || harness.server.send("GET", "/api/v1/whoami", &[("cookie", &pair)], None).await;
    assert_eq!(who().await.status, 200);
    let id = made["id"].as_str().unwrap();
    assert_eq!(harness.ask("DELETE", &format!("tokens/{id}"), None).await.status, 204);
    problem(&who().await, 401, "unauthorized");
    let database = std::fs::read(harness.server.data_dir().join("arbiter.db")).unwrap();
    for text in [&secret, &token] {
        assert!(!database.windows(text.len()).any(|window| window == text.as_bytes()));
    }
}

#[tokio::test]
async fn token_revocation_ends_only_its_own_streams_at_once() {
    let harness = Harness::new().await;
    harness.setup(Script::default(), &["a"]).await;
    let made = harness.create("tokens", json!({"name": "x", "role": "viewer"})).await;
    let text = made["token"].as_str().unwrap().to_owned();
    let other = harness.token(json!({"name": "y", "role": "viewer"})).await;
    let of_agent = harness.token(json!({"name": "z", "role": "agent", "agent_id": "a"})).await;
    let mut streams = [harness.stream_of(Some(&text)).await, harness.stream_of(Some(&of_agent)).await];
    let mut spared = harness.stream_of(Some(&other)).await;
    assert_eq!(
        harness.ask("DELETE", &format!("tokens/{}", made["id"].as_str().unwrap()), None).await.status,
        204
    );
    problem(&harness.ask_as(&text, "GET", "whoami", None).await, 401, "unauthorized");
    wait_until_ended(&mut streams[0]).await;
    // A deleted agent takes its tokens along.
    assert_eq!(harness.ask("DELETE", "agents/a", None).await.status, 204);
    problem(&harness.ask_as(&of_agent, "GET", "whoami", None).await, 401, "unauthorized");
    wait_until_ended(&mut streams[1]).await;
    let revoked = spared.next_of_type("token.revoked", TIMEOUT).await.unwrap();
    assert!(revoked.data.contains(made["id"].as_str().unwrap()));
}

/// How long a token is valid; enough to open a stream with it on a busy machine.
const VALIDITY: Duration = Duration::from_secs(10);

#[tokio::test]
async fn token_expiry_ends_its_streams_and_keeps_last_use() {
    let harness = Harness::new().await;
    let past = json!({"name": "x", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"});
    problem(&harness.ask("POST", "tokens", Some(&past)).await, 422, "invalid");
    let end = std::time::SystemTime::now() + VALIDITY;
    let end = end.duration_since(std::time::UNIX_EPOCH).unwrap();
    let end = arbiter_core::kernel::time::Timestamp::from_millis(i64::try_from(end.as_millis()).unwrap())
        .to_string();
    let token = harness.token(json!({"name": "x", "role": "viewer", "expires_at": end})).await;
    let mut stream = harness.stream_of(Some(&token)).await;
    wait_until_ended(&mut stream).await;
    problem(&harness.ask_as(&token, "GET", "whoami", None).await, 401, "unauthorized");
    let tokens = harness.get("tokens").await;
    let of =
        |name: &str| tokens.as_array().unwrap().iter().find(|token| token["name"] == name).unwrap().clone();
    assert!(of("x")["last_used_at"].is_string(), "{tokens}");
    assert!(of("x").get("token").is_none() && of("x").get("digest").is_none(), "{tokens}");
    assert_eq!(of("x")["proof"], "text");
}

#[tokio::test]
async fn lost_admin_token_is_replaced_offline_and_logged() {
    let mut harness = Harness::new().await;
    let lost = harness.server.token().unwrap().to_owned();
    let home = tempfile::tempdir().unwrap();
    let data = harness.server.data_dir();
    let arbiter = async |line: &str| {
        let mut command = command(home.path());
        command.args(line.split(' ')).env("ARBITER_DATA_DIR", &data);
        run(command, "").await
    };
    let held = arbiter("token reset").await;
    assert_eq!(held.code, Some(75), "{held:?}");
    assert!(harness.server.terminate().await.success());
    let verified = arbiter("audit verify --json").await.json();
    assert_eq!((&verified["ok"], &verified["first_seq"]), (&json!(true), &json!(1)), "{verified}");
    let reset = arbiter("token reset").await;
    assert_eq!(reset.code, Some(0), "{reset:?}");
    let path = data.join("admin-token");
    assert_eq!(reset.stdout.trim(), path.display().to_string());
    let fresh = std::fs::read_to_string(&path).unwrap();
    assert!(!reset.stdout.contains(&fresh) && !reset.stderr.contains(&fresh) && fresh != lost);
    harness.server.restart().await;
    problem(&harness.ask_as(&lost, "GET", "whoami", None).await, 401, "unauthorized");
    assert_eq!(harness.ask_as(&fresh, "GET", "whoami", None).await.json()["role"], "admin");
    let told = harness.ask_as(&fresh, "GET", "events?type=token.*&limit=1000", None).await.json();
    let of = |kind: &str| {
        let of_kind = told.as_array().unwrap().iter().filter(|event| event["type"] == kind);
        of_kind.filter(|event| event["data"]["reason"] == "token reset").count()
    };
    assert_eq!((of("token.created"), of("token.revoked")), (1, 1), "{told}");
}

#[tokio::test]
async fn event_log_accepts_only_messages_from_clients() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let message = json!({"message": "deployed", "project_id": "p", "data": {"version": 3}});
    let event = harness.create("events", message).await;
    assert_eq!((event["type"].as_str(), event["actor"].as_str()), (Some("log.message"), Some("admin")));
    assert_eq!(event["data"], json!({"level": "info", "message": "deployed", "version": 3}));
    let forged = json!({"type": "bead.completed", "message": "m"});
    problem(&harness.ask("POST", "events", Some(&forged)).await, 422, "invalid");
    let nowhere = json!({"message": "m", "project_id": "nowhere"});
    problem(&harness.ask("POST", "events", Some(&nowhere)).await, 422, "invalid");
    problem(&harness.ask("POST", "events", Some(&json!({"message": ""}))).await, 422, "invalid");
    let verified: Value = harness.get("audit/verify").await;
    assert_eq!(verified["ok"], true, "{verified}");
}
