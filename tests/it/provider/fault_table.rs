//! What a provider can do wrong, one row each: what the client is told, what the ledger says, how often the
//! provider was asked, how it is judged, and within which bounds of time and memory all that stays.

use crate::harness::{SOON, Stage};
use arbiter_testkit::{Fault, Reply, Script, ScriptedProvider, peak_bytes};
use serde_json::{Value, json};
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::time::Instant;

/// The limits of the server in these tests: short, so that each row is.
const CALL_DEADLINE: Duration = Duration::from_millis(2_000);
/// Longer than any machine needs to send what is too large.
const ENOUGH: Duration = Duration::from_secs(25);
const LIMITS: [(&str, &str); 4] = [
    ("ARBITER_PROVIDERS__IDLE_TIMEOUT_MS", "900"),
    ("ARBITER_PROVIDERS__RETRY_BUDGET_MS", "1700"),
    ("ARBITER_PROVIDERS__RETRY_BASE_MS", "50"),
    ("ARBITER_PROVIDERS__HEARTBEAT_TIMEOUT_MS", "5000"),
];
/// How many failures in a row make a provider unhealthy.
const STRIKES: usize = 3;
/// How far beyond its limit a call may end.
const LATER: Duration = Duration::from_secs(1);
/// What any row may add to the server's memory at its highest, in bytes.
const MAX_GROWTH_BYTES: u64 = 20_000_000;

/// How a call ends.
#[derive(Clone, Debug)]
struct End {
    /// The status of the answer; 200 when the error came in the stream.
    status: u16,
    /// OpenAI's code of the error.
    code: &'static str,
    /// The kind of the error in the ledger.
    kind: &'static str,
    /// How often the provider was asked.
    asks: RangeInclusive<usize>,
    /// How it is judged.
    health: &'static str,
}

/// A fault and its outcome.
struct Row {
    /// Its name, and that of its provider.
    id: &'static str,
    reply: Reply,
    whole: End,
    stream: End,
}

fn rows() -> Vec<Row> {
    let end = |status, code, kind, asks, health| End { status, code, kind, asks, health };
    let row = |id, reply, whole: End, stream: End| Row { id, reply, whole, stream };
    let same = |id, reply, both: End| row(id, reply, both.clone(), both);
    let failing = Reply::failing;
    // As often as there is time for, or until the breaker opens.
    let again = 2..=10;
    let key = end(502, "provider_failed", "auth", 1..=1, "unhealthy");
    let model = end(404, "model_not_found", "not_found", 1..=1, "active");
    let limit = end(429, "rate_limit_exceeded", "rate_limited", 1..=1, "active");
    let broken = end(502, "provider_failed", "broken", 1..=1, "degraded");
    // The caller may have asked for too much.
    let large = end(502, "provider_failed", "too_large", 1..=1, "active");
    let late = end(504, "provider_late", "timed_out", 1..=1, "degraded");
    // A silence within the answer costs less than the whole time, and leaves some for another try.
    let twice = End { asks: 2..=2, ..late.clone() };
    let lost = end(502, "provider_failed", "unreachable", again.clone(), "unhealthy");
    let storm = end(503, "provider_overloaded", "overloaded", again, "unhealthy");
    // After the first word there is no other try.
    let begun = |end: &End| End { status: 200, asks: 1..=1, ..end.clone() };
    let (late_begun, broken_begun, large_begun) = (begun(&late), begun(&broken), begun(&large));
    let lost_begun = End { health: "degraded", ..begun(&lost) };
    let metadata = "http://169.254.169.254/latest/meta-data";
    let html = Reply::text("x").with_header("content-type", "text/html");
    let drip = Fault::OneBytePer(Duration::from_secs(10));
    vec![
        same("key", Reply::error(401, "no"), key),
        same("model", Reply::error(404, "no"), model),
        same("limit", Reply::rate_limited(Some(60)), limit),
        same("storm", Reply::error(500, "oh"), storm),
        same("silent", failing(Fault::Hang), late.clone()),
        row("headers-only", failing(Fault::HangAfterHeaders), twice.clone(), late.clone()),
        row("drip", failing(drip), twice.clone(), late),
        row("stall", failing(Fault::StallAfterEvents(4)), twice, late_begun),
        row("cut", failing(Fault::CutInTheMiddle), lost, lost_begun),
        row("no-text", failing(Fault::InvalidUtf8), broken.clone(), broken_begun),
        same("long-line", failing(Fault::LineOfMegabytes(100)), large.clone()),
        same("huge", failing(Fault::HugeBody), large.clone()),
        row("endless", failing(Fault::EndlessEvents), large, large_begun),
        same("html", html, broken.clone()),
        same("redirect", Reply::redirect(metadata), broken),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_has_its_outcome_within_its_time_and_without_filling_the_memory() {
    let (large, others): (Vec<Row>, Vec<Row>) =
        rows().into_iter().partition(|row| row.whole.kind == "too_large");
    // Those that wait do so together.
    let hasty = Limited::with(CALL_DEADLINE).await;
    let outcomes = others.into_iter().map(|row| outcome(&hasty, row));
    let mut wrong = futures_util::future::join_all(outcomes).await.concat();
    // Those that send without end come one by one, so that each has the bound; it is the size that ends them.
    let patient = Limited::with(ENOUGH).await;
    for row in large {
        wrong.extend(outcome(&patient, row).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for server in [hasty, patient] {
        let growth = server.growth();
        assert!(growth < MAX_GROWTH_BYTES, "{growth} bytes more");
    }
}

/// A server that calls are no longer than this at.
struct Limited {
    stage: Stage,
    deadline: Duration,
    /// What it took of memory at its highest before any fault.
    before: u64,
}

impl Limited {
    async fn with(deadline: Duration) -> Self {
        let deadline_ms = deadline.as_millis().to_string();
        let limits = [&LIMITS[..], &[("ARBITER_PROVIDERS__CALL_DEADLINE_MS", &deadline_ms)]].concat();
        let stage = Stage::with(&limits).await;
        // One of each kind of call first: threads, connections, the allocator.
        let sound = provider(&stage, "sound", Script::always(Reply::text("Fine."))).await;
        for stream in [false, true] {
            assert_eq!(ask(&stage, "sound", stream).await.0, 200);
        }
        assert_eq!(sound.chat_count(), 2);
        let before = peak_bytes(&stage.server.id().to_string()).unwrap();
        Self { stage, deadline, before }
    }

    fn growth(&self) -> u64 {
        peak_bytes(&self.stage.server.id().to_string()).unwrap().saturating_sub(self.before)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_within_the_budget_is_waited_for_and_the_client_learns_nothing_of_it() {
    let stage = Stage::with(&[("ARBITER_PROVIDERS__RETRY_BASE_MS", "50")]).await;
    let storm = |count, failure| Script::always(Reply::text("Fine.")).after_failures(count, failure);
    let table = [
        ("storm", 2, Reply::error(500, "oh"), Duration::ZERO),
        ("limit", 1, Reply::rate_limited(None), Duration::ZERO),
        ("limit-with-time", 1, Reply::rate_limited(Some(1)), Duration::from_secs(1)),
        ("broken-off", 2, Reply::failing(Fault::CutInTheMiddle), Duration::ZERO),
        (
            "stream-unbegun",
            2,
            Reply::raw("").with_header("content-type", "text/event-stream"),
            Duration::ZERO,
        ),
    ];
    let calls = table.map(async |(id, count, failure, least)| {
        let provider = provider(&stage, id, storm(count, failure)).await;
        let begun = Instant::now();
        let answer = ask(&stage, id, id.starts_with("stream")).await;
        assert_eq!((answer.0, provider.chat_count()), (200, count + 1), "{id}: {answer:?}");
        assert!(begun.elapsed() >= least, "{id}: {:?}", begun.elapsed());
        stage.until(&format!("providers/{id}"), |row| row["status"] == "active").await;
    });
    futures_util::future::join_all(calls).await;
}

/// What of a row was otherwise.
async fn outcome(server: &Limited, row: Row) -> Vec<String> {
    let stage = &server.stage;
    let Row { id, reply, whole, stream } = row;
    let sound = || Script::always(Reply::text("Fine."));
    let provider = provider(stage, id, sound()).await;
    // A line of a stream is a line of one only if it says so.
    let streamed = match &reply.fault {
        Some(Fault::LineOfMegabytes(_) | Fault::HugeBody) => {
            reply.clone().with_header("content-type", "text/event-stream")
        }
        _ => reply.clone(),
    };
    let mut wrong = Vec::new();
    for (is_stream, reply, wanted) in [(false, reply, whole), (true, streamed, stream)] {
        provider.set_script(Script::always(reply));
        let (asked, begun) = (provider.chat_count(), Instant::now());
        let (status, code) = ask(stage, id, is_stream).await;
        let (took, asks) = (begun.elapsed(), provider.chat_count() - asked);
        let kind = kind_of(stage, id, usize::from(is_stream) + 1).await;
        let got = (status, code.as_str(), kind.as_str());
        if got != (wanted.status, wanted.code, wanted.kind) || !wanted.asks.contains(&asks) {
            wrong.push(format!("{id}, stream {is_stream}: {got:?} after {asks} asks, not {wanted:?}"));
        }
        if took > server.deadline + LATER {
            wrong.push(format!("{id}, stream {is_stream}: it took {took:?}"));
        }
        // Each try is a strike, and it takes three.
        let health =
            if wanted.asks.contains(&STRIKES) && asks < STRIKES { "degraded" } else { wanted.health };
        stage.until(&format!("providers/{id}"), |row| row["status"] == health).await;
        well(stage, id).await;
        if id == "limit" {
            // It is left alone now.
            return wrong;
        }
    }
    // Its one place is free again.
    provider.set_script(sound());
    let after = ask(stage, id, false).await;
    if after.0 != 200 {
        wrong.push(format!("{id}: {after:?} afterwards"));
    }
    wrong
}

/// A provider that may have one call at a time.
async fn provider(stage: &Stage, id: &str, script: Script) -> ScriptedProvider {
    let provider = ScriptedProvider::start(script);
    let new = json!({"id": id, "name": id, "type": "custom", "endpoint": provider.url(), "model": "scripted-model",
        "max_concurrency": 1});
    stage.create("providers", new).await;
    well(stage, id).await;
    provider
}

/// One success clears all strikes. On a busy machine it may be a slow one, which is told by the next.
async fn well(stage: &Stage, id: &str) {
    let deadline = Instant::now() + SOON;
    loop {
        let beat = stage.act(&format!("providers/{id}/heartbeat"), Value::Null).await;
        if beat["status"] == "active" {
            return;
        }
        assert_eq!(beat["status_reason"], "slow to answer", "{beat}");
        assert!(Instant::now() < deadline, "{beat}");
    }
}

/// Chats with a provider: the status, and the code of the error wherever it came.
async fn ask(stage: &Stage, id: &str, stream: bool) -> (u16, String) {
    let answer = stage.chat(&format!("{id}/scripted-model"), json!({"stream": stream})).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let last = text.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
    let last: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap_or(last)).unwrap_or_default();
    (answer.status, last["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// What the ledger says of the last of this many calls to a provider. It has no event, so it is looked for until it
/// is there.
async fn kind_of(stage: &Stage, id: &str, count: usize) -> String {
    let deadline = Instant::now() + SOON;
    loop {
        let runs = stage.get("runs?kind=gateway&limit=1000").await;
        let runs: Vec<&Value> =
            runs.as_array().unwrap().iter().filter(|run| run["provider_id"] == id).collect();
        if runs.len() == count {
            let run = stage.get(&format!("runs/{}", runs[0]["id"].as_str().unwrap())).await;
            return run["calls"][0]["error_kind"].as_str().unwrap_or_default().to_owned();
        }
        assert!(Instant::now() < deadline, "{id}: no {count} runs but {runs:?}");
        tokio::task::yield_now().await;
    }
}
