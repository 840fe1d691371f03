//! TLS at the door: the API over it by every client, who is refused, and what a reload changes.

use crate::harness::QUICK_VAULT;
use crate::harness::program::{BINARY, Ended, command, run};
use arbiter_testkit::{Issued, ServerProcess, TestCa};
use reqwest::{Certificate, Identity};
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server over TLS, with the CA of its certificate.
struct Door {
    server: ServerProcess,
    ca: TestCa,
    files: TempDir,
}

impl Door {
    async fn open(more: &[&str], environment: &[(&str, &str)]) -> Self {
        let (ca, files) = (TestCa::new("ca of the server"), tempfile::tempdir().unwrap());
        std::fs::write(files.path().join("ca.pem"), ca.pem()).unwrap();
        Self::with(ca, files, &["127.0.0.1", "localhost"], more, environment).await
    }

    async fn with(
        ca: TestCa,
        files: TempDir,
        names: &[&str],
        more: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let (certificate, key) = ca.server(names).write(files.path(), "server");
        let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
        let arguments = [&["--tls-cert", &certificate, "--tls-key", &key], more].concat();
        let environment = [&[QUICK_VAULT], environment].concat();
        Self { server: ServerProcess::start(BINARY, &arguments, &environment).await, ca, files }
    }

    /// A client that trusts this CA, and shows this certificate if there is one.
    fn client(&self, ca: &TestCa, shown: Option<&Issued>) -> reqwest::Client {
        use_ring();
        let root = Certificate::from_pem(ca.pem().as_bytes()).unwrap();
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
        let builder = match shown {
            Some(issued) => {
                let both = format!("{}{}", issued.key, issued.certificate);
                builder.identity(Identity::from_pem(both.as_bytes()).unwrap())
            }
            None => builder,
        };
        builder.build().unwrap()
    }

    async fn get(&self, client: &reqwest::Client, path: &str) -> reqwest::Result<reqwest::Response> {
        let request = client.get(format!("{}{path}", self.server.url()));
        request.bearer_auth(self.server.token().unwrap()).send().await
    }

    /// Runs `arbiter` with these arguments, on the server's data directory.
    async fn cli(&self, arguments: &[&str]) -> Ended {
        let home = tempfile::tempdir().unwrap();
        let mut command = command(home.path());
        command.args(arguments).env("ARBITER_DATA_DIR", self.server.data_dir());
        run(command, "").await
    }

    /// Runs `arbiter` as if on another machine: by address and token, without the data directory.
    async fn cli_afar(&self, url: &str, arguments: &[&str]) -> Ended {
        let home = tempfile::tempdir().unwrap();
        let mut command = command(home.path());
        command.args(arguments).env("ARBITER_URL", url).env("ARBITER_TOKEN", self.server.token().unwrap());
        run(command, "").await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }
}

fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[tokio::test]
async fn the_api_is_served_over_tls_to_whoever_trusts_its_ca() {
    let door = Door::open(&[], &[]).await;
    assert!(door.server.url().starts_with("https://127.0.0.1:"), "{}", door.server.url());
    let client = door.client(&door.ca, None);
    let answer = door.get(&client, "/api/v1/projects").await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    let by_name = door.server.url().replace("127.0.0.1", "localhost");
    let answer = client.get(format!("{by_name}/api/v1/health")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("strict-transport-security"), "other servers are localhost too");
    let session = client.post(format!("{}/api/v1/session", door.server.url()));
    let token = serde_json::json!({"token": door.server.token().unwrap()}).to_string();
    let session = session.header("content-type", "application/json").body(token).send().await.unwrap();
    let cookie = session.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-") && cookie.ends_with("; Secure"), "{cookie}");

    let stranger = TestCa::new("another ca");
    let error = door.get(&door.client(&stranger, None), "/api/v1/projects").await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    let plain = door.server.url().replace("https", "http");
    assert!(arbiter_testkit::send("GET", &format!("{plain}/api/v1/health"), &[], None).await.is_err());
    let metrics = door.get(&client, "/metrics").await.unwrap().text().await.unwrap();
    assert!(metrics.contains("arbiter_http_tls_failures_total 2"), "{metrics}");
}

#[tokio::test]
async fn the_command_line_knows_the_local_server_by_the_certificate_it_announced() {
    // Without a name of this machine: the certificate itself is what counts.
    let (ca, files) = (TestCa::new("ca"), tempfile::tempdir().unwrap());
    let door = Door::with(ca, files, &["arbiter.example"], &[], &[]).await;
    let status = door.cli(&["status", "--json"]).await;
    assert_eq!(status.json()["health"]["status"], "ok");
    assert_eq!(door.cli(&["project", "add", "A", "--id", "a"]).await.code, Some(0));

    let file = door.server.data_dir().join("server.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut server: serde_json::Value = serde_json::from_str(&text).unwrap();
    server["certificate_sha256"] = "00".repeat(32).into();
    std::fs::write(&file, server.to_string()).unwrap();
    let refused = door.cli(&["status"]).await;
    assert_eq!(refused.code, Some(69));
    assert!(refused.complaint().contains("is not the one that the server wrote"), "{refused:?}");
}

#[tokio::test]
async fn the_command_line_trusts_a_ca_that_is_named_and_says_what_is_wrong_with_others() {
    let door = Door::open(&[], &[]).await;
    let url = door.server.url().to_owned();
    let ca = door.file("ca.pem").display().to_string();
    assert_eq!(door.cli_afar(&url, &["bead", "list", "--ca-cert", &ca, "--json"]).await.code, Some(0));
    let unknown = door.cli_afar(&url, &["status"]).await;
    assert_eq!(unknown.code, Some(69));
    assert!(unknown.complaint().contains("--ca-cert FILE"), "{unknown:?}");
    let other_name = url.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    let misnamed = door.cli_afar(&other_name, &["status", "--ca-cert", &ca]).await;
    assert!(misnamed.complaint().contains("does not hold the name"), "{misnamed:?}");
    let missing = door.cli_afar(&url, &["status", "--ca-cert", "/nowhere.pem"]).await;
    assert_eq!(missing.code, Some(74), "{missing:?}");
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_trusted_when_it_is_named_and_for_its_names_only() {
    let files = tempfile::tempdir().unwrap();
    let place = files.path().to_owned();
    let path = |name: &str| place.join(name).display().to_string();
    let (certificate, key) = (path("self.pem"), path("self.key"));
    // As everybody makes one: a CA by its own word.
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=me", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-keyout", &key, "-out", &certificate])
        .output();
    assert!(made.unwrap().status.success());
    let arguments = ["--tls-cert", &certificate, "--tls-key", &key];
    let server = ServerProcess::start(BINARY, &arguments, &[QUICK_VAULT]).await;
    let door = Door { server, ca: TestCa::new("another ca"), files };
    let url = door.server.url().to_owned();
    let named = ["bead", "list", "--json", "--ca-cert", &certificate];
    assert_eq!(door.cli_afar(&url, &named).await.code, Some(0));
    let misnamed = door.cli_afar(&url.replace("127.0.0.1", "localhost"), &named).await;
    assert!(misnamed.complaint().contains("does not hold the name localhost"), "{misnamed:?}");
    let other = path("ca.pem");
    std::fs::write(&other, door.ca.pem()).unwrap();
    assert_eq!(door.cli_afar(&url, &["bead", "list", "--ca-cert", &other]).await.code, Some(69));
    let plain = door.cli_afar(&url.replace("https", "http"), &["status"]).await;
    assert!(plain.complaint().contains("is its address https://"), "{plain:?}");
}

#[tokio::test]
async fn a_reload_shows_the_new_certificate_and_keeps_open_connections() {
    let door = Door::open(&[], &[]).await;
    let old = door.client(&door.ca, None);
    assert_eq!(door.get(&old, "/api/v1/health").await.unwrap().status(), 200);

    std::fs::write(door.file("server.pem"), "broken").unwrap();
    door.server.signal(Signal::HUP);
    door.server.logged("the old ones stay in force").await;
    assert_eq!(door.get(&door.client(&door.ca, None), "/api/v1/health").await.unwrap().status(), 200);

    let next_ca = TestCa::new("the next ca");
    next_ca.server(&["127.0.0.1"]).write(door.files.path(), "server");
    door.server.signal(Signal::HUP);
    door.server.logged("the files of TLS were read again").await;
    let new = door.client(&next_ca, None);
    assert_eq!(door.get(&new, "/api/v1/health").await.unwrap().status(), 200);
    assert!(door.get(&door.client(&door.ca, None), "/api/v1/health").await.is_err(), "the old one is gone");
    assert_eq!(door.get(&old, "/api/v1/health").await.unwrap().status(), 200, "over the connection it has");
    assert_eq!(door.cli(&["status"]).await.code, Some(0), "the announcement is new as well");
}

#[tokio::test]
async fn silence_in_the_handshake_is_closed_at_the_limit_and_holds_up_nobody() {
    let door = Door::open(&[], &[("ARBITER_HTTP__HEADER_READ_TIMEOUT_MS", "300")]).await;
    let address = door.server.url().trim_start_matches("https://").to_owned();
    let started = Instant::now();
    let mut silent = TcpStream::connect(&address).unwrap();
    let mut halfway = TcpStream::connect(&address).unwrap();
    halfway.write_all(&[0x16, 3, 1, 1, 0, 1]).unwrap();
    let client = door.client(&door.ca, None);
    assert_eq!(door.get(&client, "/api/v1/health").await.unwrap().status(), 200);
    let closed = tokio::task::spawn_blocking(move || {
        let mut rest = Vec::new();
        // An alert or a reset ends it as well.
        let _ = silent.read_to_end(&mut rest);
        let _ = halfway.read_to_end(&mut rest);
        started.elapsed()
    });
    let closed = closed.await.unwrap();
    assert!(closed >= Duration::from_millis(300) && closed < Duration::from_secs(5), "{closed:?}");
    let metrics = door.get(&client, "/metrics").await.unwrap().text().await.unwrap();
    assert!(metrics.contains("arbiter_http_tls_failures_total 2"), "{metrics}");
}

#[tokio::test]
async fn a_callers_certificate_counts_when_our_ca_issued_it_and_none_is_needed() {
    let (callers, files) = (TestCa::new("ca of callers"), tempfile::tempdir().unwrap());
    let path = files.path().join("callers.pem");
    std::fs::write(&path, callers.pem()).unwrap();
    let door = Door::open(&["--tls-client-ca", &path.display().to_string()], &[]).await;
    let me = callers.client("me");
    for shown in [None, Some(&me)] {
        let answer = door.get(&door.client(&door.ca, shown), "/api/v1/projects").await;
        assert_eq!(answer.unwrap().status(), 200, "{shown:?}");
    }
    let stranger = TestCa::new("ca of strangers").client("stranger");
    assert!(door.get(&door.client(&door.ca, Some(&stranger)), "/api/v1/projects").await.is_err());

    let (certificate, key) = me.write(door.files.path(), "me");
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let with_mine = ["bead", "list", "--client-cert", &certificate, "--client-key", &key];
    assert_eq!(door.cli(&with_mine).await.code, Some(77), "no token is proved by it yet");
    let add = ["token", "add", "mine", "--role", "viewer", "--certificate", &certificate];
    assert_eq!(door.cli(&add).await.code, Some(0));
    assert_eq!(door.cli(&with_mine).await.code, Some(0), "it is a token by itself");
    let more = ["project", "add", "P", "--client-cert", &certificate, "--client-key", &key];
    assert_eq!(door.cli(&more).await.code, Some(77), "with the rights of that token and no others");
    let ca = door.file("ca.pem").display().to_string();
    let afar = [&with_mine[..], &["--ca-cert", &ca]].concat();
    assert_eq!(door.cli_afar(door.server.url(), &afar).await.code, Some(0));
    let (certificate, key) = stranger.write(door.files.path(), "stranger");
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let refused = door.cli(&["bead", "list", "--client-cert", &certificate, "--client-key", &key]).await;
    assert_eq!(refused.code, Some(69));
    assert!(refused.complaint().contains("refused the TLS connection"), "{refused:?}");
}
