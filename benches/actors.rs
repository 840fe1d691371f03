//! Cost of a bead's actor: time of a request, and memory.
//!
//! The request is a heartbeat with a wrong lease token. The actor reads bead, facts and lease from the store
//! and refuses; nothing is written. The baseline is the same read without the actor; `ask` is the difference.
//! Memory is that of the whole process before and after 100,000 actors were started by one such request each.
//! Idle actors are kept for an hour instead of a minute, so that all of them are alive at the end.
//!
//! `cargo bench --bench actors`

#[path = "harness/server.rs"]
mod server;

use arbiter::config::Settings;
use arbiter::core::bead::edit::NewBead;
use arbiter::core::kernel::ids::BeadId;
use arbiter_actors::{Caller, Handles};
use arbiter_testkit::{Report, median, resident_bytes};
use server::{PROJECT, Server};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 5;
const SPAN: Duration = Duration::from_secs(1);
const PARALLEL: usize = 64;
const ACTORS: usize = 100_000;
/// Concurrent requests while the actors are started.
const START_CONCURRENCY: usize = 256;

fn main() -> Outcome<()> {
    let mut settings = Settings::default();
    settings.actors.idle_retire_ms = 3_600_000;
    let server = Server::start(settings)?;
    server.runtime.block_on(fill(&server.handles, PARALLEL))?;
    let mut report = Report::new();
    for tasks in [1, PARALLEL] {
        let (mut asks, mut reads) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            asks.push(rate(&server, tasks, Question::Actor)?);
            reads.push(rate(&server, tasks, Question::Store)?);
        }
        let (ask, read) = (median(asks), median(reads));
        let figure = |rate: f64| format!("{rate:.0}/s, {:.1} us each", 1e6 / rate);
        report.row(
            &format!("{tasks} at once: actor"),
            figure(ask),
            format!("{:.0} %", ask / read * 100.0),
            "-",
        );
        report.row("  the read in it", figure(read), "100 %", "-");
        report.row("  ask alone", format!("{:.1} us", 1e6 / ask - 1e6 / read), "-", "-");
    }
    server.runtime.block_on(fill(&server.handles, ACTORS))?;
    let before = resident_bytes("self")?;
    let started = Instant::now();
    server.runtime.block_on(start_all(&server.handles));
    let took = started.elapsed();
    let after = resident_bytes("self")?;
    let living = server.runtime.block_on(server.handles.orchestrator.status())?.actors;
    let beads = living.iter().find(|(kind, _)| kind == "bead").map_or(0, |(_, count)| *count);
    if beads != ACTORS {
        return Err(format!("{beads} of {ACTORS} actors are alive").into());
    }
    report.row(
        &format!("memory of a bead's actor, at {ACTORS}"),
        format!("{} bytes", (after - before) / ACTORS as u64),
        "-",
        "-",
    );
    report.row("  all of them", format!("{} MB", (after - before) / 1_000_000), "-", "-");
    report.row("  started", format!("{:.0}/s", ACTORS as f64 / took.as_secs_f64()), "-", "-");
    report.print("cargo bench --bench actors");
    Ok(())
}

/// Kind of request to measure.
#[derive(Clone, Copy)]
enum Question {
    Actor,
    Store,
}

async fn ask(handles: &Handles, question: Question, number: usize) -> bool {
    let id = BeadId::from_trusted(format!("b{number}"));
    match question {
        Question::Actor => handles.beads.heartbeat(&id, "wrong".to_owned()).await.is_err(),
        Question::Store => matches!(handles.store.bead_state(id.to_string()).await, Ok(Some(_))),
    }
}

/// Measures requests per second; each task uses a bead of its own.
fn rate(server: &Server, tasks: usize, question: Question) -> Outcome<f64> {
    let started = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|number| {
            let handles = server.handles.clone();
            server.runtime.spawn(async move {
                let mut asked = 0_u32;
                while started.elapsed() < SPAN {
                    if !ask(&handles, question, number).await {
                        return 0;
                    }
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    let mut asked = 0;
    for task in running {
        asked += server.runtime.block_on(task)?;
    }
    Ok(f64::from(asked) / started.elapsed().as_secs_f64())
}

async fn start_all(handles: &Handles) {
    let permits = Arc::new(tokio::sync::Semaphore::new(START_CONCURRENCY));
    for number in 0..ACTORS {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let handles = handles.clone();
        tokio::spawn(async move {
            ask(&handles, Question::Actor, number).await;
            drop(permit);
        });
    }
    // All requests have ended when every permit is back.
    let _ = permits.acquire_many(START_CONCURRENCY as u32).await;
}

/// Creates beads up to `count`; existing ones are skipped.
async fn fill(handles: &Handles, count: usize) -> Outcome<()> {
    let from = if count > PARALLEL { PARALLEL } else { 0 };
    for first in (from..count).step_by(START_CONCURRENCY) {
        let making = (first..count.min(first + START_CONCURRENCY)).map(|number| async move {
            let new = NewBead {
                id: Some(format!("b{number}")),
                title: "Work item".into(),
                project_id: PROJECT.into(),
                ..NewBead::default()
            };
            handles.beads.create(&Caller::named("bench"), new).await
        });
        futures_util::future::try_join_all(making).await?;
    }
    Ok(())
}
