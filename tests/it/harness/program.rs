//! The program `arbiter` run to its end, as a shell would: arguments in, exit code and both outputs out.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;
use tokio::sync::mpsc;

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_arbiter");
/// How long a program that is to end may take.
const LONG_TIMEOUT: Duration = Duration::from_secs(120);

/// How a program ended.
#[derive(Debug)]
pub struct ProgramOutput {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl ProgramOutput {
    /// Its stdout as JSON.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The one line that tells why it failed.
    pub fn error_line(&self) -> &str {
        let lines: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(lines.len(), 1, "one line says why: {self:?}");
        lines[0]
    }
}

/// A file of this directory with this text, closed to everybody else, as secrets have to be; its path.
pub fn private_file(home: &Path, name: &str, text: &str) -> String {
    let path = home.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A command that does not see the variables of this process that the program would read.
pub fn command(home: &Path) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ARBITER_") {
            command.env_remove(name);
        }
    }
    command.env("HOME", home).env_remove("XDG_DATA_HOME").env("NO_COLOR", "1");
    command
}

/// Runs a command to its end with this text on stdin.
pub async fn run(mut command: Command, stdin: &str) -> ProgramOutput {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that does not read closes the pipe, which is its own affair.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let id = rustix::process::Pid::from_child(&child);
    let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
    let Ok(output) = tokio::time::timeout(LONG_TIMEOUT, waiting).await else {
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
        panic!("{command:?} does not end");
    };
    let Output { status, stdout, stderr } = output.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    ProgramOutput { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// A program that runs, and the lines it prints. It is killed when this is dropped.
pub struct RunningProgram {
    /// The process.
    pub child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    /// Lines that it has printed and a test has waited for.
    pub printed: Vec<String>,
}

impl RunningProgram {
    /// Starts a program.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| send.send(line).is_ok()));
        Self { child, lines, printed: Vec::new() }
    }

    /// Waits for a line that holds `mark` and returns what comes behind that.
    pub async fn wait_for_line(&mut self, mark: &str) -> String {
        let found = tokio::time::timeout(LONG_TIMEOUT, async {
            while let Some(line) = self.lines.recv().await {
                let rest = line.split_once(mark).map(|(_, rest)| rest.trim().to_owned());
                self.printed.push(line);
                if rest.is_some() {
                    return rest;
                }
            }
            None
        });
        found.await.ok().flatten().unwrap_or_else(|| panic!("no {mark:?} in {:#?}", self.printed))
    }

    /// Waits until it has ended.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let end = async {
            while let Some(line) = self.lines.recv().await {
                self.printed.push(line);
            }
        };
        assert!(
            tokio::time::timeout(LONG_TIMEOUT, end).await.is_ok(),
            "it does not end: {:#?}",
            self.printed
        );
        self.child.wait().unwrap()
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
