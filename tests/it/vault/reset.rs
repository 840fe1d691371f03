//! A lost password: the keys are forgotten offline, nothing is deleted, and providers get theirs again.

use crate::harness::program::{Running, command};
use crate::harness::{KEY, Stage};
use arbiter_testkit::Script;
use serde_json::{Value, json};
use std::fs;

fn names(directory: &std::path::Path) -> Vec<String> {
    let listing = fs::read_dir(directory).unwrap().map(|found| found.unwrap().file_name());
    let mut names: Vec<String> = listing.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("keys.json"));
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_keys_are_kept_aside_and_a_provider_works_again_with_its_key_given_anew() {
    let mut stage = Stage::new().await;
    let _provider = stage.furnish(Script::default(), &[]).await;
    let unsure = stage.cli(&["vault", "reset"]).await;
    assert_eq!(unsure.code, Some(2), "{unsure:?}");
    assert!(unsure.complaint().contains("--forget-keys"), "{unsure:?}");
    let held = stage.cli(&["vault", "reset", "--forget-keys"]).await;
    assert_eq!(held.code, Some(75), "{held:?}");
    assert!(stage.server.terminate().await.success());
    let data = stage.server.data_dir();
    let before = fs::read(data.join("keys.json")).unwrap();
    let reset = stage.cli(&["vault", "reset", "--forget-keys"]).await;
    assert_eq!(reset.code, Some(0), "{reset:?}");
    let kept = names(&data);
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(
        kept[0].starts_with("keys.json.forgotten-20") && kept[1] == format!("{}.bak", kept[0]),
        "{kept:?}"
    );
    assert_eq!(fs::read(data.join(&kept[0])).unwrap(), before);
    assert!(reset.stdout.contains("keys forgotten: 1") && reset.stdout.contains(&kept[0]), "{reset:?}");
    assert!(reset.stdout.contains("next: "), "{reset:?}");
    let again = stage.cli(&["vault", "reset", "--forget-keys"]).await;
    assert!(again.code == Some(0) && again.stdout.contains("nothing was changed"), "{again:?}");

    // Without a password the next start waits for the first one.
    let home = tempfile::tempdir().unwrap();
    let mut serve = command(home.path());
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data);
    let mut serving = Running::start(serve);
    serving.line("listening on ").await;
    let status = stage.cli(&["vault", "status", "--json"]).await.json();
    assert_eq!((&status["state"], &status["keys"]), (&json!("uninitialized"), &json!(0)));
    drop(serving);

    stage.server.restart().await;
    let vault = stage.get("vault").await;
    assert_eq!((&vault["state"], &vault["rolled_back"]), (&json!("unlocked"), &Value::Null));
    let told = stage.get("events?type=key.deleted&subject=key_scripted").await;
    assert_eq!((&told[0]["actor"], &told[0]["data"]["reason"]), (&json!("system"), &json!("vault reset")));
    for _ in 0..3 {
        stage.act("providers/scripted/heartbeat", Value::Null).await;
    }
    let down = stage.get("providers/scripted").await;
    assert_eq!(down["status"], "unhealthy", "{down}");
    assert!(down["status_reason"].as_str().unwrap().contains("key_scripted"), "{down}");
    let given = stage.ask("PATCH", "providers/scripted", Some(&json!({"api_key": KEY}))).await;
    assert_eq!(given.status, 200, "{}", given.json());
    assert_eq!(stage.act("providers/scripted/heartbeat", Value::Null).await["status"], "active");
}
