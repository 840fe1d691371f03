//! A hundred external agents with tokens of their own complete 10,000 dependent beads; some agents die, and the
//! server is killed once.
//!
//! The server is the real binary, a child process. Each agent is a connection that claims (`POST
//! /beads/claim`), renews the lease once and ends the bead, without a pause, so that the figures show a server
//! at its limit. For each bead, the agent dies with a chance of one in a hundred: during the claim, while it
//! holds the bead, or while it ends it. A returning agent tries its old token first. When a third of the beads
//! is done, the server gets SIGKILL and starts again on its data. At the end the log is replayed
//! (`swarm/proof.rs`). A bead done twice, before its blockers or not at all, or an accepted old token, is an
//! error and gives no figures. `claim` counts the claims that found a bead at once. After that all agents wait,
//! and beads become ready for them (`swarm/idle.rs`).
//!
//! `cargo bench --bench swarm`; `ARBITER_SWARM_SEED` for other beads and deaths

#[path = "swarm/agent.rs"]
mod agent;
#[path = "swarm/idle.rs"]
mod idle;
#[path = "swarm/plan.rs"]
mod plan;
#[path = "swarm/proof.rs"]
mod proof;

use agent::{Agent, Shared, Tally};
use arbiter_testkit::{Report, ServerProcess, SplitMix64, ms, percentile, raise_open_file_limit};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use std::cell::Cell;
use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::watch;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PROJECT: &str = "swarm";
const AGENTS: usize = 100;
const BEADS: usize = 10_000;
/// Beads created by one request.
const BULK: usize = 500;
const SEED: u64 = 11;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    raise_open_file_limit(4 * AGENTS as u64)?;
    let seed = std::env::var("ARBITER_SWARM_SEED").map_or(Ok(SEED), |text| text.parse())?;
    let mut rng = SplitMix64::new(seed);
    // Random deaths must not make a bead escalate to a person.
    let patient = [("ARBITER_DISPATCH__ATTEMPTS_MAX", "1000")];
    let mut server = ServerProcess::start(env!("CARGO_BIN_EXE_arbiter"), &[], &patient).await;
    let plan = plan::plan(BEADS, &mut rng);
    let mut report = Report::new();
    let tokens = setup(&server, &plan, &mut report).await?;

    let shared = Shared {
        address: watch::Sender::new(Some(address(&server)?)),
        done: Cell::new(0),
        is_complete: watch::Sender::new(false),
        beads: BEADS,
        deaths_until: BEADS / 10 * 9,
        admin: server.token().ok_or("no token")?.to_owned(),
        answered: Cell::new(0),
    };
    let agents = tokens.iter().enumerate().map(|(number, token)| {
        Agent::new(&shared, format!("e{number}"), token.clone(), SplitMix64::new(rng.next_u64())).run()
    });
    let agents = try_join_all(agents.collect::<Vec<_>>());
    let began = Instant::now();
    let (mut tallies, kill_report): (Vec<Tally>, KillReport) =
        tokio::try_join!(agents, kill(&mut server, &shared))?;
    let took = began.elapsed();

    let proof = proof::prove(&server, &plan, &tallies).await?;
    let alive = kill_report.at - began;
    let rate = |count: usize, span: Duration| format!("{:.0}/s", count as f64 / span.as_secs_f64());
    report.row("10,000 beads by 100 agents: beads until the kill", rate(kill_report.done, alive), "-", "-");
    report.row("  requests answered until then", rate(kill_report.answered, alive), "-", "-");
    report.row(
        "  the whole run, leases of the dead included",
        format!("{:.1} s", took.as_secs_f64()),
        "-",
        "-",
    );
    let mut claims: Vec<Duration> = tallies.iter_mut().flat_map(|tally| tally.claims.drain(..)).collect();
    report.row("  claim at full load: p50 / p99", p50_p99(&mut claims), "-", "-");
    let mut renewals = tallies.iter_mut().flat_map(|tally| tally.renewals.drain(..)).collect::<Vec<_>>();
    report.row("  renew a lease: p50 / p99", p50_p99(&mut renewals), "-", "-");
    let mut ends = tallies.iter_mut().flat_map(|tally| tally.ends.drain(..)).collect::<Vec<_>>();
    report.row("  end a bead: p50 / p99", p50_p99(&mut ends), "-", "-");
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let waits = sum(|tally| tally.waits);
    report.row("  claims that waited for a bead", format!("{waits} of {}", claims.len() + waits), "-", "-");
    let deaths = [0, 1, 2].map(|at| tallies.iter().map(|tally| tally.deaths[at]).sum::<usize>());
    let [claiming, holding, ending] = deaths;
    report.row("  deaths: claiming, holding, ending", format!("{claiming}, {holding}, {ending}"), "-", "-");
    report.row("  SIGKILL to ready again", ms(kill_report.down), "-", "-");
    report.row("    connections lost", sum(|tally| tally.lost).to_string(), "-", "-");
    report.row("  events replayed", proof.events.to_string(), "-", "-");
    report.row("  claims that came back", proof.returned.to_string(), "-", "-");
    report.row("  stale tokens tried", sum(|tally| tally.stale.len()).to_string(), "-", "-");
    report.row("    let in", "0", "-", "0");
    report.row("  done twice, stuck", "0, 0", "-", "0, 0");

    let mut idle = idle::measure(&server, address(&server)?, &tokens).await?;
    report.row(
        "100 wait, one bead: ready to assigned p50 / p99",
        p50_p99(&mut idle.single),
        "-",
        "p99 <= 20 ms",
    );
    report.row("  create to lease in hand p50 / p99", p50_p99(&mut idle.in_hand), "-", "-");
    report.row("100 wait, 100 beads at once: the same", p50_p99(&mut idle.burst), "-", "-");
    report.print("cargo bench --bench swarm");
    Ok(())
}

fn p50_p99(times: &mut [Duration]) -> String {
    format!("{} / {}", ms(percentile(times, 0.5)), ms(percentile(times, 0.99)))
}

fn address(server: &ServerProcess) -> Outcome<SocketAddr> {
    Ok(server.url().trim_start_matches("http://").parse()?)
}

fn check_created((status, body): (u16, Value)) -> Outcome<Value> {
    if status == 201 { Ok(body) } else { Err(format!("not made: {status} {body}").into()) }
}

/// Creates the project, the beads and the agents; returns the agents' tokens.
async fn setup(server: &ServerProcess, plan: &[plan::Planned], report: &mut Report) -> Outcome<Vec<String>> {
    check_created(server.post("/api/v1/projects", &json!({"id": PROJECT, "name": "Swarm"})).await)?;
    let began = Instant::now();
    for part in plan.chunks(BULK) {
        let beads: Vec<Value> = part.iter().map(|bead| bead.body(PROJECT)).collect();
        check_created(server.post("/api/v1/beads/bulk", &json!({"beads": beads})).await)?;
    }
    let took = format!("{:.2} s", began.elapsed().as_secs_f64());
    report.row("10,000 beads made, 500 by a request", took, "-", "-");
    let mut tokens = Vec::with_capacity(AGENTS);
    for number in 0..AGENTS {
        let id = format!("e{number}");
        let agent = json!({"id": id, "name": id, "kind": "external", "project_id": PROJECT});
        check_created(server.post("/api/v1/agents", &agent).await)?;
        let token = json!({"name": id, "role": "agent", "agent_id": id, "projects": [PROJECT]});
        let token = check_created(server.post("/api/v1/tokens", &token).await)?;
        tokens.push(token["token"].as_str().ok_or("no token")?.to_owned());
    }
    Ok(tokens)
}

/// Result of the kill and restart.
struct KillReport {
    at: Instant,
    done: usize,
    answered: usize,
    /// Time until the server was ready again.
    down: Duration,
}

/// Kills the server during the work and starts it again.
async fn kill(server: &mut ServerProcess, shared: &Shared) -> Outcome<KillReport> {
    while shared.done.get() < shared.beads / 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shared.address.send_replace(None);
    let (at, done, answered) = (Instant::now(), shared.done.get(), shared.answered.get());
    server.kill9();
    server.restart().await;
    let down = at.elapsed();
    shared.address.send_replace(Some(address(server)?));
    Ok(KillReport { at, done, answered, down })
}
