//! The follower against a server that breaks off.

use super::*;
use crate::cli::client::connection::Connection;
use crate::cli::client::scripted_server::{ScriptedServer, answer};
use crate::cli::ui::output::Output;
use clap::Parser;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

const STREAM: [&str; 1] = ["content-type: text/event-stream"];

/// Reconnects at once; the wait itself is not what is tested.
const NO_WAIT: ReconnectPolicy = ReconnectPolicy {
    silence: Duration::from_secs(60),
    backoff: Backoff::new(Duration::ZERO, Duration::ZERO),
};

fn stream(body: &str) -> String {
    answer("200 OK", &STREAM, body)
}

fn event(seq: u64) -> String {
    format!("id: {seq}\nevent: bead.created\ndata: {{\"seq\":{seq},\"type\":\"bead.created\"}}\n\n")
}

async fn tail(server: &ScriptedServer, arguments: &str) -> Result<(), Failure> {
    let url = server.target(None).url;
    let line = format!("events tail --url {url} --token t {arguments}");
    let line = Line::try_parse_from(line.split_whitespace()).unwrap();
    let session = Session {
        client: server.client(None),
        output: Output::new(OutputFormat::Json),
        connection: line.connection,
    };
    let Command::Tail(tail) = line.command else { unreachable!("the line says tail") };
    Follower::new(tail, &session, NO_WAIT).run().await
}

#[tokio::test]
async fn broken_stream_resumes_after_the_last_event() {
    let server = ScriptedServer::start(vec![
        stream(&format!("event: connected\ndata: {{\"last_seq\":9}}\n\n{}", event(10))),
        answer("503 Service Unavailable", &[], "{}"),
        stream(&event(11)),
    ]);
    tail(&server, "--type bead.*,agent.spawned --project p --limit 2").await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    let path = "GET /api/v1/events/stream?project_id=p&type=bead.*%2Cagent.spawned HTTP";
    assert!(requests[0].starts_with(path), "{}", requests[0]);
    assert!(!requests[0].contains("last-event-id"));
    assert!(requests[1].contains("last-event-id: 10\r\n"));
    assert!(requests[2].contains("last-event-id: 10\r\n"));
}

#[tokio::test]
async fn stream_broken_before_first_event_resumes_at_its_start() {
    let server = ScriptedServer::start(vec![
        stream("event: connected\ndata: {\"last_seq\":41}\n\n"),
        stream(&event(42)),
    ]);
    tail(&server, "--limit 1").await.unwrap();
    assert!(server.requests()[1].contains("last-event-id: 41\r\n"));
}

#[tokio::test]
async fn tail_with_after_starts_after_that_event() {
    let server = ScriptedServer::start(vec![stream(&event(8))]);
    tail(&server, "--after 7 --limit 1").await.unwrap();
    assert!(server.requests()[0].contains("last-event-id: 7\r\n"));
}

#[tokio::test]
async fn tail_ends_at_once_on_refusal() {
    let server = ScriptedServer::start(vec![answer("401 Unauthorized", &[], "{}")]);
    assert_eq!(tail(&server, "").await.unwrap_err().exit_code(), 77);
}
