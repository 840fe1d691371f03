//! Durable bead creations over HTTP, compared with the limit of SQLite.
//!
//! 64 keep-alive connections create beads (`POST /api/v1/beads`, one tag, 200 bytes of description,
//! authentication on) in a server of this process. The client is one thread of the same process, on the same
//! cores. Then bare rusqlite inserts the same rows (bead, tag, two events with their hashes, all indexes) into
//! a second database of the same schema. Its transactions have the mean size that the server's writer reported,
//! with `synchronous=FULL`. Rounds alternate, so that both use the same disk; the ratio is the median of the
//! rounds' ratios. `store alone` is the same load without HTTP.
//!
//! `cargo bench --bench creates`

#[path = "harness/raw_sqlite.rs"]
mod raw_sqlite;
#[path = "harness/server.rs"]
mod server;

use arbiter::config::Settings;
use arbiter::core::bead::edit::NewBead;
use arbiter_actors::{Caller, Error as ActorError};
use arbiter_testkit::{Report, median, ms, percentile, request_bytes, run_load};
use raw_sqlite::RawSqlite;
use server::{PROJECT, Server};
use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const CLIENTS: usize = 64;
const ROUNDS: usize = 5;
const SPAN: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let server = Server::start(Settings::default())?;
    let mut raw = RawSqlite::make(server.handles.store.path())?;
    let description = "d".repeat(200);
    let body = |number: usize| {
        format!(
            r#"{{"title":"Work item {number}","description":"{description}","project_id":"{PROJECT}","tags":["load"]}}"#
        )
    };
    let (mut http, mut store, mut bare, mut ratios, mut batches) = (vec![], vec![], vec![], vec![], vec![]);
    let mut latencies = vec![];
    for _ in 0..ROUNDS {
        let before = counts(&server);
        let load = run_load(server.address, CLIENTS, SPAN, 201, |_, number| {
            request_bytes("POST", "/api/v1/beads", &server.token, Some(&body(number)))
        })?;
        if load.refused > 0 {
            return Err(format!("{} creations were refused", load.refused).into());
        }
        let after = counts(&server);
        let batch = (after.1 - before.1) / (after.0 - before.0).max(1);
        let raw_rate = raw.replay(usize::try_from(batch)?.max(1))?;
        ratios.push(load.rate() / raw_rate);
        http.push(load.rate());
        bare.push(raw_rate);
        batches.push(batch as f64);
        latencies.extend(load.latencies);
        store.push(without_http(&server, &description)?);
        raw.skip_to_newest()?;
    }
    let mut report = Report::new();
    let (http, store, bare) = (median(http), median(store), median(bare));
    let ratio = |part: f64| format!("{:.0} %", part * 100.0);
    report.row(
        &format!("creations over HTTP, {CLIENTS} clients"),
        format!("{http:.0}/s"),
        ratio(median(ratios)),
        ">= 50 % of raw",
    );
    let spread =
        format!("{} / {}", ms(percentile(&mut latencies, 0.5)), ms(percentile(&mut latencies, 0.99)));
    report.row("  p50 / p99", spread, "-", "-");
    report.row("store alone, 64 tasks", format!("{store:.0}/s"), ratio(store / bare), "-");
    report.row(
        &format!("raw SQLite, {:.0} a transaction", median(batches)),
        format!("{bare:.0}/s"),
        "100 %",
        "-",
    );
    report.print("cargo bench --bench creates");
    Ok(())
}

/// Returns the transactions and units that the writer has committed.
fn counts(server: &Server) -> (u64, u64) {
    let stats = server.handles.store.stats();
    (stats.commits.load(Ordering::Relaxed), stats.units.load(Ordering::Relaxed))
}

/// Measures the same creations per second from tasks of this process.
fn without_http(server: &Server, description: &str) -> Result<f64, Box<dyn Error + Send + Sync>> {
    let started = Instant::now();
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (beads, description) = (server.handles.beads.clone(), description.to_owned());
            server.runtime.spawn(async move {
                let (caller, mut made) = (Caller::named("bench"), 0_u32);
                while started.elapsed() < SPAN / 2 {
                    let new = NewBead {
                        title: format!("Work item {made}"),
                        description: description.clone(),
                        project_id: PROJECT.into(),
                        tags: vec!["load".into()],
                        ..NewBead::default()
                    };
                    beads.create(&caller, new).await?;
                    made += 1;
                }
                Ok::<u32, ActorError>(made)
            })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += server.runtime.block_on(task)??;
    }
    Ok(f64::from(made) / started.elapsed().as_secs_f64())
}
