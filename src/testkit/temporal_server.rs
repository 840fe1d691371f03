//! A real Temporal server for a test: the development server of Temporal's command line, on a free port, with a database
//! in a directory of its own.

use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The version that `tests/install-temporal` builds.
const VERSION: &str = "v1.5.1";
/// How long the server may take to start, on a machine with much else to do.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A Temporal server. It ends with this.
pub struct TemporalServer {
    child: Option<Child>,
    port: u16,
    home: TempDir,
    arguments: Vec<String>,
}

/// Outcome of a command of Temporal's command line.
#[derive(Debug)]
pub struct TemporalOutput {
    /// True if it exited with 0.
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl TemporalOutput {
    /// Tells whether the command line timed out before the server answered.
    pub fn is_timeout(&self) -> bool {
        !self.ok && self.stderr.to_lowercase().contains("deadline exceeded")
    }

    /// The JSON it printed with `-o json`; null if it printed nothing.
    ///
    /// # Panics
    /// When it failed.
    pub fn json(&self) -> Value {
        assert!(self.ok, "{self:?}");
        match self.stdout.trim() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {self:?}")),
        }
    }
}

/// Temporal's command line, which `tests/install-temporal` builds.
pub fn temporal_binary() -> PathBuf {
    let named = std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty());
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    let cache = named.map_or_else(home, PathBuf::from);
    let binary = cache.join(format!("arbiter/temporal-{VERSION}/temporal"));
    assert!(binary.exists(), "no Temporal server at {}: run tests/install-temporal", binary.display());
    binary
}

impl TemporalServer {
    /// Starts a server, and returns when it serves.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with further arguments.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let mut server = Self::not_started();
        server.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        server.restart().await;
        server
    }

    /// The address of a server that is not there: its port is free, and stays its own for [`TemporalServer::restart`].
    pub fn not_started() -> Self {
        let home = tempfile::tempdir().unwrap();
        // Free now; another process is unlikely to take it before the server does.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { child: None, port, home, arguments: vec![] }
    }

    /// Starts it, or starts it again, at the same port and with the same database.
    pub async fn restart(&mut self) {
        self.kill9();
        self.spawn();
        let began = Instant::now();
        while !self.cli(&["operator", "namespace", "describe", "-n", "default"]).await.ok {
            let log = std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            let has_ended = self.child.as_mut().unwrap().try_wait().unwrap().is_some();
            // It looks for free ports for its parts, and another process may take one first.
            let may_try_again = log.contains("address already in use");
            assert!(
                (may_try_again || !has_ended) && began.elapsed() < START_TIMEOUT,
                "the Temporal server does not serve:\n{log}"
            );
            if has_ended {
                self.spawn();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn spawn(&mut self) {
        let log = std::fs::File::create(self.home.path().join("log")).unwrap();
        let mut command = Command::new(temporal_binary());
        command.args(["server", "start-dev", "--headless", "--ip", "127.0.0.1", "--log-level", "error"]);
        command.args(["--port", &self.port.to_string(), "--db-filename"]).arg(self.database());
        command.args(["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"]);
        command.args(&self.arguments);
        command.env("HOME", self.home.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Ends it as a crash would.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended is ended.
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Where it is: `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its database; what is not in it yet is in files beside it.
    pub fn database(&self) -> PathBuf {
        self.home.path().join("temporal.db")
    }

    /// The directory with everything it keeps.
    pub fn directory(&self) -> &Path {
        self.home.path()
    }

    /// Runs Temporal's own command line against it.
    pub async fn cli(&self, arguments: &[&str]) -> TemporalOutput {
        let mut command = tokio::process::Command::new(temporal_binary());
        command.args(arguments).env("TEMPORAL_ADDRESS", self.address()).env("HOME", self.home.path());
        let output = command.kill_on_drop(true).stdin(Stdio::null()).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        TemporalOutput { ok: output.status.success(), stdout, stderr }
    }
}

impl Drop for TemporalServer {
    fn drop(&mut self) {
        self.kill9();
    }
}
