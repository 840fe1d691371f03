//! Reads of one bead over HTTP, compared with an endpoint that does nothing.
//!
//! 64 keep-alive connections request `GET /api/v1/beads/{id}` from a server of this process. They request an
//! endpoint that answers 204 at once from another server, with the same accept loop, checks and token. The
//! client is one thread of the same process, on the same cores. Short rounds alternate, each time in the other
//! order, because other processes may use the machine; the ratio is the median of the rounds' ratios. Three
//! loads: without changes, with 50 beads created per second (which invalidates cached answers), and each of
//! 20,000 beads in turn.
//!
//! `cargo bench --bench reads`

#[path = "harness/server.rs"]
mod server;

use arbiter::config::Settings;
use arbiter::core::bead::edit::NewBead;
use arbiter::http::{ApiError, ApiRequest, Endpoint, Reply, serve_endpoints};
use arbiter_actors::{BeadsHandle, Caller, Error as ActorError};
use arbiter_testkit::{Report, median, ms, percentile, request_bytes, run_load};
use server::{PROJECT, Server};
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CLIENTS: usize = 64;
const ROUNDS: usize = 24;
const SPAN: Duration = Duration::from_millis(300);
/// Beads in the database.
const BEADS: usize = 20_000;
/// Beads that are read repeatedly.
const HOT_BEADS: usize = 1000;
/// Interval between two creations, if any.
const EVENT_INTERVAL: Duration = Duration::from_millis(20);

fn main() -> Outcome<()> {
    let server = Server::start(Settings::default())?;
    let empty = server.runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let endpoints = vec![Endpoint::get("/api/v1/empty", nothing)];
        tokio::spawn(serve_endpoints(server.context.clone(), endpoints, listener, std::future::pending()));
        Ok::<SocketAddr, std::io::Error>(address)
    })?;
    server.runtime.block_on(fill(&server.handles.beads))?;
    let mut report = Report::new();
    compare(&server, empty, &mut report, "a bead, nothing changes", ">= 85 % of empty", HOT_BEADS)?;
    let beads = server.handles.beads.clone();
    let writing = server.runtime.spawn(async move {
        let mut pace = tokio::time::interval(EVENT_INTERVAL);
        loop {
            pace.tick().await;
            if let Err(fault) = beads.create(&Caller::named("bench"), new_bead(None)).await {
                return fault;
            }
        }
    });
    compare(&server, empty, &mut report, "a bead, 50 creations/s", ">= 85 % of empty", HOT_BEADS)?;
    if writing.is_finished() {
        return Err(server.runtime.block_on(writing)?.into());
    }
    writing.abort();
    compare(&server, empty, &mut report, "another bead each time", "-", BEADS)?;
    report.print("cargo bench --bench reads");
    Ok(())
}

async fn nothing(_: ApiRequest) -> Result<Reply, ApiError> {
    Ok(Reply::no_content())
}

fn new_bead(id: Option<String>) -> NewBead {
    let description = "d".repeat(200);
    NewBead { id, title: "Work item".into(), description, project_id: PROJECT.into(), ..NewBead::default() }
}

async fn fill(beads: &BeadsHandle) -> Result<(), ActorError> {
    for hundred in 0..BEADS / 100 {
        let caller = Caller::named("bench");
        let making = (0..100).map(|number| {
            let new = new_bead(Some(format!("b{}", hundred * 100 + number)));
            let caller = caller.clone();
            async move { beads.create(&caller, new).await }
        });
        futures_util::future::try_join_all(making).await?;
    }
    Ok(())
}

/// Reads `beads` beads and the empty endpoint in turn.
fn compare(
    server: &Server,
    empty: SocketAddr,
    report: &mut Report,
    what: &str,
    reach: &str,
    beads: usize,
) -> Outcome<()> {
    let nothing = request_bytes("GET", "/api/v1/empty", &server.token, None);
    let requests: Vec<Vec<u8>> = (0..beads)
        .map(|number| request_bytes("GET", &format!("/api/v1/beads/b{number}"), &server.token, None))
        .collect();
    let (mut read, mut empty_rates, mut ratios, mut latencies) = (vec![], vec![], vec![], vec![]);
    let mut asked = 0;
    for round in 0..ROUNDS {
        let from = asked;
        let ask = || {
            run_load(server.address, CLIENTS, SPAN, 200, |_, number| {
                requests[(from + number) % beads].clone()
            })
        };
        let idle = || run_load(empty, CLIENTS, SPAN, 204, |_, _| nothing.clone());
        let (bead, bare) = if round % 2 == 0 {
            let bead = ask()?;
            (bead, idle()?)
        } else {
            let bare = idle()?;
            (ask()?, bare)
        };
        asked += bead.latencies.len();
        if bead.refused + bare.refused > 0 {
            return Err("a request was refused".into());
        }
        ratios.push(bead.rate() / bare.rate());
        read.push(bead.rate());
        empty_rates.push(bare.rate());
        latencies.extend(bead.latencies);
    }
    let ratio = format!("{:.0} %", median(ratios) * 100.0);
    report.row(what, format!("{:.0}/s", median(read)), ratio, reach);
    let spread =
        format!("{} / {}", ms(percentile(&mut latencies, 0.5)), ms(percentile(&mut latencies, 0.99)));
    report.row("  p50 / p99", spread, "-", "-");
    report.row("  empty handler meanwhile", format!("{:.0}/s", median(empty_rates)), "100 %", "-");
    Ok(())
}
