//! A disk whose fsync fails: no answer after it, no second try, and nothing answered is lost.

use crate::again::{child_directory, command_behind, print_line};
use crate::home::{Recorder, options};
use crate::kill::{prepare, whole, whole_beads};
use arbiter_store::{Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;

const TEST: &str = "failing_disk::failed_fsync_stops_answers_and_loses_no_answered_unit";
/// Enough for the write-ahead log to be moved into the database more than once.
const COMMITS: usize = 60;

/// The child: one commit after the other, each answer said.
async fn commit_all(directory: &Path) {
    let mut options = options(directory, &Recorder::default());
    options.on_failure = Box::new(|_| print_line("told of the failure"));
    let store = Store::open(options).unwrap();
    for number in 0..COMMITS {
        print_line(&format!("sending b{number}"));
        let answer = match store.commit(whole(&format!("b{number}"), &"x".repeat(60_000))).await {
            Ok(_) => "ack",
            Err(StoreError::Failed) => "failed",
            Err(other) => panic!("{other:?}"),
        };
        print_line(&format!("{answer} b{number}"));
    }
}

fn open(directory: &Path) -> Store {
    Store::open(options(directory, &Recorder::default())).unwrap()
}

/// The greatest number that strace takes.
const NO_FAILURE: usize = 65_535;

/// Output line or sync of the child, in the order in which the kernel saw it.
#[derive(Debug, PartialEq)]
enum TraceLine {
    Output(String),
    Synced { thread: String, file: String },
    Injected,
}

fn read_trace(path: &Path) -> Vec<TraceLine> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut seen = Vec::new();
    // A call during which another thread does one of its own is told in two lines.
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        let thread = line.split(' ').next().unwrap_or_default();
        if line.contains("sync(") && line.contains("<unfinished") {
            begun.insert(thread, line);
        } else if line.contains("(INJECTED)") {
            seen.push(TraceLine::Injected);
        } else if line.contains("write(1<") {
            let said = line.split('"').nth(1).unwrap_or_default();
            seen.push(TraceLine::Output(said.replace("\\n", "")));
        } else if line.contains("sync") && line.trim_end().ends_with("= 0") {
            let whole = if line.contains("resumed>") { begun.remove(thread).unwrap_or(line) } else { line };
            let name = whole.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
            seen.push(TraceLine::Synced {
                thread: thread.to_owned(),
                file: name.map(|(name, _)| name.to_owned()).unwrap_or_default(),
            });
        }
    }
    seen
}

/// Runs the child with its fsync number `failing` refused; returns the trace and what it said.
fn run(directory: &Path, test: &str, failing: usize) -> (Vec<TraceLine>, Vec<String>) {
    let trace = directory.join("trace");
    let inject = format!("inject=fsync,fdatasync:error=EIO:when={failing}");
    let path = trace.to_str().unwrap();
    let strace =
        ["strace", "-f", "-qq", "-y", "-e", "trace=fsync,fdatasync,write", "-e", &inject, "-o", path];
    let output = command_behind(&strace, test, directory).stderr(Stdio::piped()).output();
    let output = output.unwrap_or_else(|error| {
        panic!("this test needs strace ({error}); install it with: apt-get install strace")
    });
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    (read_trace(&trace), said.lines().map(str::to_owned).collect())
}

/// Each answer comes after an fsync that came after its commit began, and that did not fail.
fn check_order(trace: &[TraceLine], failing: usize) {
    let (mut synced, mut broken) = (false, false);
    for seen in trace {
        match seen {
            TraceLine::Output(line) if line.starts_with("sending ") => synced = false,
            TraceLine::Output(line) if line.starts_with("ack ") => {
                assert!(synced, "fsync {failing}: {line} before any fsync of its own");
            }
            TraceLine::Output(_) => {}
            TraceLine::Synced { .. } => synced |= !broken,
            TraceLine::Injected => broken = true,
        }
    }
    assert!(broken, "fsync {failing} was never reached");
}

/// The files that the writer's thread synced, in order.
fn syncs_of_writer(trace: &[TraceLine]) -> Vec<&str> {
    let mut syncs = Vec::new();
    for seen in trace {
        if let TraceLine::Synced { thread, file } = seen {
            syncs.push((thread, file.as_str()));
        }
    }
    let writer = syncs.iter().find(|(_, file)| file.ends_with("-wal")).expect("no commit in the run").0;
    syncs.into_iter().filter(|(thread, _)| *thread == writer).map(|(_, file)| file).collect()
}

fn check_answers(said: &[String], failing: usize) -> BTreeSet<String> {
    let first_failed = said.iter().position(|line| line.starts_with("failed "));
    let first_failed =
        first_failed.unwrap_or_else(|| panic!("fsync {failing} failed and nothing was refused"));
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
fn failed_fsync_stops_answers_and_loses_no_answered_unit() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    if let Some(directory) = child_directory() {
        runtime.block_on(commit_all(&directory));
        return;
    }
    // A run without a fault says which of the writer's syncs are which; strace counts for each thread.
    let home = tempfile::tempdir().unwrap();
    runtime.block_on(prepare(home.path()));
    let (trace, said) = run(home.path(), TEST, NO_FAILURE);
    assert_eq!(said.iter().filter(|line| line.starts_with("ack ")).count(), COMMITS);
    let syncs = syncs_of_writer(&trace);
    let moved = syncs.iter().position(|file| file.ends_with("arbiter.db")).expect("no checkpoint in the run");
    // Counted from 1: `moved` is the log's own sync before the database's, then come the next commits'.
    for failing in [3, 4, 5, 10, 20, moved - 1, moved, moved + 1, moved + 2, moved + 3, moved + 5] {
        assert!(syncs[failing - 1].contains("/arbiter.db"), "{failing} of {syncs:?}");
        let home = tempfile::tempdir().unwrap();
        runtime.block_on(prepare(home.path()));
        let (trace, said) = run(home.path(), TEST, failing);
        check_order(&trace, failing);
        let answered = check_answers(&said, failing);
        runtime.block_on(async {
            let store = open(home.path());
            let found = whole_beads(&store).await;
            assert!(answered.is_subset(&found), "fsync {failing}: lost {:?}", answered.difference(&found));
            store.commit(whole("afterwards", "")).await.unwrap();
            assert!(whole_beads(&store).await.contains("afterwards"));
        });
    }
}

#[test]
fn store_with_unsyncable_directory_is_not_opened() {
    if let Some(directory) = child_directory() {
        let opened = Store::open(options(&directory, &Recorder::default()));
        return print_line(&opened.map(|_| "opened".to_owned()).unwrap_or_else(|error| error.to_string()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let home = tempfile::tempdir().unwrap();
    runtime.block_on(prepare(home.path()));
    let test = "failing_disk::store_with_unsyncable_directory_is_not_opened";
    let directory = home.path().to_str().unwrap();
    let (_, said) = run(home.path(), test, 1);
    assert!(said.contains(&format!("sync {directory}")), "{said:?}");
    runtime.block_on(async { assert_eq!(whole_beads(&open(home.path())).await, BTreeSet::new()) });
}
