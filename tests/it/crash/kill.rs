//! A server that is killed fifty times under load, as by a power cut, and looked at after each.

use crate::crash::kill_load::{self, EXTERNAL, Hand, Ledger, THEIRS, open};
use crate::crash::kill_oracle::Oracle;
use crate::harness::rng::Dice;
use crate::harness::{SOON, Stage};
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
/// Within this a killed server is ready again: far less is usual, but other tests run beside this one.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How long the model thinks while the oracle looks, so that agents stand still for a moment.
const THINKS_SLOWLY_MS: u64 = 250;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_under_load_lose_no_answered_change_and_leave_none_half_done() {
    let mut dice = Dice::thrown();
    let thinks = Arc::new(AtomicU64::new(5));
    let model = {
        let thinks = Arc::clone(&thinks);
        Script::answering(move |chat| {
            let summary = format!("[simulated] chat {}", chat.number);
            let delay = Duration::from_millis(thinks.load(Ordering::Relaxed));
            Reply::tool("finish", json!({"summary": summary})).after(delay)
        })
    };
    let mut stage = Stage::new().await;
    let provider = stage.furnish(model, &["llm-0", "llm-1", "llm-2"]).await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    for agent in EXTERNAL {
        stage.create("agents", json!({"id": agent, "name": agent, "kind": "external", "role": "ext"})).await;
        open(&ledger).hands.insert(agent.to_owned(), Hand::default());
    }
    let mut oracle = Oracle::default();
    let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
    let mut round = 0;
    while round < KILLS || (open(&ledger).answered <= CHANGES && round < 4 * KILLS) {
        round += 1;
        thinks.store(dice.roll(40), Ordering::Relaxed);
        let mut writers = kill_load::start(&stage.server, &ledger, round, &mut dice);
        tokio::time::sleep(Duration::from_millis(50 + dice.roll(300))).await;
        stage.server.kill9();
        while let Some(ended) = writers.join_next().await {
            ended.unwrap();
        }
        thinks.store(THINKS_SLOWLY_MS, Ordering::Relaxed);
        let started = Instant::now();
        stage.server.restart().await;
        slowest = slowest.max(started.elapsed());
        assert!(started.elapsed() < READY_WITHIN, "ready after {:?}", started.elapsed());
        oracle.check(&stage, &ledger).await;
    }
    let answered = open(&ledger).answered;
    eprintln!(
        "{round} kills in {:?}, {answered} changes answered, {} beads, {} chats, slowest start {slowest:?}",
        begun.elapsed(),
        open(&ledger).beads.len(),
        provider.chat_count(),
    );
    assert!(answered > CHANGES && provider.chat_count() > 20, "there was too little to lose: {answered}");

    thinks.store(0, Ordering::Relaxed);
    settle(&stage).await;
    oracle.check_all(&stage, &ledger).await;
    leases_match(&mut stage, &ledger).await;
}

/// Approves whatever waits for a person, until agents have nothing left to do.
async fn settle(stage: &Stage) {
    let mut events = stage.stream("?type=bead.*,decision.*", Some(0)).await;
    let has_work = async || {
        for decision in stage.get("decisions?status=pending&priority=0&limit=1000").await.as_array().unwrap()
        {
            let id = decision["id"].as_str().unwrap();
            stage.act(&format!("decisions/{id}/decide"), json!({"decision": "approve"})).await;
        }
        let ready = stage.get("beads/ready?limit=1000").await;
        let held = stage.get("beads?status=in_progress").await;
        let of_llm = |bead: &serde_json::Value| bead["tags"] != json!([THEIRS]);
        ready.as_array().unwrap().iter().chain(held.as_array().unwrap()).any(of_llm)
    };
    while has_work().await {
        events.next(SOON).await.unwrap();
    }
}

/// In the end the database is opened: each held bead has its lease, and no other has one.
async fn leases_match(stage: &mut Stage, ledger: &kill_load::Shared) {
    assert!(stage.server.terminate().await.success());
    let options = Options {
        directory: stage.server.data_dir(),
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
    let held: BTreeSet<(String, String)> = open(ledger)
        .hands
        .iter()
        .filter_map(|(agent, hand)| Some((agent.clone(), hand.held.as_ref()?.0.clone())))
        .collect();
    assert_eq!(leases, held);
}
