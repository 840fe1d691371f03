//! TLS: the API over it by every client, refused clients, and the effect of a reload.

use crate::harness::FAST_KDF;
use crate::harness::program::{BINARY, ProgramOutput, command, run};
use arbiter_testkit::{Issued, ServerProcess, TestCa};
use reqwest::{Certificate, Identity};
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use tempfile::TempDir;

/// A server over TLS, with the CA of its certificate.
struct TlsHarness {
    server: ServerProcess,
    ca: TestCa,
    files: TempDir,
}

impl TlsHarness {
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
        let environment = [&[FAST_KDF], environment].concat();
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
    async fn cli(&self, arguments: &[&str]) -> ProgramOutput {
        let home = tempfile::tempdir().unwrap();
        let mut command = command(home.path());
        command.args(arguments).env("ARBITER_DATA_DIR", self.server.data_dir());
        run(command, "").await
    }

    /// Runs `arbiter` as if on another machine: by address and token, without the data directory.
    async fn cli_remote(&self, url: &str, arguments: &[&str]) -> ProgramOutput {
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
async fn api_over_tls_serves_clients_that_trust_its_ca() {
    let harness = TlsHarness::open(&[], &[]).await;
    assert!(harness.server.url().starts_with("https://127.0.0.1:"), "{}", harness.server.url());
    let client = harness.client(&harness.ca, None);
    let answer = harness.get(&client, "/api/v1/projects").await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    let by_name = harness.server.url().replace("127.0.0.1", "localhost");
    let answer = client.get(format!("{by_name}/api/v1/health")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("strict-transport-security"), "other servers are localhost too");
    let session = client.post(format!("{}/api/v1/session", harness.server.url()));
    let token = serde_json::json!({"token": harness.server.token().unwrap()}).to_string();
    let session = session.header("content-type", "application/json").body(token).send().await.unwrap();
    let cookie = session.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-") && cookie.ends_with("; Secure"), "{cookie}");

    let stranger = TestCa::new("another ca");
    let error = harness.get(&harness.client(&stranger, None), "/api/v1/projects").await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    let plain = harness.server.url().replace("https", "http");
    assert!(arbiter_testkit::send("GET", &format!("{plain}/api/v1/health"), &[], None).await.is_err());
    let metrics = harness.get(&client, "/metrics").await.unwrap().text().await.unwrap();
    assert!(metrics.contains("arbiter_http_tls_failures_total 2"), "{metrics}");
}

#[tokio::test]
async fn cli_trusts_the_local_server_by_its_announced_certificate() {
    // Without a name of this machine: the certificate itself is what counts.
    let (ca, files) = (TestCa::new("ca"), tempfile::tempdir().unwrap());
    let harness = TlsHarness::with(ca, files, &["arbiter.example"], &[], &[]).await;
    let status = harness.cli(&["status", "--json"]).await;
    assert_eq!(status.json()["health"]["status"], "ok");
    assert_eq!(harness.cli(&["project", "add", "A", "--id", "a"]).await.code, Some(0));

    let file = harness.server.data_dir().join("server.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut server: serde_json::Value = serde_json::from_str(&text).unwrap();
    server["certificate_sha256"] = "00".repeat(32).into();
    std::fs::write(&file, server.to_string()).unwrap();
    let refused = harness.cli(&["status"]).await;
    assert_eq!(refused.code, Some(69));
    assert!(refused.error_line().contains("is not the one that the server wrote"), "{refused:?}");
}

#[tokio::test]
async fn cli_trusts_a_named_ca_and_explains_other_certificates() {
    let harness = TlsHarness::open(&[], &[]).await;
    let url = harness.server.url().to_owned();
    let ca = harness.file("ca.pem").display().to_string();
    assert_eq!(harness.cli_remote(&url, &["bead", "list", "--ca-cert", &ca, "--json"]).await.code, Some(0));
    let unknown = harness.cli_remote(&url, &["status"]).await;
    assert_eq!(unknown.code, Some(69));
    assert!(unknown.error_line().contains("--ca-cert FILE"), "{unknown:?}");
    let other_name = url.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    let misnamed = harness.cli_remote(&other_name, &["status", "--ca-cert", &ca]).await;
    assert!(misnamed.error_line().contains("does not hold the name"), "{misnamed:?}");
    let missing = harness.cli_remote(&url, &["status", "--ca-cert", "/nowhere.pem"]).await;
    assert_eq!(missing.code, Some(74), "{missing:?}");
}

#[tokio::test]
async fn self_signed_certificate_is_trusted_if_named_for_its_hosts() {
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
    let server = ServerProcess::start(BINARY, &arguments, &[FAST_KDF]).await;
    let harness = TlsHarness { server, ca: TestCa::new("another ca"), files };
    let url = harness.server.url().to_owned();
    let named = ["bead", "list", "--json", "--ca-cert", &certificate];
    assert_eq!(harness.cli_remote(&url, &named).await.code, Some(0));
    let misnamed = harness.cli_remote(&url.replace("127.0.0.1", "localhost"), &named).await;
    assert!(misnamed.error_line().contains("does not hold the name localhost"), "{misnamed:?}");
    let other = path("ca.pem");
    std::fs::write(&other, harness.ca.pem()).unwrap();
    assert_eq!(harness.cli_remote(&url, &["bead", "list", "--ca-cert", &other]).await.code, Some(69));
    let plain = harness.cli_remote(&url.replace("https", "http"), &["status"]).await;
    assert!(plain.error_line().contains("is its address https://"), "{plain:?}");
}

#[tokio::test]
async fn reload_serves_new_certificate_and_keeps_connections() {
    let harness = TlsHarness::open(&[], &[]).await;
    let old = harness.client(&harness.ca, None);
    assert_eq!(harness.get(&old, "/api/v1/health").await.unwrap().status(), 200);

    std::fs::write(harness.file("server.pem"), "broken").unwrap();
    harness.server.signal(Signal::HUP);
    harness.server.wait_for_log("the old ones stay in use").await;
    assert_eq!(
        harness.get(&harness.client(&harness.ca, None), "/api/v1/health").await.unwrap().status(),
        200
    );

    let next_ca = TestCa::new("the next ca");
    next_ca.server(&["127.0.0.1"]).write(harness.files.path(), "server");
    harness.server.signal(Signal::HUP);
    harness.server.wait_for_log("reloaded the TLS files").await;
    let new = harness.client(&next_ca, None);
    assert_eq!(harness.get(&new, "/api/v1/health").await.unwrap().status(), 200);
    assert!(
        harness.get(&harness.client(&harness.ca, None), "/api/v1/health").await.is_err(),
        "the old one is gone"
    );
    assert_eq!(
        harness.get(&old, "/api/v1/health").await.unwrap().status(),
        200,
        "over the connection it has"
    );
    assert_eq!(harness.cli(&["status"]).await.code, Some(0), "the announcement is new as well");
    let logged = harness.cli(&["events", "list", "--type", "config.updated"]).await;
    assert_eq!(logged.stdout.matches("http.tls_cert").count(), 1, "{logged:?}");
}

#[tokio::test]
async fn silent_tls_handshake_times_out_and_blocks_no_request() {
    let harness = TlsHarness::open(&[], &[("ARBITER_HTTP__HEADER_READ_TIMEOUT_MS", "300")]).await;
    let address = harness.server.url().trim_start_matches("https://").to_owned();
    let mut silent = TcpStream::connect(&address).unwrap();
    let mut halfway = TcpStream::connect(&address).unwrap();
    halfway.write_all(&[0x16, 3, 1, 1, 0, 1]).unwrap();
    for connection in [&silent, &halfway] {
        connection.set_read_timeout(Some(crate::harness::TIMEOUT)).unwrap();
    }
    let client = harness.client(&harness.ca, None);
    assert_eq!(harness.get(&client, "/api/v1/health").await.unwrap().status(), 200);
    let closed = tokio::task::spawn_blocking(move || {
        let mut rest = Vec::new();
        // An alert or a reset ends a connection as well, but not the time limit of the read.
        [silent.read_to_end(&mut rest), halfway.read_to_end(&mut rest)]
            .map(|read| read.map_err(|error| error.kind()))
    });
    for read in closed.await.unwrap() {
        assert!(read != Err(std::io::ErrorKind::WouldBlock), "the server keeps a silent connection");
    }
    let metrics = harness.get(&client, "/metrics").await.unwrap().text().await.unwrap();
    assert!(metrics.contains("arbiter_http_tls_failures_total 2"), "{metrics}");
}

#[tokio::test]
async fn client_certificate_is_optional_and_must_be_of_our_ca() {
    let (callers, files) = (TestCa::new("ca of callers"), tempfile::tempdir().unwrap());
    let path = files.path().join("callers.pem");
    std::fs::write(&path, callers.pem()).unwrap();
    let harness = TlsHarness::open(&["--tls-client-ca", &path.display().to_string()], &[]).await;
    let me = callers.client("me");
    for shown in [None, Some(&me)] {
        let answer = harness.get(&harness.client(&harness.ca, shown), "/api/v1/projects").await;
        assert_eq!(answer.unwrap().status(), 200, "{shown:?}");
    }
    let stranger = TestCa::new("ca of strangers").client("stranger");
    assert!(harness.get(&harness.client(&harness.ca, Some(&stranger)), "/api/v1/projects").await.is_err());

    let (certificate, key) = me.write(harness.files.path(), "me");
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let with_mine = ["bead", "list", "--client-cert", &certificate, "--client-key", &key];
    assert_eq!(harness.cli(&with_mine).await.code, Some(77), "no token is proved by it yet");
    let add = ["token", "add", "mine", "--role", "viewer", "--certificate", &certificate];
    assert_eq!(harness.cli(&add).await.code, Some(0));
    assert_eq!(harness.cli(&with_mine).await.code, Some(0), "it is a token by itself");
    let more = ["project", "add", "P", "--client-cert", &certificate, "--client-key", &key];
    assert_eq!(harness.cli(&more).await.code, Some(77), "with the rights of that token and no others");
    let ca = harness.file("ca.pem").display().to_string();
    let afar = [&with_mine[..], &["--ca-cert", &ca]].concat();
    assert_eq!(harness.cli_remote(harness.server.url(), &afar).await.code, Some(0));
    let (certificate, key) = stranger.write(harness.files.path(), "stranger");
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let refused = harness.cli(&["bead", "list", "--client-cert", &certificate, "--client-key", &key]).await;
    assert_eq!(refused.code, Some(69));
    assert!(refused.error_line().contains("refused the TLS connection"), "{refused:?}");
}
