//! Latency from a committed event to 1,000 listeners.
//!
//! 1,000 SSE connections to a server of this process are read by one thread on the same cores: raw TCP, and
//! every frame's id is checked. Events are committed one at a time, 50 a second, for 20 s, so that each is a
//! write to every connection. A latency runs from the acknowledgement of the commit until the client has read
//! the frame; `from the call` includes the commit and its fsync. Every client must receive every number once:
//! `lost` and `doubled` are counted over all clients.
//!
//! The baseline is the minimal fan-out: 1,000 tasks on the same runtime, each of which writes the same bytes
//! from a broadcast channel to its socket. It has no HTTP, filters, log or resumption, and uses the same pace
//! and the same clients.
//!
//! `cargo bench --bench fanout`

#[path = "harness/bare_fanout.rs"]
mod bare;
#[path = "harness/server.rs"]
mod server;

use arbiter::config::Settings;
use arbiter_actors::{BusHandle, Caller, LogLine};
use arbiter_testkit::{
    Report, ms, percentile, processor_seconds, raise_open_file_limit, request_bytes, resident_bytes,
};
use serde_json::json;
use server::Server;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const SUBSCRIBERS: usize = 1000;
const EVENTS: usize = 1000;
/// Interval between two events: 50 a second.
const EVENT_INTERVAL: Duration = Duration::from_millis(20);
/// Time for which clients wait for missing events.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Event numbers of a client with their arrival times.
type Arrivals = Vec<(u64, Instant)>;

/// An event: its number, and the times of its commit request and its acknowledgement.
struct Sent {
    seq: u64,
    called: Instant,
    acknowledged: Instant,
}

fn main() -> Outcome<()> {
    raise_open_file_limit(4 * SUBSCRIBERS as u64)?;
    let mut settings = Settings::default();
    settings.http.max_streams = SUBSCRIBERS;
    settings.http.max_connections = SUBSCRIBERS + 16;
    let server = Server::start(settings)?;
    let mut bare = bare::latencies(&server.runtime)?;
    let empty = resident_bytes("self")?;
    let clients = connect(server.address, &server.token)?;
    let full = resident_bytes("self")?;
    let busy = processor_seconds("self")?;
    let started = Instant::now();
    let sent = server.runtime.block_on(server.runtime.spawn(send(server.handles.bus.clone())))??;
    let took = started.elapsed();
    let arrivals = clients.join().map_err(|_| "the clients panicked")??;
    let busy = processor_seconds("self")? - busy;
    let mut report = Report::new();
    let (lost, doubled) = check(&sent, &arrivals);
    let (mut from_commit, mut from_call) = (vec![], vec![]);
    for (seq, at) in arrivals.iter().flatten() {
        let found = sent.binary_search_by_key(seq, |one| one.seq).ok().and_then(|place| sent.get(place));
        let one = found.ok_or("a frame that was not sent")?;
        from_commit.push(at.saturating_duration_since(one.acknowledged));
        from_call.push(at.saturating_duration_since(one.called));
    }
    let rate = EVENTS as f64 / took.as_secs_f64();
    report.row("subscribers, events", format!("{SUBSCRIBERS}, {EVENTS} at {rate:.0}/s"), "-", "1000 at 50/s");
    for (what, share, reach) in
        [("commit to client p50", 0.5, "-"), ("commit to client p99", 0.99, "<= 50 ms")]
    {
        let (ours, least) = (percentile(&mut from_commit, share), percentile(&mut bare, share));
        let ratio = format!("{:.1} x bare", ours.as_secs_f64() / least.as_secs_f64());
        report.row(what, ms(ours), ratio, reach);
        report.row("  bare sockets", ms(least), "1", "-");
    }
    report.row("  most", ms(percentile(&mut from_commit, 1.0)), "-", "-");
    report.row("from the call p50", ms(percentile(&mut from_call, 0.5)), "-", "-");
    report.row("from the call p99", ms(percentile(&mut from_call, 0.99)), "-", "-");
    report.row("lost", lost.to_string(), "-", "0");
    report.row("doubled", doubled.to_string(), "-", "0");
    let share = format!("{:.0} %", 100.0 * busy / took.as_secs_f64());
    report.row("processor, server and clients", share, "of one core", "-");
    let each = (full - empty) / SUBSCRIBERS as u64;
    report.row("memory of a subscriber, both ends", format!("{each} bytes"), "-", "-");
    report.print("cargo bench --bench fanout");
    Ok(())
}

/// Commits the events at a fixed pace.
async fn send(bus: BusHandle) -> Outcome<Vec<Sent>> {
    let caller = Caller::named("bench");
    let mut pace = tokio::time::interval(EVENT_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sent = Vec::with_capacity(EVENTS);
    for number in 0..EVENTS {
        pace.tick().await;
        let called = Instant::now();
        let line = LogLine {
            source: "bench",
            project_id: None,
            subject: "bench".into(),
            data: json!({"level": "info", "message": "x".repeat(120), "number": number}),
        };
        let seq = bus.log(&caller, line).await?;
        sent.push(Sent { seq, called, acknowledged: Instant::now() });
    }
    Ok(sent)
}

/// Counts lost and doubled frames over all clients; an event out of order counts as both.
fn check(sent: &[Sent], arrivals: &[Arrivals]) -> (usize, usize) {
    let (mut lost, mut doubled) = (0, 0);
    for own in arrivals {
        let mut numbers: Vec<u64> = own.iter().map(|(seq, _)| *seq).collect();
        let ordered = numbers.is_sorted();
        numbers.sort_unstable();
        let all = numbers.len();
        numbers.dedup();
        doubled += all - numbers.len() + usize::from(!ordered);
        let missing = sent.iter().filter(|one| numbers.binary_search(&one.seq).is_err()).count();
        lost += missing + usize::from(!ordered);
    }
    (lost, doubled)
}

/// Starts the clients on a thread of their own and waits until all are connected.
fn connect(address: SocketAddr, token: &str) -> Outcome<JoinHandle<Outcome<Vec<Arrivals>>>> {
    let (ready, connected) = mpsc::channel();
    let token = token.to_owned();
    let clients = std::thread::spawn(move || listen(address, &token, &ready));
    connected.recv_timeout(Duration::from_secs(60))?;
    Ok(clients)
}

/// Runs all clients on this thread.
fn listen(address: SocketAddr, token: &str, ready: &mpsc::Sender<()>) -> Outcome<Vec<Arrivals>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let request = request_bytes("GET", "/api/v1/events/stream", token, None);
    runtime.block_on(async {
        let mut streams = Vec::with_capacity(SUBSCRIBERS);
        for _ in 0..SUBSCRIBERS {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(&request).await?;
            let mut head = Vec::new();
            while !head.windows(12).any(|part| part == b"\"resumed_fro") {
                if stream.read_buf(&mut head).await? == 0 {
                    return Err(format!("a stream ended: {}", String::from_utf8_lossy(&head)).into());
                }
            }
            streams.push(stream);
        }
        ready.send(())?;
        let reading: Vec<_> = streams.into_iter().map(|stream| tokio::spawn(read(stream))).collect();
        let mut arrivals = Vec::with_capacity(SUBSCRIBERS);
        for task in reading {
            arrivals.push(task.await??);
        }
        Ok(arrivals)
    })
}

/// Reads one stream until it has all events.
async fn read(mut stream: TcpStream) -> std::io::Result<Arrivals> {
    let (mut arrivals, mut unread) = (Vec::with_capacity(EVENTS), Vec::with_capacity(8192));
    while arrivals.len() < EVENTS {
        let more = tokio::time::timeout(WAIT_TIMEOUT, stream.read_buf(&mut unread)).await;
        if !matches!(more, Ok(Ok(1..))) {
            break;
        }
        let now = Instant::now();
        let whole = unread.windows(2).rposition(|pair| pair == b"\n\n").map_or(0, |at| at + 2);
        let text = unread.get(..whole).unwrap_or_default();
        for line in text.split(|byte| *byte == b'\n') {
            let number = line.strip_prefix(b"id: ").and_then(|rest| std::str::from_utf8(rest).ok());
            if let Some(seq) = number.and_then(|text| text.parse().ok()) {
                arrivals.push((seq, now));
            }
        }
        unread.drain(..whole);
    }
    Ok(arrivals)
}
