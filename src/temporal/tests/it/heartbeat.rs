//! The heartbeat of a provider goes on through many runs, and ends when it is told to.
//!
//! A beat takes a fifth of a second of this server. `ARBITER_BEATS=1000` lets it beat longer than one new run needs.

use crate::harness::{Harness, failed_tasks, wait_until};
use arbiter_temporal::codec::names::Kind;
use arbiter_testkit::TemporalServer;
use serde_json::json;
use std::time::{Duration, Instant};

/// After so many a run continues as another.
const HEARTBEATS_PER_RUN: u64 = 250;
/// The longest history of a run: there the server says that it is enough.
const LONGEST: usize = 4_096;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_span_several_runs_and_stop_ends_them() {
    // Else a timer of this server takes a second, however short it is.
    let fine = ["--dynamic-config-value", "history.timerProcessorMaxTimeShift=\"1ms\""];
    let mut harness = Harness::at(TemporalServer::start_with(&fine).await).await;
    harness.start_workers().await;
    let wanted = std::env::var("ARBITER_BEATS").map_or(HEARTBEATS_PER_RUN + 20, |text| text.parse().unwrap());
    let began = Instant::now();
    harness.mirror(Kind::Provider, "p", json!({"id": "p", "status": "healthy"})).await;
    wait_until("so many beats", Duration::from_secs(500), async || {
        harness.control_plane.state().heartbeats >= wanted
    })
    .await;
    println!("{wanted} beats in {:?}", began.elapsed());
    assert_eq!(harness.query(Kind::Provider, "p", "getStatus").await, "healthy");
    harness.signal(Kind::Provider, "p", "stop", &json!(null)).await;
    assert_eq!(harness.wait_for_result(Kind::Provider, "p").await, "stopped");
    let heartbeats = harness.control_plane.state().heartbeats;

    let runs = harness.runs(Kind::Provider, "p").await;
    assert!(runs.len() as u64 > (wanted - 1) / HEARTBEATS_PER_RUN, "{runs:?}");
    for (run, _) in &runs {
        let history = harness.history(Kind::Provider, "p", Some(run)).await;
        assert!(history.len() < LONGEST, "{}", history.len());
        assert!(failed_tasks(&history).is_empty());
    }
    assert_eq!(harness.control_plane.state().heartbeats, heartbeats, "it beats no more");
    harness.shutdown().await;
}
