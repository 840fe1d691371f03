//! The command line as a client of a running server: tables for people, JSON for programs, data on stdout.

pub mod demo;

use crate::harness::program::{Running, command};
use crate::harness::{KEY, Stage};
use arbiter_testkit::{Script, ScriptedProvider};
use serde_json::{Value, json};

/// A command that must succeed; what it printed.
async fn printed(stage: &Stage, line: &str) -> String {
    let ended = stage.cli(&line.split(' ').collect::<Vec<_>>()).await;
    assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
    ended.stdout
}

/// The same with `--json`.
async fn as_json(stage: &Stage, line: &str) -> Value {
    let words: Vec<&str> = line.split(' ').chain(["--json"]).collect();
    stage.cli(&words).await.json()
}

/// The rows of a table below its head, in words.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_is_set_up_done_and_looked_at_from_the_command_line() {
    let provider = ScriptedProvider::start(Script::default().requiring_key(KEY));
    let stage = Stage::new().await;
    printed(&stage, "project add House --id house").await;
    assert_eq!(as_json(&stage, "project list").await[0]["name"], "House");

    // The key comes on stdin and is printed by no command.
    let url = provider.url();
    let add = ["provider", "add", "Main", "--id", "main", "--endpoint", &url, "--api-key-stdin"];
    let added = stage.cli_with(&add, &format!("{KEY}\n")).await;
    assert_eq!((added.code, added.stdout.contains("main: registered")), (Some(0), true), "{added:?}");
    let beat = as_json(&stage, "provider heartbeat main").await;
    assert_eq!((&beat["status"], &beat["requires_key"]), (&json!("active"), &json!(true)));
    let listed = printed(&stage, "provider list").await;
    assert_eq!(rows(&listed)[0][..4], ["main", "Main", "openai", "active"], "{listed}");
    assert_eq!(provider.requests().last().unwrap().authorization, Some(format!("Bearer {KEY}")));

    printed(&stage, "agent add Builder --id builder --provider main --project house").await;
    assert_eq!(as_json(&stage, "agent show builder").await["status"], "idle");
    let added = stage.cli(&["bead", "add", "Lay the ground", "--project", "house", "--id", "ground"]).await;
    assert_eq!(added.stdout.trim(), "ground: created (open)", "{added:?}");
    stage.until_bead("ground", "closed").await;
    let shown = printed(&stage, "bead show ground").await;
    assert!(shown.contains("closed") && shown.contains("[simulated]"), "{shown}");
    let listed = printed(&stage, "bead list --project house").await;
    assert_eq!(rows(&listed)[0][..3], ["ground", "2", "closed"], "{listed}");
    assert_eq!(as_json(&stage, "run list").await[0]["bead_id"], "ground");

    // A critical bead: why says what it waits for, and the answer lets it go.
    printed(&stage, "bead add Open --project house --id opening --priority 0 --blocked-by ground").await;
    let decision = stage.asked_about("opening").await;
    assert!(printed(&stage, "bead why opening").await.contains(&decision));
    let graph = printed(&stage, "bead graph --project house").await;
    assert!(graph.contains("ground") && graph.contains("-->"), "{graph}");
    let listed = printed(&stage, "decision list --status pending").await;
    assert_eq!(rows(&listed)[0][0], decision, "{listed}");
    let decided = printed(&stage, &format!("decision decide {decision} approve")).await;
    assert_eq!(decided.trim(), format!("{decision}: decided (resolved)"));
    stage.until_bead("opening", "closed").await;

    let status = printed(&stage, "status").await;
    for word in ["vault", "unlocked", "beads.closed"] {
        assert!(status.contains(word), "{word}: {status}");
    }
    assert_eq!(as_json(&stage, "status").await["system"]["counts"]["beads"]["closed"], 2);
    let keys = printed(&stage, "key list").await;
    assert!(keys.contains("key_main") && !keys.contains(KEY), "{keys}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_claims_and_completes_with_what_the_commands_print() {
    let stage = Stage::new().await;
    stage.create("projects", json!({"id": "p", "name": "P"})).await;
    printed(&stage, "agent add Script --id script --kind external").await;
    stage.bead("b", json!({})).await;
    assert_eq!(rows(&printed(&stage, "bead ready").await)[0][0], "b");
    let claimed = stage.cli(&["bead", "claim", "b", "--agent", "script"]).await;
    assert_eq!((claimed.code, claimed.stdout.lines().count()), (Some(0), 1), "{claimed:?}");
    assert!(claimed.stderr.contains("claimed by script"), "{claimed:?}");
    let token = claimed.stdout.trim().to_owned();
    let complete = |token: &str| {
        let words = ["bead", "complete", "b", "--summary", "all done", "--lease-token", token];
        words.map(str::to_owned)
    };
    let wrong = stage.cli(&complete("wrong").each_ref().map(String::as_str)).await;
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(1), ""), "{wrong:?}");
    assert!(wrong.complaint().contains("lease"), "{wrong:?}");
    let done = stage.cli(&complete(&token).each_ref().map(String::as_str)).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(stage.get("beads/b").await["close_reason"], "all done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_printed_as_they_come_and_go_on_over_a_restart() {
    let mut stage = Stage::new().await;
    stage.create("projects", json!({"id": "p", "name": "P"})).await;
    let home = tempfile::tempdir().unwrap();
    let mut tail = command(home.path());
    tail.args(["events", "tail", "--json", "--after", "0", "--type", "bead.created", "--limit", "4"]);
    tail.env("ARBITER_DATA_DIR", stage.server.data_dir());
    let mut tail = Running::start(tail);
    for id in ["b1", "b2"] {
        stage.bead(id, json!({})).await;
        tail.line(&format!("\"subject\":\"{id}\"")).await;
    }
    stage.server.kill9();
    stage.server.restart().await;
    for id in ["b3", "b4"] {
        stage.bead(id, json!({})).await;
    }
    assert!(tail.ended().await.success());
    let subject = |line: &String| serde_json::from_str::<Value>(line).unwrap()["subject"].clone();
    assert_eq!(tail.printed.iter().map(subject).collect::<Vec<_>>(), ["b1", "b2", "b3", "b4"]);
    let listed = printed(&stage, "events list --type bead.created --subject b1").await;
    assert!(listed.contains("bead.created") && listed.contains("b1"), "{listed}");
}

#[tokio::test]
async fn the_document_and_the_settings_can_be_printed() {
    let stage = Stage::new().await;
    let document: Value = serde_json::from_str(&printed(&stage, "openapi").await).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{document}");
    let settings = printed(&stage, "config show").await;
    let iterations = settings.lines().find(|line| line.contains("vault.kdf_iterations")).unwrap();
    assert!(
        iterations.contains("100000") && iterations.contains("ARBITER_VAULT__KDF_ITERATIONS"),
        "{iterations}"
    );
    assert!(printed(&stage, "completions bash").await.contains("arbiter"));
    assert!(printed(&stage, "token list").await.contains("admin"));
}
