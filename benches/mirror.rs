//! The mirror with a real Temporal server, and its effect on the API.
//!
//! The server is the real binary; Temporal's development server runs beside it with its database in WAL mode.
//! `starts` and `signals` are Temporal's own limit in the same run: bare calls of its client, to workflows
//! without a worker. `catching up`: Temporal is down while 5,000 beads are created, and starts again; the time
//! runs from the first event that arrives until no entity lags. `lag`: 100 log messages a second are written. A
//! time runs from the answer, when the event is on disk, until the status shows that its aggregator has it.
//! `create`: one connection creates beads one after the other, with Temporal connected and busy with those
//! messages, killed, and never configured.
//!
//! `cargo bench --bench mirror`

use arbiter_temporal::client::connection::Address;
use arbiter_temporal::codec::payload;
use arbiter_temporal::codec::signed::SigningKeys;
use arbiter_temporal::codec::{Codec, CodecKey};
use arbiter_testkit::{KeepAlive, Report, ServerProcess, TemporalServer, ms, percentile, request_bytes};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};
use temporalio_client::{
    Client, UntypedSignal, UntypedWorkflow, WorkflowSignalOptions, WorkflowStartOptions,
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const BEADS: usize = 5_000;
const STARTS: usize = 300;
const SIGNALS: usize = 2_000;
/// Concurrent requests of the mirror by default.
const CONCURRENCY: usize = 8;
const CREATES: usize = 300;
const REQUEST_INTERVAL: Duration = Duration::from_millis(10);
const SPAN: Duration = Duration::from_secs(15);
const WAIT_TIMEOUT: Duration = Duration::from_secs(300);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    let mut report = Report::new();
    let mut temporal = TemporalServer::start().await;
    let client = client(&temporal).await?;
    let starts = starts(&client).await?;
    report.row("bare client: starts, 8 at once", per_second(starts), "-", "-");
    let signals = signals(&client, 1).await?;
    report.row("bare client: signals to one, 1 at once", per_second(signals), "-", "-");
    let at_once = self::signals(&client, CONCURRENCY).await?;
    report.row("bare client: signals to one, 8 at once", per_second(at_once), "-", "-");

    let without = ServerProcess::start(env!("CARGO_BIN_EXE_arbiter"), &[], &[]).await;
    project(&without, "live").await?;
    let absent = creates(&without).await?;
    report.row("create, no Temporal: p50 / p99", p50_p99(absent), "-", "-");
    drop(without);

    let address = temporal.address();
    let server = ServerProcess::start(env!("CARGO_BIN_EXE_arbiter"), &["--temporal", &address], &[]).await;
    project(&server, "live").await?;
    project(&server, "backlog").await?;
    wait_until_caught_up(&server).await?;
    let (mut lags, connected) = measure_lag(&server).await?;
    let lag = (percentile(&mut lags, 0.5), percentile(&mut lags, 0.99));
    report.row("create, Temporal connected: p50 / p99", p50_p99(connected), ratio(connected, absent), "-");
    report.row("lag at 100 events/s: p50 / p99", p50_p99(lag), "-", "p99 <= 2 s");

    wait_until_caught_up(&server).await?;
    temporal.kill9();
    let killed = creates(&server).await?;
    report.row("create, Temporal killed: p50 / p99", p50_p99(killed), ratio(killed, absent), "-");
    create_backlog(&server).await?;
    temporal.restart().await;
    let (rate, states) = catch_up(&server).await?;
    let share = |rate: f64, of: f64| format!("{:.1} × signals", rate / of);
    report.row("catching up: events", per_second(rate), share(rate, signals), "-");
    report.row(
        "  states of entities",
        per_second(states),
        format!("{:.0} % of starts", 100.0 * states / starts),
        "-",
    );
    report.print("cargo bench --bench mirror");
    Ok(())
}

async fn client(temporal: &TemporalServer) -> Outcome<Client> {
    let address = Address {
        server: temporal.address(),
        namespace: "default".to_owned(),
        retention: Duration::from_secs(86_400),
        api_key: None,
        tls: None,
    };
    let key = CodecKey { id: "bench".to_owned(), key: Arc::new([1; 32].into()) };
    Ok(address.connect(Codec::new(key, vec![]), SigningKeys::default(), "bench").await?.client)
}

/// Measures workflow starts per second.
async fn starts(client: &Client) -> Outcome<f64> {
    let began = Instant::now();
    let starting = stream::iter(0..STARTS).map(|number| async move {
        let options = WorkflowStartOptions::new("nobody", format!("bench-{number}")).build();
        client.start_workflow(UntypedWorkflow::new("Nothing"), payload::raw(&json!({})), options).await
    });
    let outcomes: Vec<_> = starting.buffer_unordered(CONCURRENCY).collect().await;
    outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(STARTS as f64 / began.elapsed().as_secs_f64())
}

/// Measures signals per second to one workflow.
async fn signals(client: &Client, at_once: usize) -> Outcome<f64> {
    let began = Instant::now();
    let handle = &client.get_workflow_handle::<UntypedWorkflow>("bench-0");
    let signalling = stream::iter(0..SIGNALS).map(|number| async move {
        let signal = UntypedSignal::new("event");
        handle.signal(signal, payload::raw(&json!(number)), WorkflowSignalOptions::default()).await
    });
    let outcomes: Vec<_> = signalling.buffer_unordered(at_once).collect().await;
    outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(SIGNALS as f64 / began.elapsed().as_secs_f64())
}

/// Measures the duration of creations.
async fn creates(server: &ServerProcess) -> Outcome<(Duration, Duration)> {
    let mut connection = KeepAlive::connect(server.url().trim_start_matches("http://").parse()?).await?;
    let token = server.token().ok_or("no token")?;
    let mut times = Vec::with_capacity(CREATES);
    for number in 0..CREATES {
        let body = json!({"title": format!("Work {number}"), "project_id": "live"}).to_string();
        let request = request_bytes("POST", "/api/v1/beads", token, Some(&body));
        let sent = Instant::now();
        let status = connection.ask(&request).await?;
        times.push(sent.elapsed());
        if status != 201 {
            return Err(format!("create: {status}").into());
        }
        tokio::time::sleep(REQUEST_INTERVAL).await;
    }
    Ok((percentile(&mut times, 0.5), percentile(&mut times, 0.99)))
}

/// Measures the lag of messages, and the duration of creations meanwhile.
async fn measure_lag(server: &ServerProcess) -> Outcome<(Vec<Duration>, (Duration, Duration))> {
    let mut writer = KeepAlive::connect(server.url().trim_start_matches("http://").parse()?).await?;
    let token = server.token().ok_or("no token")?;
    let writing = async {
        let mut written = Vec::new();
        let mut ticks = tokio::time::interval(REQUEST_INTERVAL);
        let began = Instant::now();
        while began.elapsed() < SPAN {
            ticks.tick().await;
            let body = json!({"project_id": "live", "message": "x".repeat(100)});
            let request = request_bytes("POST", "/api/v1/events", token, Some(&body.to_string()));
            let status = writer.ask(&request).await?;
            let event: Value = serde_json::from_slice(writer.body())?;
            let seq = event["seq"].as_u64().ok_or_else(|| format!("event: {status} {event}"))?;
            written.push((seq, Instant::now()));
        }
        Outcome::Ok(written)
    };
    let (stop, stopped) = tokio::sync::watch::channel(0_u64);
    let watching = async {
        let mut seen = Vec::new();
        let began = Instant::now();
        loop {
            let seq = number(&status(server).await?, "mirrored_seq");
            seen.push((seq, Instant::now()));
            let last = *stopped.borrow();
            if last > 0 && seq >= last || began.elapsed() > WAIT_TIMEOUT {
                return Outcome::Ok(seen);
            }
            tokio::time::sleep(REQUEST_INTERVAL / 2).await;
        }
    };
    let writing = async {
        let (written, times) = tokio::join!(writing, creates(server));
        let written = written?;
        stop.send_replace(written.last().map_or(1, |(seq, _)| *seq));
        Outcome::Ok((written, times?))
    };
    let (written, seen) = tokio::join!(writing, watching);
    let ((written, times), seen) = (written?, seen?);
    let lags = written.into_iter().map(|(seq, at)| {
        let there = seen.iter().find(|(mirrored, _)| *mirrored >= seq).ok_or("an event never arrived")?;
        Ok(there.1.saturating_duration_since(at))
    });
    Ok((lags.collect::<Outcome<_>>()?, times))
}

/// Creates beads in bulk.
async fn create_backlog(server: &ServerProcess) -> Outcome<()> {
    for _ in 0..BEADS / 1_000 {
        let beads: Vec<_> = (0..1_000).map(|_| json!({"title": "Work", "project_id": "backlog"})).collect();
        check_created(server.post("/api/v1/beads/bulk", &json!({"beads": beads})).await)?;
    }
    Ok(())
}

/// Returns events and states per second while the mirror catches up.
async fn catch_up(server: &ServerProcess) -> Outcome<(f64, f64)> {
    let first = status(server).await?;
    let waited = Instant::now();
    let mut began = None;
    loop {
        let now = status(server).await?;
        if began.is_none() && number(&now, "mirrored_seq") > number(&first, "mirrored_seq") {
            began = Some((Instant::now(), now.clone()));
        }
        if let Some((at, then)) = &began
            && number(&now, "lag") == 0
        {
            let took = at.elapsed().as_secs_f64();
            let since = |name: &str| (number(&now, name) - number(then, name)) as f64 / took;
            return Ok((since("mirrored_seq"), states(server).await?));
        }
        if waited.elapsed() > WAIT_TIMEOUT {
            return Err(format!("it does not catch up: {now}").into());
        }
        tokio::time::sleep(REQUEST_INTERVAL).await;
    }
}

/// Returns the pending states mirrored per second.
async fn states(server: &ServerProcess) -> Outcome<f64> {
    let (first, began) = (status(server).await?, Instant::now());
    tokio::time::sleep(SPAN).await;
    let sent = number(&status(server).await?, "states") - number(&first, "states");
    Ok(sent as f64 / began.elapsed().as_secs_f64())
}

async fn wait_until_caught_up(server: &ServerProcess) -> Outcome<()> {
    let began = Instant::now();
    loop {
        let now = status(server).await?;
        if now["status"] == "connected" && number(&now, "lag") == 0 && number(&now, "depth") == 0 {
            return Ok(());
        }
        if began.elapsed() > WAIT_TIMEOUT {
            return Err(format!("it does not catch up: {now}").into());
        }
        tokio::time::sleep(REQUEST_INTERVAL).await;
    }
}

async fn project(server: &ServerProcess, id: &str) -> Outcome<()> {
    check_created(server.post("/api/v1/projects", &json!({"id": id, "name": id})).await)
}

async fn status(server: &ServerProcess) -> Outcome<Value> {
    match server.get("/api/v1/temporal/status").await {
        (200, status) => Ok(status),
        (code, body) => Err(format!("status: {code} {body}").into()),
    }
}

fn check_created((status, body): (u16, Value)) -> Outcome<()> {
    if status == 201 { Ok(()) } else { Err(format!("not made: {status} {body}").into()) }
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

fn per_second(rate: f64) -> String {
    format!("{rate:.0}/s")
}

fn p50_p99((p50, p99): (Duration, Duration)) -> String {
    format!("{} / {}", ms(p50), ms(p99))
}

fn ratio(times: (Duration, Duration), to: (Duration, Duration)) -> String {
    format!("p99 {:.2} ×", times.1.as_secs_f64() / to.1.as_secs_f64())
}
