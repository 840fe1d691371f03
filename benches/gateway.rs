//! Overhead of the gateway for a chat, compared with a direct call to the same provider, a bare reverse proxy
//! in Go, and LiteLLM's proxy.
//!
//! The provider answers at once (`harness/upstream.rs`), so the figures show the path to it. Arbiter is the
//! real binary with authentication, budget accounts and the ledger on. `added` is a percentile minus the same
//! percentile of direct calls. For a stream, the first token and the whole stream are measured, one stream at a
//! time. Needs Go, and the Python environment that `tests/install-python` creates.
//!
//! `cargo bench --bench gateway`

#[path = "harness/upstream.rs"]
mod upstream;

use arbiter_testkit::{
    KeepAlive, LoadResult, Report, ServerProcess, median, ms, percentile, raise_open_file_limit,
    request_bytes, run_load,
};
use serde_json::json;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use upstream::{MODEL, TOKENS};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Duration of one load on one target.
const SPAN: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 3;
const CONNECTION_COUNTS: [usize; 3] = [1, 64, 512];
/// Streams of each target.
const STREAMS: usize = 100;
const MASTER_KEY: &str = "sk-bench";
/// Time limit for the start of LiteLLM.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// A path to the provider.
struct Target {
    name: &'static str,
    address: SocketAddr,
    token: String,
    model: String,
}

impl Target {
    fn request(&self, stream: bool) -> Vec<u8> {
        let body = json!({"model": self.model, "messages": [{"role": "user", "content": "How are you?"}], "stream": stream});
        request_bytes("POST", "/v1/chat/completions", &self.token, Some(&body.to_string()))
    }
}

/// A child process that is killed on drop.
struct ChildGuard(Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Outcome<()> {
    raise_open_file_limit(8192)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let home = tempfile::tempdir()?;
    let provider = upstream::start()?;
    let (_go, go) = reverse_proxy(provider, home.path())?;
    let (_litellm, litellm) = runtime.block_on(litellm(provider, home.path()))?;
    let server = runtime.block_on(arbiter(provider))?;
    let target = |name, address, token: &str, model: &str| Target {
        name,
        address,
        token: token.to_owned(),
        model: model.to_owned(),
    };
    let arbiter_address = server.url().trim_start_matches("http://").parse()?;
    let token = server.token().ok_or("no token")?;
    let targets = [
        target("direct", provider, "none", MODEL),
        target("Go httputil.ReverseProxy", go, "none", MODEL),
        target("Arbiter", arbiter_address, token, &format!("up/{MODEL}")),
        target("LiteLLM", litellm, MASTER_KEY, MODEL),
    ];
    let mut report = Report::new();
    for connections in CONNECTION_COUNTS {
        complete_answers(&targets, connections, &mut report)?;
    }
    runtime.block_on(streams(&targets, &mut report))?;
    report.print("cargo bench --bench gateway");
    Ok(())
}

/// Measures whole answers over `connections` connections.
fn complete_answers(targets: &[Target], connections: usize, report: &mut Report) -> Outcome<()> {
    let mut loads: Vec<LoadResult> = targets.iter().map(|_| LoadResult::default()).collect();
    for _ in 0..ROUNDS {
        for (target, load) in targets.iter().zip(&mut loads) {
            let request = target.request(false);
            let one = run_load(target.address, connections, SPAN, 200, |_, _| request.clone())?;
            if one.latencies.is_empty() || one.refused > 0 {
                return Err(format!(
                    "{}: {} answers, {} refused",
                    target.name,
                    one.latencies.len(),
                    one.refused
                )
                .into());
            }
            load.latencies.extend(one.latencies);
            load.elapsed += one.elapsed;
        }
    }
    let mut figures = targets.iter().zip(&mut loads).map(|(target, load)| {
        let rate = load.rate();
        (target.name, percentile(&mut load.latencies, 0.5), percentile(&mut load.latencies, 0.99), rate)
    });
    let Some((_, p50, p99, direct)) = figures.next() else { return Ok(()) };
    let noun = if connections == 1 { "connection" } else { "connections" };
    report.row(
        &format!("{connections} {noun}: direct, p50 / p99"),
        format!("{} / {}, {direct:.0} requests/s", ms(p50), ms(p99)),
        "-",
        "-",
    );
    let figures: Vec<_> = figures.collect();
    let of = |wanted: &str| figures.iter().find(|(name, ..)| *name == wanted);
    let bare =
        of("Go httputil.ReverseProxy").map_or(Duration::ZERO, |(_, half, ..)| half.saturating_sub(p50));
    let slowest = of("LiteLLM").map_or(1.0, |(.., rate)| *rate);
    for (name, half, most, rate) in &figures {
        let added = half.saturating_sub(p50);
        let reach = match (*name, connections) {
            ("Arbiter", 1) => "<= 2 x Go, p99 <= 1 ms, >= 50 x LiteLLM's rate",
            _ => "-",
        };
        let ratio = format!(
            "{:.1} x Go's, {:.1} x LiteLLM's rate",
            added.as_secs_f64() / bare.as_secs_f64().max(1e-9),
            rate / slowest
        );
        let figure = format!("+{} / +{}, {rate:.0} requests/s", ms(added), ms(most.saturating_sub(p99)));
        report.row(&format!("  {name}, added"), figure, ratio, reach);
    }
    Ok(())
}

/// Measures streams, one at a time.
async fn streams(targets: &[Target], report: &mut Report) -> Outcome<()> {
    let mut times: Vec<(Vec<Duration>, Vec<f64>)> = targets.iter().map(|_| Default::default()).collect();
    for _ in 0..STREAMS {
        for (target, (firsts, tokens)) in targets.iter().zip(&mut times) {
            let (first, rest) = stream(target).await?;
            firsts.push(first);
            tokens.push(rest.as_secs_f64() * 1e6 / TOKENS as f64);
        }
    }
    let mut direct = None;
    for (target, (mut firsts, tokens)) in targets.iter().zip(times) {
        let (half, most) = (percentile(&mut firsts, 0.5), percentile(&mut firsts, 0.99));
        let (base, base_most) = *direct.get_or_insert((half, most));
        let figure = if target.name == "direct" {
            format!("{} / {}, {:.1} us a token", ms(half), ms(most), median(tokens))
        } else {
            let added = (ms(half.saturating_sub(base)), ms(most.saturating_sub(base_most)));
            format!("+{} / +{}, {:.1} us a token", added.0, added.1, median(tokens))
        };
        report.row(&format!("stream, first token: {}", target.name), figure, "-", "-");
    }
    Ok(())
}

/// Returns the time to the first token of a stream, and from there to its end.
async fn stream(target: &Target) -> Outcome<(Duration, Duration)> {
    let mut connection = TcpStream::connect(target.address).await?;
    connection.set_nodelay(true)?;
    let sent = Instant::now();
    connection.write_all(&target.request(true)).await?;
    let (mut received, mut first) = (Vec::new(), None);
    let holds = |received: &[u8], text: &[u8]| received.windows(text.len()).any(|part| part == text);
    while !holds(&received[received.len().saturating_sub(64)..], b"[DONE]") {
        if connection.read_buf(&mut received).await? == 0 {
            return Err(format!("{}: {}", target.name, String::from_utf8_lossy(&received)).into());
        }
        if first.is_none() && holds(&received, b"word ") {
            first = Some(sent.elapsed());
        }
    }
    let first = first.ok_or("a stream without a token")?;
    Ok((first, sent.elapsed().saturating_sub(first)))
}

async fn arbiter(provider: SocketAddr) -> Outcome<ServerProcess> {
    let server = ServerProcess::start(env!("CARGO_BIN_EXE_arbiter"), &[], &[]).await;
    let row = json!({"id": "up", "name": "up", "type": "custom", "endpoint": format!("http://{provider}/v1"),
        "model": MODEL, "requires_key": false});
    for (path, body) in [("/api/v1/providers", row), ("/api/v1/providers/up/heartbeat", json!({}))] {
        let (status, told) = server.post(path, &body).await;
        if !(200..300).contains(&status) {
            return Err(format!("{path}: {status} {told}").into());
        }
    }
    Ok(server)
}

fn reverse_proxy(provider: SocketAddr, home: &Path) -> Outcome<(ChildGuard, SocketAddr)> {
    let program = home.join("reverse_proxy");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/harness/reverse_proxy/main.go");
    let built = Command::new("go").arg("build").arg("-o").arg(&program).arg(source).status();
    let built = built
        .map_err(|error| format!("go cannot be run ({error}): install Go, as from https://go.dev/dl"))?;
    if !built.success() {
        return Err("the reverse proxy cannot be built".into());
    }
    let mut child = Command::new(program).arg(format!("http://{provider}")).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    Ok((ChildGuard(child), line.trim().parse()?))
}

async fn litellm(provider: SocketAddr, home: &Path) -> Outcome<(ChildGuard, SocketAddr)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/install-python");
    let made = Command::new(script).stderr(Stdio::inherit()).output()?;
    let python = PathBuf::from(String::from_utf8(made.stdout)?.trim());
    if !made.status.success() {
        return Err("tests/install-python failed".into());
    }
    let config = home.join("litellm.yaml");
    let parameters = json!({"model": format!("openai/{MODEL}"), "api_base": format!("http://{provider}/v1"), "api_key": "none"});
    std::fs::write(
        &config,
        json!({"model_list": [{"model_name": MODEL, "litellm_params": parameters}]}).to_string(),
    )?;
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let child = Command::new(python.with_file_name("litellm"))
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--config"])
        .arg(&config)
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        .env("LITELLM_LOG", "ERROR")
        .env("LITELLM_MASTER_KEY", MASTER_KEY)
        .current_dir(home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let (mut child, address) = (ChildGuard(child), SocketAddr::from(([127, 0, 0, 1], port)));
    let ask = request_bytes("GET", "/health/liveliness", "none", None);
    let began = Instant::now();
    loop {
        let answered = match KeepAlive::connect(address).await {
            Ok(mut connection) => connection.ask(&ask).await.is_ok_and(|status| status == 200),
            Err(_) => false,
        };
        if answered {
            return Ok((child, address));
        }
        if child.0.try_wait()?.is_some() || began.elapsed() > WAIT_TIMEOUT {
            return Err("LiteLLM's proxy does not start".into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
