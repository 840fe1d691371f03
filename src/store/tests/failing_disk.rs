//! A disk whose fsync fails: no answer after it, no second try, and nothing answered is lost.

use crate::again::{as_child, behind, say};
use crate::home::{Heard, options};
use crate::kill::{prepare, whole, whole_beads};
use arbiter_store::{Store, StoreError};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

const TEST: &str = "failing_disk::nothing_is_answered_after_an_fsync_that_failed_and_nothing_answered_is_lost";
/// Enough for the write-ahead log to be moved into the database more than once.
const COMMITS: usize = 60;

/// The child: one commit after the other, each answer said.
async fn commit_all(directory: &Path) {
    let mut options = options(directory, &Heard::default());
    options.on_failure = Box::new(|_| say("told of the failure"));
    let store = Store::open(options).unwrap();
    for number in 0..COMMITS {
        say(&format!("sending b{number}"));
        let answer = match store.commit(whole(&format!("b{number}"), &"x".repeat(60_000))).await {
            Ok(_) => "ack",
            Err(StoreError::Failed) => "failed",
            Err(other) => panic!("{other:?}"),
        };
        say(&format!("{answer} b{number}"));
    }
}

/// The greatest number that strace takes.
const NEVER: usize = 65_535;

/// What the child said and synced, in the order in which the kernel saw it.
#[derive(Debug, PartialEq)]
enum Seen {
    Said(String),
    Synced { file: String },
    Injected,
}

fn read_trace(path: &Path) -> Vec<Seen> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut seen = Vec::new();
    for line in text.lines() {
        if line.contains("(INJECTED)") {
            seen.push(Seen::Injected);
        } else if line.contains("write(1<") {
            let said = line.split('"').nth(1).unwrap_or_default();
            seen.push(Seen::Said(said.replace("\\n", "")));
        } else if line.contains("sync") && line.trim_end().ends_with("= 0") {
            let name = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
            seen.push(Seen::Synced { file: name.map(|(name, _)| name.to_owned()).unwrap_or_default() });
        }
    }
    seen
}

/// Runs the child with its fsync number `failing` refused; returns the trace and what it said.
fn run(directory: &Path, failing: usize) -> (Vec<Seen>, Vec<String>) {
    let trace = directory.join("trace");
    let inject = format!("inject=fsync,fdatasync:error=EIO:when={failing}");
    let path = trace.to_str().unwrap();
    let strace =
        ["strace", "-f", "-qq", "-y", "-e", "trace=fsync,fdatasync,write", "-e", &inject, "-o", path];
    let output = behind(&strace, TEST, directory).stderr(Stdio::piped()).output();
    let output = output.unwrap_or_else(|error| {
        panic!("this test needs strace ({error}); install it with: apt-get install strace")
    });
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    (read_trace(&trace), said.lines().map(str::to_owned).collect())
}

/// Each answer comes after an fsync that came after its commit began, and that did not fail.
fn check_order(trace: &[Seen], failing: usize) {
    let (mut synced, mut broken) = (false, false);
    for seen in trace {
        match seen {
            Seen::Said(line) if line.starts_with("sending ") => synced = false,
            Seen::Said(line) if line.starts_with("ack ") => {
                assert!(synced, "fsync {failing}: {line} before any fsync of its own");
            }
            Seen::Said(_) => {}
            Seen::Synced { .. } => synced |= !broken,
            Seen::Injected => broken = true,
        }
    }
    assert!(broken, "fsync {failing} was never reached");
}

fn check_answers(said: &[String], failing: usize) -> BTreeSet<String> {
    let first_failed = said.iter().position(|line| line.starts_with("failed "));
    let first_failed = first_failed.unwrap_or_else(|| panic!("fsync {failing} failed and nothing was refused"));
    let acks = |lines: &[String]| -> BTreeSet<String> {
        lines.iter().filter_map(|line| line.strip_prefix("ack ")).map(str::to_owned).collect()
    };
    assert_eq!(acks(&said[first_failed..]), BTreeSet::new(), "fsync {failing}: answered after a failure");
    assert_eq!(said.iter().filter(|line| *line == "told of the failure").count(), 1, "fsync {failing}");
    let answered = acks(said);
    let refused = said.iter().filter(|line| line.starts_with("failed ")).count();
    assert_eq!(answered.len() + refused, COMMITS);
    answered
}

#[test]
fn nothing_is_answered_after_an_fsync_that_failed_and_nothing_answered_is_lost() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    if let Some(directory) = as_child() {
        runtime.block_on(commit_all(&directory));
        return;
    }
    // A run without a fault says which of the writer's syncs belong to moving the log into the database.
    let home = tempfile::tempdir().unwrap();
    runtime.block_on(prepare(home.path()));
    let (trace, said) = run(home.path(), NEVER);
    assert_eq!(said.iter().filter(|line| line.starts_with("ack ")).count(), COMMITS);
    let syncs: Vec<&str> = trace
        .iter()
        .filter_map(|seen| if let Seen::Synced { file } = seen { Some(file.as_str()) } else { None })
        .collect();
    let moved = syncs.iter().position(|file| file.ends_with("arbiter.db")).expect("no checkpoint in the run");
    let mut chosen = vec![1, 2, 3, 4, 10, COMMITS / 3];
    // `moved` counts from 0: the log's own sync, the database's, and the next commit's.
    chosen.extend([moved - 1, moved, moved + 1, moved + 2, moved + 3, moved + 5]);
    for failing in chosen {
        let home = tempfile::tempdir().unwrap();
        runtime.block_on(prepare(home.path()));
        let (trace, said) = run(home.path(), failing);
        check_order(&trace, failing);
        let answered = check_answers(&said, failing);
        runtime.block_on(async {
            let store = Store::open(options(home.path(), &Heard::default())).unwrap();
            let found = whole_beads(&store).await;
            assert!(answered.is_subset(&found), "fsync {failing}: lost {:?}", answered.difference(&found));
            store.commit(whole("afterwards", "")).await.unwrap();
            assert!(whole_beads(&store).await.contains("afterwards"));
        });
    }
}
