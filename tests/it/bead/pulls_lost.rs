//! External agents that disappear: while they wait for a bead, at the moment of its claim, and while they
//! hold beads; each bead is still done once.

use crate::admission::refusals::problem;
use crate::harness::{Harness, TIMEOUT};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claim_next_client_gone_while_waiting_claims_nothing() {
    let mut harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    for id in ["gone", "there"] {
        harness.create_external_agent(id, json!({})).await;
    }
    for round in 0..10_u64 {
        {
            let wait = harness.pull(json!({"agent_id": "gone", "wait_sec": 60, "ttl_sec": 10}));
            tokio::pin!(wait);
            tokio::select! {
                answer = &mut wait => panic!("{}", answer.json()),
                () = harness.wait_for_waiters(1) => {}
            }
        }
        // In even rounds the bead comes when the server knows, in odd ones perhaps before: what was on its way then is
        // lost with its lease.
        if round % 2 == 0 {
            harness.wait_for_waiters(0).await;
        }
        let bead = format!("b{round}");
        harness.bead(&bead, json!({})).await;
        assert_eq!(
            harness.pull_id(json!({"agent_id": "there", "wait_sec": 60})).await.as_deref(),
            Some(bead.as_str())
        );
        harness.act(&format!("beads/{bead}/complete"), json!({"summary": "s"})).await;
        assert_eq!(harness.get("agents/gone").await["status"], "idle");
        let attempts = harness.get(&format!("beads/{bead}")).await["attempts"].as_u64().unwrap();
        assert!(attempts <= round % 2, "round {round}: {attempts} attempts");
    }

    // A server that shuts down answers waiting clients.
    let (answer, ()) = tokio::join!(harness.pull(json!({"agent_id": "gone", "wait_sec": 60})), async {
        harness.wait_for_waiters(1).await;
        harness.server.signal(rustix::process::Signal::TERM);
    });
    problem(&answer, 503, "shutting-down");
    assert!(harness.server.wait_for_exit().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_gone_at_claim_time_loses_bead_with_its_lease() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    for id in ["gone", "there"] {
        harness.create_external_agent(id, json!({})).await;
    }
    for round in 0..6 {
        let bead = format!("b{round}");
        let got = {
            let wait = harness.pull(json!({"agent_id": "gone", "wait_sec": 60, "ttl_sec": 10}));
            let make = async {
                harness.wait_for_waiters(1).await;
                harness.bead(&bead, json!({})).await
            };
            tokio::pin!(wait);
            tokio::select! {
                answer = &mut wait => Some(answer.json()),
                // It has just become ready.
                _ = make => None,
            }
        };
        if let Some(claimed) = got {
            let body = json!({"summary": "s", "lease_token": claimed["lease"]["token"]});
            harness.act(&format!("beads/{bead}/complete"), body).await;
            continue;
        }
        let next = harness.pull_id(json!({"agent_id": "there", "wait_sec": 60}));
        let next = timeout(TIMEOUT, next).await.expect("the bead comes back");
        assert_eq!(next.as_deref(), Some(bead.as_str()));
        harness.act(&format!("beads/{bead}/complete"), json!({"summary": "s"})).await;
        assert_eq!(harness.get("agents/gone").await["status"], "idle");
    }
}

/// Result of one of the twenty agents.
#[derive(Default)]
struct WorkerTally {
    /// Beads whose end was accepted.
    done: Vec<String>,
    /// Beads it died with, and their tokens.
    stale: Vec<(String, Value)>,
}

/// Fetches beads and ends them until all are done; dies with its third if it is one of those, and comes back when
/// its lease has run out.
async fn work(
    harness: &Harness,
    agent: String,
    is_mortal: bool,
    done: Arc<AtomicUsize>,
    all: usize,
) -> WorkerTally {
    let mut tally = WorkerTally::default();
    let mut has_died = false;
    while done.load(Ordering::Acquire) < all {
        let answer = harness.pull(json!({"agent_id": agent, "wait_sec": 2, "ttl_sec": 10})).await;
        // Its lease has not run out yet.
        if answer.status == 409 {
            harness.wait_until(&format!("agents/{agent}"), |agent| agent["status"] == "idle").await;
            continue;
        }
        if answer.status == 204 {
            continue;
        }
        assert_eq!(answer.status, 200, "{}", answer.json());
        let claimed = answer.json();
        let (bead, token) =
            (claimed["bead"]["id"].as_str().unwrap().to_owned(), claimed["lease"]["token"].clone());
        if is_mortal && !has_died && tally.done.len() >= 2 {
            has_died = true;
            tally.stale.push((bead, token));
            continue;
        }
        let body = json!({"summary": format!("by {agent}"), "lease_token": token});
        let ended = harness.ask("POST", &format!("beads/{bead}/complete"), Some(&body)).await;
        assert_eq!(ended.status, 200, "{}", ended.json());
        tally.done.push(bead);
        done.fetch_add(1, Ordering::AcqRel);
    }
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_agents_complete_two_hundred_beads_once_despite_deaths() {
    const AGENTS: usize = 20;
    const BEADS: usize = 200;
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    for agent in 0..AGENTS {
        harness.create_external_agent(&format!("e{agent}"), json!({"project_id": "p"})).await;
    }
    // A wide beginning; each later bead waits for one or two earlier ones.
    let beads: Vec<Value> = (0..BEADS)
        .map(|n| {
            let before: Vec<String> = match n {
                0..=29 => vec![],
                _ => vec![format!("b{}", n - 30), format!("b{}", n / 2)],
            };
            json!({"id": format!("b{n}"), "title": format!("Bead {n}"), "project_id": "p", "blocked_by": before,
                   "priority": 1 + n % 4})
        })
        .collect();
    for part in beads.chunks(50) {
        let created = harness.ask("POST", "beads/bulk", Some(&json!({"beads": part}))).await;
        assert_eq!(created.status, 201, "{}", created.json());
    }
    let done = Arc::new(AtomicUsize::new(0));
    let workers = (0..AGENTS).map(|n| work(&harness, format!("e{n}"), n % 4 == 0, Arc::clone(&done), BEADS));
    let tallies = timeout(2 * TIMEOUT, join_all(workers)).await.expect("none is stuck");

    let mut by_bead: BTreeMap<&str, usize> = BTreeMap::new();
    for bead in tallies.iter().flat_map(|tally| &tally.done) {
        *by_bead.entry(bead).or_default() += 1;
    }
    assert_eq!(by_bead.len(), BEADS);
    assert!(by_bead.values().all(|times| *times == 1), "{by_bead:?}");
    let stale: Vec<&(String, Value)> = tallies.iter().flat_map(|tally| &tally.stale).collect();
    assert_eq!(stale.len(), AGENTS / 4, "so many died with a bead");
    for (bead, token) in stale {
        let body = json!({"summary": "from the dead", "lease_token": token});
        problem(
            &harness.ask("POST", &format!("beads/{bead}/complete"), Some(&body)).await,
            409,
            "stale-lease",
        );
        let heartbeat = json!({"lease_token": token});
        problem(
            &harness.ask("POST", &format!("beads/{bead}/heartbeat"), Some(&heartbeat)).await,
            409,
            "stale-lease",
        );
        assert_eq!(harness.get(&format!("beads/{bead}")).await["attempts"], 1);
    }
    let mut completed: BTreeMap<String, usize> = BTreeMap::new();
    for event in harness.events(0).await.iter().filter(|event| event["type"] == "bead.completed") {
        *completed.entry(event["subject"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!((completed.len(), completed.values().sum::<usize>()), (BEADS, BEADS));
    let agents = harness.get("agents").await;
    assert!(agents.as_array().unwrap().iter().all(|agent| agent["status"] == "idle"), "{agents}");
}
