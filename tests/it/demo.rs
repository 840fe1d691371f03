//! `arbiter demo`, as a newcomer runs it.

use crate::program::{command, run};
use arbiter_testkit::SseClient;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Within this every bead that needs no person is closed. It is 10 s for a release build.
const ALL_DONE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 10 });
/// How long the program may take for anything else.
const PATIENCE: Duration = Duration::from_secs(30);

/// A demonstration that runs, and what it prints.
struct Demo {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    printed: Vec<String>,
}

impl Demo {
    fn start(home: &Path) -> Self {
        let mut command = command(home);
        command.arg("demo").env("TMPDIR", home).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| send.send(line).is_ok()));
        Self { child, lines, printed: Vec::new() }
    }

    /// Waits for a line and returns what comes behind `head` in it.
    async fn line(&mut self, head: &str) -> String {
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = self.lines.recv().await {
                let rest = line.split_once(head).map(|(_, rest)| rest.trim().to_owned());
                self.printed.push(line);
                if rest.is_some() {
                    return rest;
                }
            }
            None
        });
        found.await.ok().flatten().unwrap_or_else(|| panic!("no {head:?} in {:#?}", self.printed))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demonstration_does_all_its_work_asks_a_person_and_leaves_no_trace() {
    let home = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let mut demo = Demo::start(home.path());
    let url = demo.line("ARBITER_URL=").await;
    let token = demo.line("ARBITER_TOKEN=").await;
    let as_printed = |words: &str| {
        let elsewhere = home.path().join("no-home");
        let mut command = command(&elsewhere);
        command.args(words.split(' ')).env("ARBITER_URL", &url).env("ARBITER_TOKEN", &token);
        run(command, "")
    };

    // From the first event on, until eleven beads are closed.
    let stream = format!("{url}/api/v1/events/stream?type=bead.completed,decision.created");
    let mut events = SseClient::connect(&stream, Some(&token), Some("0")).await.unwrap();
    let (mut closed, mut decision) = (Vec::new(), None);
    while closed.len() < 11 || decision.is_none() {
        let left = ALL_DONE.saturating_sub(started.elapsed());
        let frame = events.next(left).await.unwrap_or_else(|error| {
            panic!("{error}; closed are {closed:?}, after {:?}: {:#?}", started.elapsed(), demo.printed)
        });
        let event: Value = serde_json::from_str(&frame.data).unwrap();
        match frame.event.as_str() {
            "bead.completed" => {
                assert!(event["data"]["summary"].as_str().unwrap().contains("[simulated]"), "{event}");
                closed.push(event["subject"].as_str().unwrap().to_owned());
            }
            "decision.created" => decision = Some(event["subject"].as_str().unwrap().to_owned()),
            _ => {}
        }
    }
    eprintln!("all that needs no person was done after {:?}", started.elapsed());
    assert!(started.elapsed() < ALL_DONE);
    assert!(!closed.contains(&"launch".to_owned()), "the critical bead waits: {closed:?}");
    let waiting = as_printed("bead show launch --json").await.json();
    assert_eq!((&waiting["status"], &waiting["priority"]), (&Value::from("open"), &Value::from(0)));

    let hinted = demo.line("arbiter decision decide ").await;
    assert_eq!(hinted, format!("{} approve", decision.unwrap()), "the hint can be copied");
    let decided = as_printed(&format!("decision decide {hinted}")).await;
    assert_eq!(decided.code, Some(0), "{decided:?}");
    let last = events.next(PATIENCE).await.unwrap();
    assert!(last.event == "bead.completed" && last.data.contains("launch"), "{last:?}");
    demo.line("Every bead is closed").await;

    assert!(std::fs::read_dir(home.path()).unwrap().count() > 0, "it keeps its data somewhere while it runs");
    let id = rustix::process::Pid::from_child(&demo.child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    while demo.lines.recv().await.is_some() {}
    let status = demo.child.wait().unwrap();
    assert!(status.success(), "{status}");
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
