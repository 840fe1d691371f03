//! A server with 100,000 beads: speed of import, start, the ready list, claims and dispatch.
//!
//! The beads are generated in the shape of a large tracker (60 % closed, 1.2 dependencies each) and imported as
//! one file over HTTP; `again` imports the same file once more, without changes. The server is the real binary,
//! a child process, used over HTTP. `ready`: one connection requests the first 100 ready beads repeatedly. It
//! requests `/health/live` in between, which shows the machine's effect on any request at that time. `claim`:
//! one external agent claims bead after bead and completes each; only the claims count. `agent has it`: beads
//! are created one by one for a free agent, in a separate project; a time runs from `bead.ready` to
//! `bead.assigned` as one client of the event stream receives them. `fsync` is the baseline of both: after each
//! claim, bare SQLite commits one small row on the same disk.
//!
//! `cargo bench --bench ready`

use arbiter_testkit::{
    KeepAlive, Reply, Report, Script, ScriptedProvider, ServerProcess, SseClient, generated_beads, ms,
    peak_bytes, percentile, processor_seconds, raise_open_file_limit, request_bytes, resident_bytes,
    send_text,
};
use serde_json::{Value, json};
use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const BEADS: usize = 100_000;
const BACKLOG: &str = "backlog";
const SEED: u64 = 7;
const LISTS: usize = 1000;
const CLOSED: usize = 10;
const DEPENDENTS: usize = 1000;
const CLAIMS: usize = 500;
const DISPATCHES: usize = 300;
const SUBSCRIBERS: usize = 1000;
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which the idle server is observed.
const IDLE: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    raise_open_file_limit(4 * SUBSCRIBERS as u64)?;
    let mut report = Report::new();
    let mut server = ServerProcess::start(env!("CARGO_BIN_EXE_arbiter"), &[], &[]).await;
    let mb = |bytes: u64| format!("{} MB", bytes / 1_000_000);
    let resident = |server: &ServerProcess| resident_bytes(&server.id().to_string());
    report.row("empty: resident", mb(resident(&server)?), "-", "<= 60 MB");
    import(&server, &mut report).await?;
    server.terminate().await;
    let mut starts = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        server.restart().await;
        starts.push(began.elapsed());
    }
    report.row("  start, until it listens", ms(percentile(&mut starts, 0.5)), "-", "<= 1 s");

    let address: SocketAddr = server.url().trim_start_matches("http://").parse()?;
    let token = server.token().ok_or("no token")?.to_owned();
    let mut connection = KeepAlive::connect(address).await?;
    list(&mut connection, &token, &mut report).await?;
    claim(&server, &mut connection, &token, &mut report).await?;
    close(&server, &mut connection, &token, &mut report).await?;
    bench_dispatch(&server, &mut report).await?;

    let streams = subscribe(address, &token).await?;
    let process = server.id().to_string();
    let busy = processor_seconds(&process)?;
    tokio::time::sleep(IDLE).await;
    let busy = (processor_seconds(&process)? - busy) / IDLE.as_secs_f64();
    report.row("resident, with 1,000 SSE clients", mb(resident(&server)?), "-", "<= 250 MB");
    report.row("processor, idle with them", format!("{:.2} % of a core", busy * 100.0), "-", "< 0.5 %");
    drop(streams);
    report.print("cargo bench --bench ready");
    Ok(())
}

async fn import(server: &ServerProcess, report: &mut Report) -> Outcome<()> {
    check_created(server.post("/api/v1/projects", &json!({"id": BACKLOG, "name": "A large tracker"})).await)?;
    let file: String = generated_beads(BEADS, SEED).map(|bead| bead.line() + "\n").collect();
    let url = format!("{}/api/v1/projects/{BACKLOG}/import", server.url());
    let bearer = format!("Bearer {}", server.token().ok_or("no token")?);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/x-ndjson")];
    let megabytes = file.len() / 1_000_000;
    for (what, counted, reach) in [
        (format!("100,000 beads, {megabytes} MB: read in"), "created", "<= 5 s"),
        ("  again".to_owned(), "skipped", "-"),
    ] {
        let began = Instant::now();
        let answer = send_text("POST", &url, &headers, file.clone()).await?;
        let took = began.elapsed();
        let told = answer.json();
        if told[counted] != json!(BEADS) {
            return Err(format!("import: {} {told}", answer.status).into());
        }
        report.row(&what, format!("{:.2} s", took.as_secs_f64()), "-", reach);
    }
    let peak = peak_bytes(&server.id().to_string())?;
    report.row("  most memory meanwhile", format!("{} MB", peak / 1_000_000), "-", "<= 300 MB");
    Ok(())
}

/// Closes a bead that blocks 1,000 others.
async fn close(
    server: &ServerProcess,
    connection: &mut KeepAlive,
    token: &str,
    report: &mut Report,
) -> Outcome<()> {
    let mut times = Vec::with_capacity(CLOSED);
    for round in 0..CLOSED {
        let hub = format!("hub-{round}");
        let bead = |id: &str| json!({"id": id, "title": "Work", "project_id": BACKLOG});
        check_created(server.post("/api/v1/beads", &bead(&hub)).await)?;
        let waiting: Vec<Value> = (0..DEPENDENTS)
            .map(|number| {
                let mut bead = bead(&format!("{hub}-{number}"));
                bead["blocked_by"] = json!([hub]);
                bead
            })
            .collect();
        check_created(server.post("/api/v1/beads/bulk", &json!({"beads": waiting})).await)?;
        let body = r#"{"reason":"done"}"#;
        let request = request_bytes("POST", &format!("/api/v1/beads/{hub}/close"), token, Some(body));
        let sent = Instant::now();
        let status = connection.ask(&request).await?;
        times.push(sent.elapsed());
        let (_, last) = server.get(&format!("/api/v1/beads/{hub}-{}", DEPENDENTS - 1)).await;
        if status != 200 || last["ready"] != true {
            return Err(format!("close: {status} {last}").into());
        }
    }
    report.row("close with 1,000 dependents: p50 / p99", p50_p99(&mut times), "-", "<= 50 ms");
    Ok(())
}

fn p50_p99(times: &mut [Duration]) -> String {
    format!("{} / {}", ms(percentile(times, 0.5)), ms(percentile(times, 0.99)))
}

async fn list(connection: &mut KeepAlive, token: &str, report: &mut Report) -> Outcome<()> {
    let request = request_bytes("GET", "/api/v1/beads/ready?limit=100", token, None);
    let least = request_bytes("GET", "/api/v1/health/live", token, None);
    let (mut times, mut least_times) = (Vec::with_capacity(LISTS), Vec::with_capacity(LISTS));
    for _ in 0..LISTS {
        for (request, times) in [(&least, &mut least_times), (&request, &mut times)] {
            let sent = Instant::now();
            let status = connection.ask(request).await?;
            times.push(sent.elapsed());
            if status != 200 {
                return Err(format!("ready: {status}").into());
            }
        }
    }
    let beads: Vec<Value> = serde_json::from_slice(connection.body())?;
    if beads.len() != 100 {
        return Err(format!("{} beads are ready", beads.len()).into());
    }
    report.row("ready, limit 100: p50 / p99", p50_p99(&mut times), "-", "p99 <= 5 ms");
    report.row("  health meanwhile", p50_p99(&mut least_times), "-", "-");
    Ok(())
}

async fn claim(
    server: &ServerProcess,
    connection: &mut KeepAlive,
    token: &str,
    report: &mut Report,
) -> Outcome<()> {
    let agent = json!({"id": "puller", "name": "Puller", "kind": "external", "project_id": BACKLOG});
    check_created(server.post("/api/v1/agents", &agent).await)?;
    let path = format!("/api/v1/beads/ready?priority=2&limit={CLAIMS}");
    let (_, beads) = server.get(&path).await;
    let body = r#"{"agent_id":"puller"}"#;
    let raw = rusqlite::Connection::open(server.data_dir().join("yardstick.db"))?;
    raw.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (a TEXT);")?;
    let (mut times, mut fsyncs) = (Vec::with_capacity(CLAIMS), Vec::with_capacity(CLAIMS));
    for bead in beads.as_array().ok_or("no list")? {
        let id = bead["id"].as_str().ok_or("no id")?;
        let request = request_bytes("POST", &format!("/api/v1/beads/{id}/claim"), token, Some(body));
        let sent = Instant::now();
        let status = connection.ask(&request).await?;
        times.push(sent.elapsed());
        let claimed: Value = serde_json::from_slice(connection.body())?;
        if status != 200 {
            return Err(format!("claim: {status} {claimed}").into());
        }
        let done = json!({"summary": "done", "lease_token": claimed["lease"]["token"]}).to_string();
        let request = request_bytes("POST", &format!("/api/v1/beads/{id}/complete"), token, Some(&done));
        if connection.ask(&request).await? != 200 {
            return Err(format!("complete: {}", String::from_utf8_lossy(connection.body())).into());
        }
        let began = Instant::now();
        raw.prepare_cached("INSERT INTO t VALUES ('x')")?.execute([])?;
        fsyncs.push(began.elapsed());
    }
    report.row("claim: p50 / p99", p50_p99(&mut times), "-", "p99 <= 10 ms");
    report.row("  fsync meanwhile", p50_p99(&mut fsyncs), "-", "-");
    Ok(())
}

async fn bench_dispatch(server: &ServerProcess, report: &mut Report) -> Outcome<()> {
    let provider = ScriptedProvider::start(Script::always(Reply::text("[simulated] done")));
    check_created(server.post("/api/v1/projects", &json!({"id": "live", "name": "Live"})).await)?;
    let row = json!({"id": "scripted", "name": "Scripted", "type": "custom", "endpoint": provider.url(),
        "model": "m", "requires_key": false});
    check_created(server.post("/api/v1/providers", &row).await)?;
    let agent = json!({"id": "worker", "name": "Worker", "provider_id": "scripted", "project_id": "live"});
    let mut events = SseClient::connect(
        &format!("{}/api/v1/events/stream?project_id=live", server.url()),
        server.token(),
        None,
    )
    .await?;
    check_created(server.post("/api/v1/agents", &agent).await)?;
    let mut times = Vec::with_capacity(DISPATCHES);
    // The first one also waits for the provider's first heartbeat.
    for number in 0..=DISPATCHES {
        let bead = json!({"title": format!("Work {number}"), "project_id": "live"});
        check_created(server.post("/api/v1/beads", &bead).await)?;
        events.next_of_type("bead.ready", EVENT_TIMEOUT).await?;
        let ready = Instant::now();
        events.next_of_type("bead.assigned", EVENT_TIMEOUT).await?;
        if number > 0 {
            times.push(ready.elapsed());
        }
        // The bead is closed in the unit that frees the agent.
        events.next_of_type("bead.completed", EVENT_TIMEOUT).await?;
    }
    report.row("ready to agent has it: p50 / p99", p50_p99(&mut times), "-", "p99 <= 20 ms");
    Ok(())
}

fn check_created((status, body): (u16, Value)) -> Outcome<()> {
    if status == 201 { Ok(()) } else { Err(format!("not made: {status} {body}").into()) }
}

/// Opens event streams and reads the head of each.
async fn subscribe(address: SocketAddr, token: &str) -> Outcome<Vec<TcpStream>> {
    let request = request_bytes("GET", "/api/v1/events/stream", token, None);
    let mut streams = Vec::with_capacity(SUBSCRIBERS);
    for _ in 0..SUBSCRIBERS {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&request).await?;
        let mut head = Vec::new();
        while !head.windows(9).any(|part| part == b"connected") {
            if stream.read_buf(&mut head).await? == 0 {
                return Err(String::from_utf8_lossy(&head).into());
            }
        }
        streams.push(stream);
    }
    Ok(streams)
}
