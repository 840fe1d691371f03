//! A lost password: the keys are reset offline, nothing is deleted, and providers get new keys.

use crate::harness::program::{RunningProgram, command};
use crate::harness::{Harness, KEY};
use arbiter_testkit::Script;
use serde_json::{Value, json};
use std::fs;

fn key_file_names(directory: &std::path::Path) -> Vec<String> {
    let listing = fs::read_dir(directory).unwrap().map(|found| found.unwrap().file_name());
    let mut key_file_names: Vec<String> = listing.map(|name| name.into_string().unwrap()).collect();
    key_file_names.retain(|name| name.starts_with("keys.json"));
    key_file_names.sort();
    key_file_names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vault_reset_archives_keys_and_new_key_restores_provider() {
    let mut harness = Harness::new().await;
    let _provider = harness.setup(Script::default(), &[]).await;
    let unsure = harness.cli(&["vault", "reset"]).await;
    assert_eq!(unsure.code, Some(2), "{unsure:?}");
    assert!(unsure.error_line().contains("--forget-keys"), "{unsure:?}");
    let held = harness.cli(&["vault", "reset", "--forget-keys"]).await;
    assert_eq!(held.code, Some(75), "{held:?}");
    assert!(harness.server.terminate().await.success());
    let data = harness.server.data_dir();
    let before = fs::read(data.join("keys.json")).unwrap();
    let reset = harness.cli(&["vault", "reset", "--forget-keys"]).await;
    assert_eq!(reset.code, Some(0), "{reset:?}");
    let kept = key_file_names(&data);
    let [blank, kept @ ..] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!((blank.as_str(), kept.len()), ("keys.json", 2), "{kept:?}");
    assert!(
        kept[0].starts_with("keys.json.forgotten-20") && kept[1] == format!("{}.bak", kept[0]),
        "{kept:?}"
    );
    assert_eq!(fs::read(data.join(&kept[0])).unwrap(), before);
    assert!(reset.stdout.contains("keys forgotten: 1") && reset.stdout.contains(&kept[0]), "{reset:?}");
    assert!(reset.stdout.contains("next: "), "{reset:?}");
    let again = harness.cli(&["vault", "reset", "--forget-keys"]).await;
    assert!(again.code == Some(0) && again.stdout.contains("nothing was changed"), "{again:?}");

    // Without a password the next start waits for the first one.
    let home = tempfile::tempdir().unwrap();
    let mut serve = command(home.path());
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data);
    let mut serving = RunningProgram::start(serve);
    serving.wait_for_line("listening on ").await;
    let status = harness.cli(&["vault", "status", "--json"]).await.json();
    assert_eq!((&status["state"], &status["keys"]), (&json!("uninitialized"), &json!(0)));
    drop(serving);

    harness.server.restart().await;
    let vault = harness.get("vault").await;
    assert_eq!((&vault["state"], &vault["rolled_back"]), (&json!("unlocked"), &Value::Null));
    let told = harness.get("events?type=key.deleted&subject=key_scripted").await;
    assert_eq!((&told[0]["actor"], &told[0]["data"]["reason"]), (&json!("system"), &json!("vault reset")));
    for _ in 0..3 {
        harness.act("providers/scripted/heartbeat", Value::Null).await;
    }
    let down = harness.get("providers/scripted").await;
    assert_eq!(down["status"], "unhealthy", "{down}");
    assert!(down["status_reason"].as_str().unwrap().contains("key_scripted"), "{down}");
    let given = harness.ask("PATCH", "providers/scripted", Some(&json!({"api_key": KEY}))).await;
    assert_eq!(given.status, 200, "{}", given.json());
    assert_eq!(harness.act("providers/scripted/heartbeat", Value::Null).await["status"], "active");
}
