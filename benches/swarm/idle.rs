//! Latency from a ready bead to a waiting agent.
//!
//! All agents wait in a claim. Two clocks: one client of the event stream receives `bead.ready` and
//! `bead.assigned`, and the agents record when the answer with the lease arrives.

use crate::agent::{Grant, TTL_SEC, grant};
use crate::{Outcome, PROJECT, check_created};
use arbiter_testkit::{KeepAlive, ServerProcess, SseClient, request_bytes};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Beads that become ready one by one.
const SINGLE_BEADS: usize = 500;
/// Number of bursts; in each, as many beads as agents become ready at once.
const BURSTS: usize = 20;
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Latencies of waiting agents.
#[derive(Default)]
pub struct Figures {
    /// One by one: from `bead.ready` to `bead.assigned`.
    pub single: Vec<Duration>,
    /// One by one: from the request that creates the bead to the agent's receipt of the lease.
    pub in_hand: Vec<Duration>,
    /// All at once: from `bead.ready` to `bead.assigned`.
    pub burst: Vec<Duration>,
}

/// Times at which agents received their beads.
type HeldSince = RefCell<HashMap<String, Instant>>;

/// Lets agents with these tokens wait, and creates work for them.
pub async fn measure(server: &ServerProcess, address: SocketAddr, tokens: &[String]) -> Outcome<Figures> {
    let held_since = HeldSince::default();
    let waiting = try_join_all(tokens.iter().map(|token| serve(address, token, &held_since)));
    tokio::select! {
        ended = waiting => Err(ended.err().unwrap_or_else(|| "no client waits".into())),
        figures = hand_out_beads(server, tokens.len(), &held_since) => figures,
    }
}

/// Runs an agent that claims beads and completes them at once.
async fn serve(address: SocketAddr, token: &str, held_since: &HeldSince) -> Outcome<Infallible> {
    let mut connection = KeepAlive::connect(address).await?;
    let claim_request = json!({"wait_sec": 20, "ttl_sec": TTL_SEC}).to_string();
    let claim_request = request_bytes("POST", "/api/v1/beads/claim", token, Some(&claim_request));
    loop {
        match connection.ask(&claim_request).await? {
            200 => {}
            204 => continue,
            status => return Err(format!("claim: {status}").into()),
        }
        let now = Instant::now();
        let Grant { bead, token: lease } = grant(&serde_json::from_slice(connection.body())?)?;
        let done = json!({"summary": "done", "lease_token": lease}).to_string();
        let done = request_bytes("POST", &format!("/api/v1/beads/{bead}/complete"), token, Some(&done));
        held_since.borrow_mut().insert(bead, now);
        let status = connection.ask(&done).await?;
        if status != 200 {
            return Err(format!("complete: {status}").into());
        }
    }
}

async fn hand_out_beads(server: &ServerProcess, agents: usize, held_since: &HeldSince) -> Outcome<Figures> {
    let url = format!("{}/api/v1/events/stream?type=bead.*", server.url());
    let mut events = SseClient::connect(&url, server.token(), None).await?;
    let mut figures = Figures::default();
    for number in 0..SINGLE_BEADS {
        wait_for_waiters(server, agents).await?;
        let id = format!("single-{number}");
        let sent = Instant::now();
        check_created(server.post("/api/v1/beads", &bead(&id)).await)?;
        figures.single.extend(dispatch_latencies(&mut events, 1).await?);
        let got = *held_since.borrow().get(&id).ok_or("it is not held")?;
        figures.in_hand.push(got - sent);
    }
    for number in 0..BURSTS {
        // An undispatched bead blocks the others and is closed by hand.
        let hub =
            json!({"id": format!("hub-{number}"), "title": "Hub", "project_id": PROJECT, "type": "epic"});
        check_created(server.post("/api/v1/beads", &hub).await)?;
        let behind: Vec<Value> = (0..agents)
            .map(|place| {
                let mut bead = bead(&format!("crowd-{number}-{place}"));
                bead["blocked_by"] = json!([hub["id"]]);
                bead
            })
            .collect();
        check_created(server.post("/api/v1/beads/bulk", &json!({"beads": behind})).await)?;
        wait_for_waiters(server, agents).await?;
        let close = format!("/api/v1/beads/hub-{number}/close");
        let (status, told) = server.post(&close, &json!({"reason": "done"})).await;
        if status != 200 {
            return Err(format!("close: {status} {told}").into());
        }
        figures.burst.extend(dispatch_latencies(&mut events, agents).await?);
    }
    Ok(figures)
}

fn bead(id: &str) -> Value {
    json!({"id": id, "title": "Work", "project_id": PROJECT})
}

/// Measures ready to assigned for `count` dispatched beads; returns when all of them are done.
async fn dispatch_latencies(events: &mut SseClient, count: usize) -> Outcome<Vec<Duration>> {
    let mut ready: HashMap<String, Instant> = HashMap::new();
    let (mut times, mut done) = (Vec::new(), 0);
    while done < count {
        let frame = events.next(EVENT_TIMEOUT).await?;
        let now = Instant::now();
        let event: Value = serde_json::from_str(&frame.data)?;
        let id = event["subject"].as_str().unwrap_or_default();
        match frame.event.as_str() {
            "bead.ready" => drop(ready.insert(id.to_owned(), now)),
            "bead.assigned" => times.push(now - *ready.get(id).ok_or("assigned and never ready")?),
            // The hub is completed as well, and was never dispatched.
            "bead.completed" if !id.starts_with("hub-") => done += 1,
            _ => {}
        }
    }
    Ok(times)
}

/// Polls until `count` requests wait for a bead.
async fn wait_for_waiters(server: &ServerProcess, count: usize) -> Outcome<()> {
    let wanted = format!("arbiter_beads_awaited {count}");
    let began = Instant::now();
    while began.elapsed() < EVENT_TIMEOUT {
        let metrics = server.ask("GET", "/metrics", &[], None).await;
        if String::from_utf8_lossy(&metrics.body).lines().any(|line| line == wanted) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(format!("{wanted} was never so").into())
}
