//! `arbiter demo`, as a new user runs it.

use crate::harness::program::{RunningProgram, command, run};
use arbiter_testkit::SseClient;
use serde_json::Value;
use std::time::Duration;

/// How long the test waits for an event or the end of the program.
const LONG_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demo_closes_all_beads_asks_for_approval_and_cleans_up() {
    let home = tempfile::tempdir().unwrap();
    let mut demo = command(home.path());
    demo.arg("demo").env("TMPDIR", home.path());
    let mut demo = RunningProgram::start(demo);
    let url = demo.wait_for_line("ARBITER_URL=").await;
    let token = demo.wait_for_line("ARBITER_TOKEN=").await;
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
        let frame = events
            .next(LONG_TIMEOUT)
            .await
            .unwrap_or_else(|error| panic!("{error}; closed are {closed:?}: {:#?}", demo.printed));
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
    assert!(!closed.contains(&"launch".to_owned()), "the critical bead waits: {closed:?}");
    let waiting = as_printed("bead show launch --json").await.json();
    assert_eq!((&waiting["status"], &waiting["priority"]), (&Value::from("open"), &Value::from(0)));

    let hinted = demo.wait_for_line("arbiter decision decide ").await;
    assert_eq!(hinted, format!("{} approve", decision.unwrap()), "the hint can be copied");
    let decided = as_printed(&format!("decision decide {hinted}")).await;
    assert_eq!(decided.code, Some(0), "{decided:?}");
    let last = events.next(LONG_TIMEOUT).await.unwrap();
    assert!(last.event == "bead.completed" && last.data.contains("launch"), "{last:?}");
    demo.wait_for_line("Every bead is closed").await;

    assert!(std::fs::read_dir(home.path()).unwrap().count() > 0, "it keeps its data somewhere while it runs");
    let id = rustix::process::Pid::from_child(&demo.child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let status = demo.wait_for_exit().await;
    assert!(status.success(), "{status}");
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
