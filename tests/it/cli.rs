//! The command line as a client of a running server: tables for people, JSON for programs, data on stdout.

pub mod commands;
pub mod demo;

use crate::harness::program::{RunningProgram, command};
use crate::harness::{Harness, KEY};
use arbiter_testkit::{Script, ScriptedProvider};
use serde_json::{Value, json};

/// A command that must succeed; what it printed.
async fn printed(harness: &Harness, line: &str) -> String {
    let ended = harness.cli(&line.split(' ').collect::<Vec<_>>()).await;
    assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
    ended.stdout
}

/// The same with `--json`.
async fn cli_json(harness: &Harness, line: &str) -> Value {
    let words: Vec<&str> = line.split(' ').chain(["--json"]).collect();
    harness.cli(&words).await.json()
}

/// The rows of a table below its head, in words.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cli_sets_up_completes_and_shows_work() {
    let provider = ScriptedProvider::start(Script::default().requiring_key(KEY));
    let harness = Harness::new().await;
    printed(&harness, "project add House --id house").await;
    assert_eq!(cli_json(&harness, "project list").await[0]["name"], "House");

    // The key comes on stdin and is printed by no command.
    let url = provider.url();
    let add = ["provider", "add", "Main", "--id", "main", "--endpoint", &url, "--api-key-stdin"];
    let added = harness.cli_with(&add, &format!("{KEY}\n")).await;
    assert_eq!((added.code, added.stdout.contains("main: registered")), (Some(0), true), "{added:?}");
    let beat = cli_json(&harness, "provider heartbeat main").await;
    assert_eq!((&beat["status"], &beat["requires_key"]), (&json!("active"), &json!(true)));
    let listed = printed(&harness, "provider list").await;
    assert_eq!(rows(&listed)[0][..4], ["main", "Main", "openai", "active"], "{listed}");
    assert_eq!(provider.requests().last().unwrap().authorization, Some(format!("Bearer {KEY}")));

    printed(&harness, "agent add Builder --id builder --provider main --project house").await;
    assert_eq!(cli_json(&harness, "agent show builder").await["status"], "idle");
    let added = harness.cli(&["bead", "add", "Lay the ground", "--project", "house", "--id", "ground"]).await;
    assert_eq!(added.stdout.trim(), "ground: created (open)", "{added:?}");
    harness.wait_for_bead_status("ground", "closed").await;
    let shown = printed(&harness, "bead show ground").await;
    assert!(shown.contains("closed") && shown.contains("[simulated]"), "{shown}");
    let listed = printed(&harness, "bead list --project house").await;
    assert_eq!(rows(&listed)[0][..3], ["ground", "2", "closed"], "{listed}");
    assert_eq!(cli_json(&harness, "run list").await[0]["bead_id"], "ground");

    // A critical bead: why says what it waits for, and the answer lets it go.
    printed(&harness, "bead add Open --project house --id opening --priority 0 --blocked-by ground").await;
    let decision = harness.wait_for_decision_about("opening").await;
    assert!(printed(&harness, "bead why opening").await.contains(&decision));
    let graph = printed(&harness, "bead graph --project house").await;
    assert!(graph.contains("ground") && graph.contains("-->"), "{graph}");
    let listed = printed(&harness, "decision list --status pending").await;
    assert_eq!(rows(&listed)[0][0], decision, "{listed}");
    let decided = printed(&harness, &format!("decision decide {decision} approve")).await;
    assert_eq!(decided.trim(), format!("{decision}: decided (resolved)"));
    harness.wait_for_bead_status("opening", "closed").await;

    let status = printed(&harness, "status").await;
    for word in ["vault", "unlocked", "beads.closed"] {
        assert!(status.contains(word), "{word}: {status}");
    }
    assert_eq!(cli_json(&harness, "status").await["system"]["counts"]["beads"]["closed"], 2);
    let keys = printed(&harness, "key list").await;
    assert!(keys.contains("key_main") && !keys.contains(KEY), "{keys}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cli_output_lets_a_script_claim_and_complete_a_bead() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    printed(&harness, "agent add Script --id script --kind external").await;
    harness.bead("b", json!({})).await;
    assert_eq!(rows(&printed(&harness, "bead ready").await)[0][0], "b");
    let claimed = harness.cli(&["bead", "claim", "b", "--agent", "script"]).await;
    assert_eq!((claimed.code, claimed.stdout.lines().count()), (Some(0), 1), "{claimed:?}");
    assert!(claimed.stderr.contains("claimed by script"), "{claimed:?}");
    let token = claimed.stdout.trim().to_owned();
    let complete = |token: &str| {
        let words = ["bead", "complete", "b", "--summary", "all done", "--lease-token", token];
        words.map(str::to_owned)
    };
    let wrong = harness.cli(&complete("wrong").each_ref().map(String::as_str)).await;
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(1), ""), "{wrong:?}");
    assert!(wrong.error_line().contains("lease"), "{wrong:?}");
    let done = harness.cli(&complete(&token).each_ref().map(String::as_str)).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(harness.get("beads/b").await["close_reason"], "all done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cli_events_follow_resumes_after_a_server_restart() {
    let mut harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let home = tempfile::tempdir().unwrap();
    let mut tail = command(home.path());
    tail.args(["events", "tail", "--json", "--after", "0", "--type", "bead.created", "--limit", "4"]);
    tail.env("ARBITER_DATA_DIR", harness.server.data_dir());
    let mut tail = RunningProgram::start(tail);
    for id in ["b1", "b2"] {
        harness.bead(id, json!({})).await;
        tail.wait_for_line(&format!("\"subject\":\"{id}\"")).await;
    }
    harness.server.kill9();
    harness.server.restart().await;
    for id in ["b3", "b4"] {
        harness.bead(id, json!({})).await;
    }
    assert!(tail.wait_for_exit().await.success());
    let subject = |line: &String| serde_json::from_str::<Value>(line).unwrap()["subject"].clone();
    assert_eq!(tail.printed.iter().map(subject).collect::<Vec<_>>(), ["b1", "b2", "b3", "b4"]);
    let listed = printed(&harness, "events list --type bead.created --subject b1").await;
    assert!(listed.contains("bead.created") && listed.contains("b1"), "{listed}");
}

#[tokio::test]
async fn cli_prints_openapi_document_and_settings() {
    let harness = Harness::new().await;
    let document: Value = serde_json::from_str(&printed(&harness, "openapi").await).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{document}");
    let settings = printed(&harness, "config show").await;
    let iterations = settings.lines().find(|line| line.contains("vault.kdf_iterations")).unwrap();
    assert!(
        iterations.contains("100000") && iterations.contains("ARBITER_VAULT__KDF_ITERATIONS"),
        "{iterations}"
    );
    assert!(printed(&harness, "completions bash").await.contains("arbiter"));
    assert!(printed(&harness, "token list").await.contains("admin"));
}
