//! The server as a user runs it: a child process with a data directory of its own, spoken to over
//! HTTP, ended by signals.
//!
//! Waits by reading the child's pipes: its line on stdout tells that it is ready, the end of both
//! pipes that it is gone. Dropping it kills it and removes its data.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// The password of the vault of every server started here.
pub const TEST_PASSWORD: &str = "correct horse battery staple";

/// Text that the server prints before its address.
const READY: &str = "listening on ";
/// How long the server may take until it is ready, or gone after a signal: more than its own budgets.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A server process, or the place of one that has ended.
pub struct ServerProcess {
    prefix: Vec<String>,
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    home: TempDir,
    running: Option<RunningChild>,
    url: String,
    token: Option<String>,
    stderr: watch::Sender<String>,
}

struct RunningChild {
    child: Child,
    pipes: watch::Receiver<usize>,
}

impl ServerProcess {
    /// Starts `binary serve` on a free port with these further arguments and variables, and waits
    /// until it can be spoken to. Variables `ARBITER_*` of this process are not passed on.
    ///
    /// # Panics
    /// When the server ends or is not ready after 60 s; the message holds its stderr.
    pub async fn start(binary: impl AsRef<Path>, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_behind(&[], binary, arguments, environment).await
    }

    /// As [`Self::start`], behind a program that runs the server in its own place, as `strace -D` does.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn start_behind(
        prefix: &[&str],
        binary: impl AsRef<Path>,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut server = Self {
            prefix: prefix.iter().map(|word| (*word).to_owned()).collect(),
            binary: binary.as_ref().to_owned(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            home: tempfile::Builder::new().prefix("arbiter-test-").tempdir().expect("a temporary directory"),
            running: None,
            url: String::new(),
            token: None,
            stderr: watch::Sender::default(),
        };
        server.spawn().await;
        server
    }

    /// Where the server listens: `http://ADDR:PORT`, another port after each start.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The directory of all that the server keeps.
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The administrator's token as the server wrote it; `None` when it wrote none.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The process id.
    ///
    /// # Panics
    /// When the server is not running.
    pub fn id(&self) -> u32 {
        self.running.as_ref().expect("the server is running").child.id()
    }

    /// All the server wrote to stderr, over all its starts.
    pub fn stderr_text(&self) -> String {
        self.stderr.borrow().clone()
    }

    /// Waits until the server has written this to stderr.
    ///
    /// # Panics
    /// When it has not after 60 s.
    pub async fn wait_for_log(&self, text: &str) {
        let mut written = self.stderr.subscribe();
        let found = tokio::time::timeout(TIMEOUT, written.wait_for(|all| all.contains(text))).await.is_ok();
        assert!(found, "the server never wrote {text:?} but:\n{}", self.stderr_text());
    }

    /// Sends the server a signal.
    ///
    /// # Panics
    /// When the server is not running.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw).expect("a child has an id");
        kill_process(id, signal).expect("a child can be signalled");
    }

    /// Ends the server as a power cut would, and returns when it is gone.
    pub fn kill9(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.child.kill().ok();
            running.child.wait().ok();
        }
    }

    /// Starts the server anew without anything in front of it from the next start on.
    pub fn drop_prefix(&mut self) {
        self.prefix.clear();
    }

    /// Gives the server this variable from the next start on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Waits until the server has ended by itself.
    ///
    /// # Panics
    /// When the server is not running, or still runs after 60 s.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the server is running");
        let status = running.wait_until_gone().await;
        status.unwrap_or_else(|| panic!("the server does not end; it wrote:\n{}", self.stderr_text()))
    }

    /// Asks the server to end (SIGTERM) and waits for it.
    ///
    /// # Panics
    /// When the server is not running, or not gone after 60 s.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let mut running = self.running.take().expect("the server is running");
        let status = running.wait_until_gone().await;
        status.unwrap_or_else(|| panic!("the server ignores SIGTERM; it wrote:\n{}", self.stderr_text()))
    }

    /// Starts the server again on the same data, after ending it in good order if it still runs.
    ///
    /// # Panics
    /// As [`Self::start`] and [`Self::terminate`].
    pub async fn restart(&mut self) {
        if self.running.is_some() {
            self.terminate().await;
        }
        self.spawn().await;
    }

    async fn spawn(&mut self) {
        let data_dir = self.data_dir();
        let mut command = match self.prefix.split_first() {
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ARBITER_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data_dir)
            .args(&self.arguments)
            .env("HOME", self.home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env("ARBITER_PASSWORD", TEST_PASSWORD)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.binary.display()));

        let ended = watch::Sender::new(0);
        let pipes = ended.subscribe();
        let (lines, mut printed) = mpsc::unbounded_channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let at_end = ended.clone();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Nothing reads further lines once the address is known.
                lines.send(line).ok();
            }
            at_end.send_modify(|count| *count += 1);
        });
        let stderr = child.stderr.take().expect("stderr is piped");
        let text = self.stderr.clone();
        std::thread::spawn(move || {
            collect(stderr, &text);
            ended.send_modify(|count| *count += 1);
        });
        let mut running = RunningChild { child, pipes };

        let ready = async {
            while let Some(line) = printed.recv().await {
                if let Some(url) = line.strip_prefix(READY) {
                    return Some(url.trim().to_owned());
                }
            }
            None
        };
        match tokio::time::timeout(TIMEOUT, ready).await {
            Ok(Some(url)) => self.url = url,
            Ok(None) => {
                let status = running.wait_until_gone().await;
                panic!(
                    "the server ended before it was ready ({status:?}); it wrote:\n{}",
                    self.stderr_text()
                );
            }
            Err(_) => {
                running.child.kill().ok();
                running.child.wait().ok();
                panic!("the server was not ready in {TIMEOUT:?}; it wrote:\n{}", self.stderr_text());
            }
        }
        self.running = Some(running);
        let token = std::fs::read_to_string(data_dir.join("admin-token")).ok();
        self.token = token.map(|token| token.trim().to_owned());
    }
}

impl RunningChild {
    /// Waits until both pipes have ended and so the process has; kills it when it takes too long.
    async fn wait_until_gone(&mut self) -> Option<ExitStatus> {
        let ended = tokio::time::timeout(TIMEOUT, self.pipes.wait_for(|count| *count == 2)).await.is_ok();
        if !ended {
            self.child.kill().ok();
        }
        let status = self.child.wait().ok();
        status.filter(|_| ended)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn collect(mut pipe: impl Read, text: &watch::Sender<String>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut buffer) {
        let piece = String::from_utf8_lossy(&buffer[..length]);
        text.send_modify(|all| all.push_str(&piece));
    }
}

#[cfg(test)]
mod tests;
