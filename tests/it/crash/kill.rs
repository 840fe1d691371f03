//! A server that is killed fifty times under load, as by a power cut, and checked after each kill.

use crate::crash::kill_load::{self, AgentState, EXTERNAL_AGENTS, EXTERNAL_TAG, Ledger, lock_ledger};
use crate::crash::kill_oracle::Oracle;
use crate::harness::rng::SeededRng;
use crate::harness::{Harness, TIMEOUT};
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{Options, Store};
use arbiter_testkit::{Reply, Script};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often the server is killed; oftener where it is too slow to answer [`CHANGES`] in that time.
const KILLS: u32 = 50;
/// More changes than this are answered.
const CHANGES: usize = 1_000;
/// How long the model thinks while the oracle looks, so that agents stand still for a moment.
const MODEL_DELAY_MS: u64 = 250;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_under_load_lose_no_answered_change() {
    let mut rng = SeededRng::from_env_or_random();
    let thinks = Arc::new(AtomicU64::new(5));
    let model = {
        let thinks = Arc::clone(&thinks);
        Script::answering(move |chat| {
            let summary = format!("[simulated] chat {}", chat.number);
            let delay = Duration::from_millis(thinks.load(Ordering::Relaxed));
            Reply::tool("finish", json!({"summary": summary})).after(delay)
        })
    };
    let mut harness = Harness::new().await;
    let provider = harness.setup(model, &["llm-0", "llm-1", "llm-2"]).await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    for agent in EXTERNAL_AGENTS {
        harness
            .create("agents", json!({"id": agent, "name": agent, "kind": "external", "role": "ext"}))
            .await;
        lock_ledger(&ledger).agent_states.insert(agent.to_owned(), AgentState::default());
    }
    let mut oracle = Oracle::default();
    let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
    let mut round = 0;
    while round < KILLS || (lock_ledger(&ledger).answered <= CHANGES && round < 4 * KILLS) {
        round += 1;
        thinks.store(rng.below(40), Ordering::Relaxed);
        let mut writers = kill_load::spawn_writers(&harness.server, &ledger, round, &mut rng);
        tokio::time::sleep(Duration::from_millis(50 + rng.below(300))).await;
        harness.server.kill9();
        while let Some(ended) = writers.join_next().await {
            ended.unwrap();
        }
        thinks.store(MODEL_DELAY_MS, Ordering::Relaxed);
        let started = Instant::now();
        harness.server.restart().await;
        slowest = slowest.max(started.elapsed());
        oracle.check(&harness, &ledger).await;
    }
    let answered = lock_ledger(&ledger).answered;
    eprintln!(
        "{round} kills in {:?}, {answered} changes answered, {} beads, {} chats, slowest start {slowest:?}",
        begun.elapsed(),
        lock_ledger(&ledger).beads.len(),
        provider.chat_count(),
    );
    assert!(answered > CHANGES && provider.chat_count() > 20, "there was too little to lose: {answered}");

    thinks.store(0, Ordering::Relaxed);
    approve_until_idle(&harness).await;
    oracle.check_all(&harness, &ledger).await;
    check_leases(&mut harness, &ledger).await;
}

/// Approves every open decision until the agents have nothing left to do.
async fn approve_until_idle(harness: &Harness) {
    let mut events = harness.stream("?type=bead.*,decision.*", Some(0)).await;
    let has_work = async || {
        for decision in
            harness.get("decisions?status=pending&priority=0&limit=1000").await.as_array().unwrap()
        {
            let id = decision["id"].as_str().unwrap();
            harness.act(&format!("decisions/{id}/decide"), json!({"decision": "approve"})).await;
        }
        let ready = harness.get("beads/ready?limit=1000").await;
        let held = harness.get("beads?status=in_progress").await;
        let of_llm = |bead: &serde_json::Value| bead["tags"] != json!([EXTERNAL_TAG]);
        ready.as_array().unwrap().iter().chain(held.as_array().unwrap()).any(of_llm)
    };
    while has_work().await {
        events.next(TIMEOUT).await.unwrap();
    }
}

/// In the end the database is opened: each held bead has its lease, and no other has one.
async fn check_leases(harness: &mut Harness, ledger: &kill_load::SharedLedger) {
    assert!(harness.server.terminate().await.success());
    let options = Options {
        directory: harness.server.data_dir(),
        readers: 1,
        group_max: 1,
        queue_max: 1,
        now: Timestamp::from_millis(0),
        publish: Box::new(|_| {}),
        on_failure: Box::new(|error| panic!("{error}")),
    };
    let store = Store::open(options).unwrap();
    let leases: BTreeSet<(String, String)> = store
        .leases()
        .await
        .unwrap()
        .into_iter()
        .map(|lease| (lease.agent_id.to_string(), lease.bead_id.to_string()))
        .collect();
    store.close();
    let held: BTreeSet<(String, String)> = lock_ledger(ledger)
        .agent_states
        .iter()
        .filter_map(|(agent, agent_state)| Some((agent.clone(), agent_state.held.as_ref()?.0.clone())))
        .collect();
    assert_eq!(leases, held);
}
