//! Limits of connections and requests: hosts, origins, sizes, rates and numbers.

use crate::admission::refusals::problem;
use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{SseClient, send_text};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The most bytes of a slow body that the server may take.
const MAX_DROPS: u32 = 250;

/// Returns everything that a server sends until it closes the connection.
async fn read_until_closed(mut connection: TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(TIMEOUT, connection.read_to_end(&mut text)).await;
    // A reset closes as well.
    let _ = read.expect("the server closes it");
    String::from_utf8_lossy(&text).into_owned()
}

impl Harness {
    fn address(&self) -> &str {
        self.server.url().strip_prefix("http://").unwrap()
    }

    /// A connection on which this was written.
    async fn connect_and_write(&self, text: &str) -> TcpStream {
        let mut connection = TcpStream::connect(self.address()).await.unwrap();
        connection.write_all(text.as_bytes()).await.unwrap();
        connection
    }

    /// The start of a request by the administrator.
    fn head(&self, method: &str, path: &str, more: &str) -> String {
        let (host, token) = (self.address(), self.server.token().unwrap());
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n{more}")
    }
}

#[tokio::test]
async fn host_origin_and_content_type_follow_the_table() {
    let cors = ("ARBITER_HTTP__CORS_ORIGINS", r#"["https://board.example"]"#);
    let hosts = ("ARBITER_HTTP__ALLOWED_HOSTS", r#"["arbiter.example"]"#);
    let harness = Harness::with(&[cors, hosts]).await;
    let own = harness.address().to_owned();
    let port = own.rsplit(':').next().unwrap();
    let (localhost, v6, rebound) =
        (format!("localhost:{port}"), format!("[::1]:{port}"), format!("rebound.example:{port}"));
    let same = format!("http://{own}");
    let (same_name, wrong_port) = (format!("http://localhost:{port}"), format!("http://{own}0"));
    // Method, Host, Origin, Sec-Fetch-Site, Content-Type, status.
    let table: &[(&str, &str, &str, &str, &str, u16)] = &[
        ("GET", &own, "", "", "", 200),
        ("GET", &localhost, "", "", "", 200),
        ("GET", &v6, "", "", "", 200),
        ("GET", "arbiter.example", "", "", "", 200),
        ("GET", "ARBITER.example:443", "", "", "", 200),
        ("GET", &rebound, "", "", "", 421),
        ("GET", "localhost.evil.example", "", "", "", 421),
        ("GET", "127.0.0.1.evil.example", "", "", "", 421),
        ("GET", "0.0.0.0", "", "", "", 421),
        ("GET", "", "", "", "", 421),
        ("GET", &own, "https://evil.example", "cross-site", "", 200),
        ("POST", &own, "", "", "application/json", 201),
        ("POST", &own, &same, "", "application/json", 201),
        ("POST", &own, &same, "same-origin", "application/json; charset=utf-8", 201),
        ("POST", &localhost, &same_name, "same-origin", "application/json", 201),
        ("POST", &own, "", "none", "application/json", 201),
        ("POST", &own, "https://board.example", "cross-site", "application/json", 201),
        ("POST", &own, "https://evil.example", "cross-site", "application/json", 403),
        ("POST", &own, "https://evil.example", "", "application/json", 403),
        ("POST", &own, &same_name, "", "application/json", 403),
        ("POST", &own, &wrong_port, "", "application/json", 403),
        ("POST", &own, "null", "", "application/json", 403),
        ("POST", &own, "http://board.example", "", "application/json", 403),
        ("POST", &own, "https://board.example.evil", "", "application/json", 403),
        ("POST", &own, "", "same-site", "application/json", 403),
        ("POST", &own, "", "cross-site", "application/json", 403),
        ("POST", &own, "", "nonsense", "application/json", 403),
        ("POST", &rebound, "", "", "application/json", 421),
        ("POST", &own, "", "", "text/plain", 415),
        ("POST", &own, "", "", "application/x-www-form-urlencoded", 415),
        ("POST", &own, "", "", "multipart/form-data; boundary=x", 415),
        ("POST", &own, "", "", "", 415),
    ];
    let bearer = format!("Bearer {}", harness.server.token().unwrap());
    for (method, host, origin, site, kind, status) in table {
        let mut headers = vec![("authorization", bearer.as_str()), ("host", host)];
        let given = [("origin", origin), ("sec-fetch-site", site), ("content-type", kind)];
        headers.extend(
            given.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (*name, **value)),
        );
        let body = if *method == "POST" { json!({"name": "n"}).to_string() } else { String::new() };
        let url = format!("{}/api/v1/projects", harness.server.url());
        let answer = send_text(method, &url, &headers, body).await.unwrap();
        assert_eq!(answer.status, *status, "{method} {headers:?}: {}", answer.json());
        let allowed = answer.header("access-control-allow-origin");
        let ours = *origin == "https://board.example";
        assert_eq!(allowed, if ours { "https://board.example" } else { "" }, "{headers:?}");
        assert_eq!(answer.header("vary"), "Origin");
        assert_eq!(answer.header("access-control-allow-credentials"), "");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'self'; frame-ancestors 'none'"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), value, "{method} {host:?} {name}");
        }
    }
}

#[tokio::test]
async fn cors_preflight_allows_only_the_configured_origin() {
    let cors = ("ARBITER_HTTP__CORS_ORIGINS", r#"["https://board.example"]"#);
    let harness = Harness::with(&[cors]).await;
    let ask = async |origin: &str, path: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "PATCH")];
        harness.server.send("OPTIONS", path, &headers, None).await
    };
    let yes = ask("https://board.example", "/api/v1/beads/x").await;
    assert_eq!((yes.status, yes.header("access-control-allow-origin")), (204, "https://board.example"));
    assert!(yes.header("access-control-allow-methods").contains("PATCH"));
    assert!(yes.header("access-control-allow-headers").contains("authorization"));
    let no = ask("https://evil.example", "/api/v1/beads/x").await;
    for name in
        ["access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers"]
    {
        assert_eq!(no.header(name), "", "{name}");
    }
    problem(&ask("https://board.example", "/api/v1/nothing").await, 404, "not-found");
    // The page then needs its token all the same.
    let headers = [("origin", "https://board.example"), ("sec-fetch-site", "cross-site")];
    let answer = harness.server.send("GET", "/api/v1/beads", &headers, None).await;
    problem(&answer, 401, "unauthorized");
    assert_eq!(answer.header("access-control-allow-origin"), "https://board.example");
}

#[tokio::test]
async fn request_head_slow_large_or_endless_is_cut_off() {
    let harness = Harness::with(&[("ARBITER_HTTP__HEADER_READ_TIMEOUT_MS", "700")]).await;
    let half = harness.head("GET", "/api/v1/beads", "x-half: ");
    for silent in [half.as_str(), "", "GET"] {
        let said = read_until_closed(harness.connect_and_write(silent).await).await;
        assert!(!said.contains(" 200 "), "{silent:?}: {said}");
    }
    let large = harness.head("GET", "/api/v1/beads", &format!("x: {}\r\n\r\n", "y".repeat(20_000)));
    let many = harness.head("GET", "/api/v1/beads", &format!("{}\r\n", "x: y\r\n".repeat(80)));
    for (what, head) in [("large", large), ("many", many)] {
        let said = read_until_closed(harness.connect_and_write(&head).await).await;
        assert!(said.starts_with("HTTP/1.1 431 "), "{what}: {said}");
    }
    let said =
        read_until_closed(harness.connect_and_write("\u{16}\u{3}\u{1} no HTTP at all\r\n\r\n").await).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "{said}");
    assert_eq!(harness.ask("GET", "beads", None).await.status, 200);
}

#[tokio::test]
async fn request_body_slow_or_large_is_refused() {
    let limits = [
        ("ARBITER_HTTP__BODY_IDLE_TIMEOUT_MS", "500"),
        ("ARBITER_HTTP__REQUEST_TIMEOUT_MS", "2000"),
        ("ARBITER_HTTP__MAX_BODY_BYTES", "100000"),
        ("ARBITER_HTTP__MAX_SECRET_BODY_BYTES", "2000"),
    ];
    let harness = Harness::with(&limits).await;
    let head = harness.head(
        "POST",
        "/api/v1/projects",
        "content-type: application/json\r\ncontent-length: 50\r\n\r\n{",
    );
    let mut silent = harness.connect_and_write(&head).await;
    let mut answer = [0; 12];
    silent.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");

    // One byte after the other is never silent, and takes too long all the same.
    let mut dripping =
        harness.connect_and_write(&head.replace("content-length: 50", "content-length: 5000")).await;
    let (mut answer, mut drops) = ([0; 12], 0);
    loop {
        tokio::select! {
            read = dripping.read_exact(&mut answer) => { read.unwrap(); break; }
            () = tokio::time::sleep(Duration::from_millis(100)) => dripping.write_all(b" ").await.unwrap(),
        }
        drops += 1;
        assert!(drops < MAX_DROPS, "the server waits for a body that never ends");
    }
    assert!(answer.starts_with(b"HTTP/1.1 408") || answer.starts_with(b"HTTP/1.1 503"), "{answer:?}");

    let large = json!({"name": "x".repeat(100_000)});
    problem(&harness.ask("POST", "projects", Some(&large)).await, 413, "too-large");
    let secret = json!({"name": "n", "value": "x".repeat(2_000)});
    problem(&harness.ask("POST", "keys", Some(&secret)).await, 413, "too-large");
    let announced = "content-type: application/json\r\ncontent-length: 999999999\r\n\r\n";
    let mut early = harness.connect_and_write(&harness.head("POST", "/api/v1/projects", announced)).await;
    let mut answer = [0; 12];
    early.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413", "before a byte of it came");
}

#[tokio::test]
async fn quotas_per_address_and_per_token_are_enforced() {
    let limits = [
        ("ARBITER_HTTP__LIMIT_LOOPBACK", "true"),
        ("ARBITER_HTTP__REQUESTS_PER_SEC", "1"),
        ("ARBITER_HTTP__REQUESTS_BURST", "20"),
        ("ARBITER_HTTP__STREAMS_PER_TOKEN", "2"),
        ("ARBITER_HTTP__CONNECTIONS_PER_ADDRESS", "12"),
    ];
    let harness = Harness::with(&limits).await;
    let (one, two) = (
        harness.token(json!({"name": "one", "role": "viewer"})).await,
        harness.token(json!({"name": "two", "role": "viewer"})).await,
    );
    let url = format!("{}/api/v1/events/stream", harness.server.url());
    let open = async |token: &str| SseClient::connect(&url, Some(token), None).await;
    let held = [open(&one).await.unwrap(), open(&one).await.unwrap()];
    let refused = harness.ask_as(&one, "GET", "events/stream", None).await;
    problem(&refused, 503, "too-many-streams");
    assert_eq!(refused.header("retry-after"), "1");
    let other = open(&two).await.unwrap();
    drop((held, other));

    let mut last = harness.ask_as(&one, "GET", "whoami", None).await;
    let mut taken = 0;
    while last.status == 200 {
        taken += 1;
        assert!(taken < 100, "nothing is limited");
        last = harness.ask_as(&one, "GET", "whoami", None).await;
    }
    problem(&last, 429, "rate-limited");
    let wait: u64 = last.header("retry-after").parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!((last.header("ratelimit-limit"), last.header("ratelimit-remaining")), ("20", "0"));
    assert_eq!(harness.ask_as(&two, "GET", "whoami", None).await.status, 200, "the other has its own");
    // Wrong tokens count for the address they come from.
    let mut guesses = 0;
    while harness.ask_as(&format!("guess{guesses}"), "GET", "whoami", None).await.status == 401 {
        guesses += 1;
        assert!(guesses < 100, "guessing is not limited");
    }

    let mut connections = Vec::new();
    for _ in 0..12 {
        connections.push(harness.connect_and_write("G").await);
    }
    let said = read_until_closed(harness.connect_and_write("G").await).await;
    assert_eq!(said, "", "a connection over the limit is closed without an answer");
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_server_continues() {
    let limits = [
        ("ARBITER_HTTP__MAX_CONNECTIONS", "8"),
        ("ARBITER_HTTP__MAX_STREAMS", "1"),
        // Longer than the test waits, so that silence closes no connection.
        ("ARBITER_HTTP__HEADER_READ_TIMEOUT_MS", "300000"),
    ];
    let harness = Harness::with(&limits).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(harness.connect_and_write("GET").await);
    }
    let said = read_until_closed(harness.connect_and_write("GET").await).await;
    assert_eq!(said, "", "a connection over the limit is closed without an answer");
    for mut connection in idle {
        connection.shutdown().await.unwrap();
        read_until_closed(connection).await;
    }
    let stream = harness.stream("", None).await;
    let second = harness.ask("GET", "events/stream", None).await;
    problem(&second, 503, "too-many-streams");
    drop(stream);
    assert_eq!(harness.ask("GET", "beads", None).await.status, 200);
}

#[tokio::test]
async fn caller_with_token_is_served_when_silent_ones_fill_up() {
    let limits = [("ARBITER_HTTP__MAX_CONNECTIONS", "8"), ("ARBITER_HTTP__HEADER_READ_TIMEOUT_MS", "300000")];
    let harness = Harness::with(&limits).await;
    let mut silent = Vec::new();
    for _ in 0..30 {
        silent.push(harness.connect_and_write("GET").await);
    }
    // Over the limit, and served for longer than a silent one is kept.
    let mut stream = harness.stream("?type=project.*", None).await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    stream.next(TIMEOUT).await.unwrap();
    for connection in silent.drain(8..) {
        assert_eq!(read_until_closed(connection).await, "", "one over the limit is closed without an answer");
    }
    harness.create("projects", json!({"id": "q", "name": "Q"})).await;
    stream.next(TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn connect_without_token_is_refused_and_leaves_no_event() {
    let harness = Harness::new().await;
    let seq = harness.get("system/status").await["event_seq"].clone();
    for _ in 0..3 {
        let mut connection =
            harness.connect_and_write("CONNECT a.example:443 HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 405");
    }
    for (method, path) in [("TRACE", "/api/v1/beads"), ("BREW", "/"), ("OPTIONS", "*")] {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", harness.address());
        let said = read_until_closed(harness.connect_and_write(&request).await).await;
        assert!(said.starts_with("HTTP/1.1 4") || said.starts_with("HTTP/1.1 204"), "{method}: {said}");
    }
    // An event of the caller's own is the next one.
    let told = harness.ask("POST", "events", Some(&json!({"message": "m"}))).await.json();
    assert_eq!(told["seq"].as_u64().unwrap(), seq.as_u64().unwrap() + 1, "{}", harness.server.stderr_text());
    assert!(!harness.server.stderr_text().contains("panicked"), "{}", harness.server.stderr_text());
}

#[tokio::test]
async fn request_times_out_but_streams_do_not() {
    let limits = [("ARBITER_HTTP__REQUEST_TIMEOUT_MS", "400"), ("ARBITER_HTTP__STREAM_KEEP_ALIVE_MS", "300")];
    let harness = Harness::with(&limits).await;
    let mut stream = harness.stream("?type=vault.*", None).await;
    // Takes connections and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let new = json!({"id": "silent", "name": "Silent", "type": "custom", "endpoint": endpoint});
    harness.create("providers", new).await;
    let late = harness.ask("POST", "providers/silent/heartbeat", None).await;
    problem(&late, 503, "deadline");
    assert_eq!(late.header("retry-after"), "1");
    stream.wait_for_comments(4, TIMEOUT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_with_stalled_reader_is_closed() {
    use futures_util::StreamExt;
    let harness = Harness::with(&[("ARBITER_HTTP__STREAM_STALL_MS", "1500")]).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(harness.address().parse().unwrap()).await.unwrap();
    deaf.write_all(harness.head("GET", "/api/v1/events/stream", "\r\n").as_bytes()).await.unwrap();
    let streams = async || {
        let metrics = harness.server.ask("GET", "/metrics", &[], None).await;
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        text.lines().find_map(|line| line.strip_prefix("arbiter_sse_streams ")?.parse::<u64>().ok()).unwrap()
    };
    let wait_until = async |wanted: u64| {
        let look = async {
            while streams().await != wanted {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(TIMEOUT, look).await.is_ok(), "{} streams", streams().await);
    };
    wait_until(1).await;
    // More than any buffer between us holds.
    let text = "x".repeat(10_000);
    let write = |_| async {
        let message = json!({"message": text});
        assert_eq!(harness.ask("POST", "events", Some(&message)).await.status, 201);
    };
    futures_util::stream::iter(0..1200).map(write).buffer_unordered(16).collect::<Vec<_>>().await;
    wait_until(0).await;
    drop(deaf);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_slow_connections_block_no_request() {
    let harness = Harness::with(&[("ARBITER_HTTP__HEADER_READ_TIMEOUT_MS", "1500")]).await;
    let half = harness.head("GET", "/api/v1/beads", "x-half: ");
    let mut slow = Vec::new();
    for number in 0..400 {
        slow.push(harness.connect_and_write(if number % 2 == 0 { &half } else { "" }).await);
    }
    // While all of them are open the others are served.
    for number in 0..20 {
        let bead = json!({"id": format!("p{number}"), "name": "n"});
        harness.create("projects", bead).await;
    }
    for connection in slow {
        let said = read_until_closed(connection).await;
        assert!(!said.contains(" 200 "), "{said}");
    }
}

#[tokio::test]
async fn killed_import_leaves_no_file_behind() {
    let mut harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "Project"})).await;
    let data = harness.server.data_dir();
    let names = || {
        let entries = std::fs::read_dir(&data).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    let before = names();
    let more = "content-type: application/x-ndjson\r\ncontent-length: 1000000\r\n\r\n";
    let head = harness.head("POST", "/api/v1/projects/p/import", more);
    let _import = harness.connect_and_write(&format!("{head}{}", "\n".repeat(100_000))).await;
    // The body is in an open file of the directory that has no name there.
    let open_files = format!("/proc/{}/fd", harness.server.id());
    let is_spooled = || {
        let files = std::fs::read_dir(&open_files).unwrap().flatten();
        let mut files = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        files.any(|file| file.starts_with(&data) && file.to_string_lossy().ends_with(" (deleted)"))
    };
    let wait = async {
        while !is_spooled() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(TIMEOUT, wait).await.is_ok(), "the body has a name: {:?}", names());
    harness.server.kill9();
    assert_eq!(names().difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
}
