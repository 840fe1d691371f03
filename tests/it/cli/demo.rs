//! `arbiter demo`, as a newcomer runs it.

use crate::harness::program::{RunningProgram, command, run};
use arbiter_testkit::SseClient;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Within this every bead that needs no person is closed. It is 10 s for a release build.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 10 });
/// How long anything else may take.
const LONG_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demo_closes_all_beads_asks_for_approval_and_cleans_up() {
    let home = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let mut demo = command(home.path());
    demo.arg("demo").env("TMPDIR", home.path());
    let mut demo = RunningProgram::start(demo);
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
        let left = CLOSE_TIMEOUT.saturating_sub(started.elapsed());
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
    assert!(started.elapsed() < CLOSE_TIMEOUT);
    assert!(!closed.contains(&"launch".to_owned()), "the critical bead waits: {closed:?}");
    let waiting = as_printed("bead show launch --json").await.json();
    assert_eq!((&waiting["status"], &waiting["priority"]), (&Value::from("open"), &Value::from(0)));

    let hinted = demo.line("arbiter decision decide ").await;
    assert_eq!(hinted, format!("{} approve", decision.unwrap()), "the hint can be copied");
    let decided = as_printed(&format!("decision decide {hinted}")).await;
    assert_eq!(decided.code, Some(0), "{decided:?}");
    let last = events.next(LONG_TIMEOUT).await.unwrap();
    assert!(last.event == "bead.completed" && last.data.contains("launch"), "{last:?}");
    demo.line("Every bead is closed").await;

    assert!(std::fs::read_dir(home.path()).unwrap().count() > 0, "it keeps its data somewhere while it runs");
    let id = rustix::process::Pid::from_child(&demo.child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let status = demo.ended().await;
    assert!(status.success(), "{status}");
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
