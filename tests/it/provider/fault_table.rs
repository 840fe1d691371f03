//! Faults of a provider, one row each: the answer to the client, the ledger entry, the number of calls, the
//! health of the provider, and the bound of memory.

use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{Fault, Reply, Script, ScriptedProvider, peak_bytes};
use serde_json::{Value, json};
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::time::Instant;

/// The limits of the server in these tests: short, so that each row is.
const CALL_DEADLINE: Duration = Duration::from_millis(2_000);
/// Longer than any machine needs to send what is too large.
const LONG_DEADLINE: Duration = Duration::from_secs(25);
const LIMITS: [(&str, &str); 4] = [
    ("ARBITER_PROVIDERS__IDLE_TIMEOUT_MS", "900"),
    ("ARBITER_PROVIDERS__RETRY_BUDGET_MS", "1700"),
    ("ARBITER_PROVIDERS__RETRY_BASE_MS", "50"),
    ("ARBITER_PROVIDERS__HEARTBEAT_TIMEOUT_MS", "5000"),
];
/// How many failures in a row make a provider unhealthy.
const FAILURES_TO_UNHEALTHY: usize = 3;
/// The most bytes that the rows may add to the server's peak memory.
const MAX_GROWTH_BYTES: u64 = 20_000_000;

/// How a call ends.
#[derive(Clone, Debug)]
struct ExpectedOutcome {
    /// The status of the answer; 200 when the error came in the stream.
    status: u16,
    /// OpenAI's code of the error.
    code: &'static str,
    /// The kind of the error in the ledger.
    kind: &'static str,
    /// How often the provider was asked.
    call_count: RangeInclusive<usize>,
    /// How it is judged.
    health: &'static str,
}

/// A fault and its outcome.
struct FaultCase {
    /// Its name, and that of its provider.
    id: &'static str,
    reply: Reply,
    whole: ExpectedOutcome,
    stream: ExpectedOutcome,
}

fn rows() -> Vec<FaultCase> {
    let end =
        |status, code, kind, call_count, health| ExpectedOutcome { status, code, kind, call_count, health };
    let row =
        |id, reply, whole: ExpectedOutcome, stream: ExpectedOutcome| FaultCase { id, reply, whole, stream };
    let same = |id, reply, both: ExpectedOutcome| row(id, reply, both.clone(), both);
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
    let twice = ExpectedOutcome { call_count: 2..=2, ..late.clone() };
    let lost = end(502, "provider_failed", "unreachable", again.clone(), "unhealthy");
    let storm = end(503, "provider_overloaded", "overloaded", again, "unhealthy");
    // After the first word there is no other try.
    let begun = |end: &ExpectedOutcome| ExpectedOutcome { status: 200, call_count: 1..=1, ..end.clone() };
    let (late_begun, broken_begun, large_begun) = (begun(&late), begun(&broken), begun(&large));
    let lost_begun = ExpectedOutcome { health: "degraded", ..begun(&lost) };
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
async fn provider_fault_has_its_outcome_within_memory_limit() {
    let (large, others): (Vec<FaultCase>, Vec<FaultCase>) =
        rows().into_iter().partition(|row| row.whole.kind == "too_large");
    // Those that wait do so together.
    let hasty = LimitedServer::with(CALL_DEADLINE).await;
    let outcomes = others.into_iter().map(|row| check_case(&hasty, row));
    let mut wrong = futures_util::future::join_all(outcomes).await.concat();
    // Those that send without end come one by one, so that each has the bound; it is the size that ends them.
    let patient = LimitedServer::with(LONG_DEADLINE).await;
    for row in large {
        wrong.extend(check_case(&patient, row).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for server in [hasty, patient] {
        let growth = server.growth();
        assert!(growth < MAX_GROWTH_BYTES, "{growth} bytes more");
    }
}

/// A server that calls are no longer than this at.
struct LimitedServer {
    harness: Harness,
    /// Its peak memory before any fault.
    baseline_bytes: u64,
}

impl LimitedServer {
    async fn with(deadline: Duration) -> Self {
        let deadline_ms = deadline.as_millis().to_string();
        let limits = [&LIMITS[..], &[("ARBITER_PROVIDERS__CALL_DEADLINE_MS", &deadline_ms)]].concat();
        let harness = Harness::with(&limits).await;
        // One of each kind of call first: threads, connections, the allocator.
        let sound = provider(&harness, "sound", Script::always(Reply::text("Fine."))).await;
        for stream in [false, true] {
            assert_eq!(ask(&harness, "sound", stream).await.0, 200);
        }
        assert_eq!(sound.chat_count(), 2);
        let baseline_bytes = peak_bytes(&harness.server.id().to_string()).unwrap();
        Self { harness, baseline_bytes }
    }

    fn growth(&self) -> u64 {
        peak_bytes(&self.harness.server.id().to_string()).unwrap().saturating_sub(self.baseline_bytes)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_fault_within_retry_budget_is_hidden_from_client() {
    let harness = Harness::with(&[("ARBITER_PROVIDERS__RETRY_BASE_MS", "50")]).await;
    let storm = |count, failure| Script::always(Reply::text("Fine.")).after_failures(count, failure);
    let empty_stream = Reply::raw("").with_header("content-type", "text/event-stream");
    let table = [
        ("storm", 2, Reply::error(500, "oh")),
        ("limit", 1, Reply::rate_limited(None)),
        ("limit-with-time", 1, Reply::rate_limited(Some(1))),
        ("broken-off", 2, Reply::failing(Fault::CutInTheMiddle)),
        ("stream-unbegun", 2, empty_stream),
    ];
    let calls = table.map(async |(id, count, failure)| {
        let provider = provider(&harness, id, storm(count, failure)).await;
        let answer = ask(&harness, id, id.starts_with("stream")).await;
        assert_eq!((answer.0, provider.chat_count()), (200, count + 1), "{id}: {answer:?}");
        harness.wait_until(&format!("providers/{id}"), |row| row["status"] == "active").await;
    });
    futures_util::future::join_all(calls).await;
}

/// Checks a row and returns the differences.
async fn check_case(server: &LimitedServer, row: FaultCase) -> Vec<String> {
    let harness = &server.harness;
    let FaultCase { id, reply, whole, stream } = row;
    let sound = || Script::always(Reply::text("Fine."));
    let provider = provider(harness, id, sound()).await;
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
        let asked = provider.chat_count();
        let (status, code) = ask(harness, id, is_stream).await;
        let call_count = provider.chat_count() - asked;
        let kind = last_error_kind(harness, id, usize::from(is_stream) + 1).await;
        let got = (status, code.as_str(), kind.as_str());
        if got != (wanted.status, wanted.code, wanted.kind) || !wanted.call_count.contains(&call_count) {
            wrong.push(format!("{id}, stream {is_stream}: {got:?} after {call_count} asks, not {wanted:?}"));
        }
        // Each try is a strike, and it takes three.
        let health =
            if wanted.call_count.contains(&FAILURES_TO_UNHEALTHY) && call_count < FAILURES_TO_UNHEALTHY {
                "degraded"
            } else {
                wanted.health
            };
        harness.wait_until(&format!("providers/{id}"), |row| row["status"] == health).await;
        reset_health(harness, id).await;
        if id == "limit" {
            // It is left alone now.
            return wrong;
        }
    }
    // Its one place is free again.
    provider.set_script(sound());
    let after = ask(harness, id, false).await;
    if after.0 != 200 {
        wrong.push(format!("{id}: {after:?} afterwards"));
    }
    wrong
}

/// A provider that may have one call at a time.
async fn provider(harness: &Harness, id: &str, script: Script) -> ScriptedProvider {
    let provider = ScriptedProvider::start(script);
    let new = json!({"id": id, "name": id, "type": "custom", "endpoint": provider.url(), "model": "scripted-model",
        "max_concurrency": 1});
    harness.create("providers", new).await;
    reset_health(harness, id).await;
    provider
}

/// One success clears all strikes. On a busy machine it may be a slow one, which is told by the next.
async fn reset_health(harness: &Harness, id: &str) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let beat = harness.act(&format!("providers/{id}/heartbeat"), Value::Null).await;
        if beat["status"] == "active" {
            return;
        }
        assert_eq!(beat["status_reason"], "slow to answer", "{beat}");
        assert!(Instant::now() < deadline, "{beat}");
    }
}

/// Chats with a provider: the status, and the code of the error wherever it came.
async fn ask(harness: &Harness, id: &str, stream: bool) -> (u16, String) {
    let answer = harness.chat(&format!("{id}/scripted-model"), json!({"stream": stream})).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let last = text.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
    let last: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap_or(last)).unwrap_or_default();
    (answer.status, last["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// Returns the error kind of the last of `count` calls in the ledger. An entry has no event, so the function polls.
async fn last_error_kind(harness: &Harness, id: &str, count: usize) -> String {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let runs = harness.get("runs?kind=gateway&limit=1000").await;
        let runs: Vec<&Value> =
            runs.as_array().unwrap().iter().filter(|run| run["provider_id"] == id).collect();
        if runs.len() == count {
            let run = harness.get(&format!("runs/{}", runs[0]["id"].as_str().unwrap())).await;
            return run["calls"][0]["error_kind"].as_str().unwrap_or_default().to_owned();
        }
        assert!(Instant::now() < deadline, "{id}: no {count} runs but {runs:?}");
        tokio::task::yield_now().await;
    }
}
