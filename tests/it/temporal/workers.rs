//! Workers on other machines, each with a vault file of its own: they call providers for a server that they
//! reach only through Temporal.

use crate::harness::program::{RunningProgram, command, private_file};
use crate::harness::{Harness, TIMEOUT};
use crate::temporal::start_bridged;
use arbiter_testkit::{ChatInput, Fault, Reply, Script, ScriptedProvider, TEST_PASSWORD, TemporalServer};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The key of the provider, which only workers use here.
const KEY: &str = "sk-worker-0123456789";

/// A data directory with a key file and nothing else, and its password beside it.
struct WorkerHome {
    home: TempDir,
}

impl WorkerHome {
    /// Keys of a server, exported under another password.
    async fn with_keys(harness: &Harness, keys: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::DirBuilder::new().mode(0o700).create(home.path().join("data")).unwrap();
        let password = private_file(home.path(), "password", "another password");
        let own = private_file(home.path(), "own", TEST_PASSWORD);
        let file = home.path().join("data/keys.json");
        let mut words = vec!["vault", "export", file.to_str().unwrap()];
        words.extend(["--new-password-file", &password, "--password-file", &own]);
        keys.iter().for_each(|key| words.extend(["--key", key]));
        let ended = harness.cli(&words).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        Self { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Starts a worker there, and returns when it serves.
    async fn worker(&self, temporal: &TemporalServer) -> RunningProgram {
        let mut command = command(self.home.path());
        command.args(["worker", "--temporal", &temporal.address()]);
        command.arg("--data-dir").arg(self.path("data")).arg("--password-file").arg(self.path("password"));
        let mut worker = RunningProgram::start(command);
        worker.wait_for_line("serving arbiter-providers at").await;
        worker
    }
}

/// The process that makes the call of a workflow now, as Temporal reports it.
async fn calling_process(temporal: &TemporalServer, workflow: &str) -> Option<u32> {
    let shown = temporal.cli(&["workflow", "describe", "-w", workflow, "-o", "json"]).await;
    let shown: Value = serde_json::from_str(&shown.stdout).ok()?;
    let identity = shown["pendingActivities"][0]["lastWorkerIdentity"].as_str()?;
    identity.strip_prefix("arbiter worker ")?.parse().ok()
}

/// The processes that made the calls of all workflows.
async fn calling_workers(temporal: &TemporalServer, workflow: &str) -> BTreeSet<String> {
    let shown = temporal.cli(&["workflow", "show", "-w", workflow, "-o", "json"]).await.json();
    let events = shown["events"].as_array().unwrap().iter();
    let started = events.filter_map(|e| e["activityTaskStartedEventAttributes"]["identity"].as_str());
    started.filter(|identity| identity.starts_with("arbiter worker")).map(str::to_owned).collect()
}

async fn running_queries(temporal: &TemporalServer) -> Vec<String> {
    let query = "WorkflowType = 'ProviderQueryWorkflow' AND ExecutionStatus = 'Running'";
    let listed = temporal.cli(&["workflow", "list", "--query", query, "-o", "json"]).await;
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap_or_default();
    let listed = listed.as_array().cloned().unwrap_or_default();
    listed.iter().filter_map(|one| Some(one["execution"]["workflowId"].as_str()?.to_owned())).collect()
}

async fn setup_harness(temporal: &TemporalServer, provider: &ScriptedProvider) -> Harness {
    let harness = start_bridged(temporal, &[("ARBITER_TEMPORAL__SERVE_PROVIDERS", "false")]).await;
    harness.register("scripted", &provider.url(), KEY).await;
    harness.wait_until_mirrored().await;
    harness
}

fn kill9(process: u32) {
    let process = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn call_of_a_killed_worker_is_made_by_the_other() {
    let temporal = TemporalServer::start().await;
    // The first call of the word `hang` never ends; everything else is answered at once.
    let answer = |chat: &ChatInput| match chat.last_text_of("user").contains("hang") && chat.number == 1 {
        true => Reply::failing(Fault::Hang),
        false => Reply::text("Done."),
    };
    let provider = ScriptedProvider::start(Script::answering(answer).requiring_key(KEY));
    let harness = setup_harness(&temporal, &provider).await;
    let worker_home = WorkerHome::with_keys(&harness, &["temporal-calls-1", "key_scripted"]).await;
    let _workers = [worker_home.worker(&temporal).await, worker_home.worker(&temporal).await];

    let hanging = harness.act("repl", json!({"message": "hang"}));
    let killing = async {
        let began = Instant::now();
        loop {
            // Not before the call is made: the first one hangs, on either worker.
            if provider.chat_count() > 0
                && let Some(workflow) = running_queries(&temporal).await.first()
                && let Some(process) = calling_process(&temporal, workflow).await
            {
                kill9(process);
                return process;
            }
            assert!(began.elapsed() < TIMEOUT, "no worker makes the call");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (said, killed) = tokio::join!(hanging, killing);
    assert_eq!((&said["via"], &said["response"]), (&json!("temporal"), &json!("Done.")), "{said}");
    let workers = calling_workers(&temporal, said["workflow_id"].as_str().unwrap()).await;
    assert!(
        !workers.is_empty() && !workers.contains(&format!("arbiter worker {killed}")),
        "{workers:?}, not {killed}"
    );

    // Another one takes the place of the killed one, and both get something to do.
    let _third = worker_home.worker(&temporal).await;
    let mut workers = BTreeSet::new();
    let began = Instant::now();
    while workers.len() < 2 {
        let said = harness.act("repl", json!({"message": "How are you?"})).await;
        workers.extend(calling_workers(&temporal, said["workflow_id"].as_str().unwrap()).await);
        assert!(began.elapsed() < 2 * TIMEOUT, "one worker does everything: {workers:?}");
    }
}

#[tokio::test]
async fn worker_without_a_key_reports_what_it_lacks() {
    let temporal = TemporalServer::start().await;
    let provider = ScriptedProvider::start(Script::always(Reply::text("Done.")).requiring_key(KEY));
    let harness = setup_harness(&temporal, &provider).await;
    let refused = async |worker_home: &WorkerHome, password: &Path| {
        let mut command = command(worker_home.home.path());
        command.args(["worker", "--temporal", &temporal.address()]);
        command.arg("--data-dir").arg(worker_home.path("data")).arg("--password-file").arg(password);
        crate::harness::program::run(command, "").await
    };
    let bare = WorkerHome::with_keys(&harness, &["key_scripted"]).await;
    let ended = refused(&bare, &bare.path("password")).await;
    assert_eq!(ended.code, Some(77), "{ended:?}");
    assert!(ended.stderr.contains("vault export --key temporal-calls-1"), "{ended:?}");
    let wrong = private_file(bare.home.path(), "wrong", "wrong");
    let ended = refused(&bare, Path::new(&wrong)).await;
    assert_eq!(ended.code, Some(77), "{ended:?}");
    fs::remove_file(bare.path("data/keys.json")).unwrap();
    let ended = refused(&bare, &bare.path("password")).await;
    assert!(ended.code == Some(77) && ended.stderr.contains("there is no key file"), "{ended:?}");

    // One that lacks the provider's key leaves the call to one that has it.
    let keyless = WorkerHome::with_keys(&harness, &["temporal-calls-1"]).await;
    let _keyless = keyless.worker(&temporal).await;
    let keyed = WorkerHome::with_keys(&harness, &["temporal-calls-1", "key_scripted"]).await;
    let _keyed = keyed.worker(&temporal).await;
    let mut answered = 0;
    for _ in 0..6 {
        let asked = harness.ask("POST", "repl", Some(&json!({"message": "How are you?"}))).await;
        answered += usize::from(asked.status == 200);
    }
    assert!(answered > 0);
}

#[tokio::test]
async fn run_calls_are_made_by_workers_when_configured() {
    let temporal = TemporalServer::start().await;
    let provider = ScriptedProvider::start(Script::always(Reply::text("Done.")).requiring_key(KEY));
    let variables = [("ARBITER_TEMPORAL__SERVE_PROVIDERS", "false"), ("ARBITER_TEMPORAL__RUN_BEADS", "true")];
    let harness = start_bridged(&temporal, &variables).await;
    harness.register("scripted", &provider.url(), KEY).await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness.wait_until_mirrored().await;
    let worker_home = WorkerHome::with_keys(&harness, &["temporal-calls-1", "key_scripted"]).await;
    let mut worker = worker_home.worker(&temporal).await;
    let agent = json!({"id": "ada", "name": "Ada", "provider_id": "scripted", "project_id": "p"});
    harness.create("agents", agent).await;
    harness.bead("b", json!({"title": "Work"})).await;
    harness.wait_for_bead_status("b", "closed").await;
    let runs = harness.get("runs?bead_id=b").await;
    assert_eq!(runs[0]["status"], "succeeded", "{runs}");
    let query = "/api/v1/temporal/workflows?type=ProviderQueryWorkflow";
    let made = harness.server.get(query).await.1;
    let workflow = made[0]["id"].as_str().unwrap();
    let workers = calling_workers(&temporal, workflow).await;
    assert_eq!(workers, BTreeSet::from([format!("arbiter worker {}", worker.child.id())]));
    worker.child.kill().unwrap();

    // Without a worker the bead's lease continues while the call waits; without the server the call is direct.
    drop(temporal);
    harness.bead("c", json!({"title": "More work"})).await;
    harness.wait_for_bead_status("c", "closed").await;
    assert_eq!(provider.chat_count(), 2);
}
