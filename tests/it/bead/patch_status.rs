//! A `PATCH` of fields and status is one unit of work: refused as a whole, or done in one commit.

use crate::harness::Harness;
use arbiter_testkit::Script;
use serde_json::{Value, json};

/// Patches an entity, expects this status, and returns the entity before and after.
async fn patched(harness: &Harness, path: &str, patch: Value, status: u16) -> (Value, Value) {
    let before = harness.get(path).await;
    let answer = harness.ask("PATCH", path, Some(&patch)).await;
    assert_eq!(answer.status, status, "{path} {patch}: {}", answer.json());
    (before, harness.get(path).await)
}

#[tokio::test]
async fn refused_status_leaves_fields_unchanged() {
    let harness = Harness::new().await;
    harness.setup(Script::default(), &["a"]).await;
    harness.bead("one", json!({"defer_until": "2099-01-01T00:00:00Z"})).await;
    for (path, patch, status) in [
        // The bead is deferred, so it cannot be claimed.
        ("beads/one", json!({"title": "changed", "status": "in_progress"}), 409),
        ("beads/one", json!({"title": "changed", "status": "open"}), 409),
        ("agents/a", json!({"name": "changed", "status": "idle"}), 409),
        ("agents/a", json!({"name": "changed", "status": "asleep"}), 422),
    ] {
        let (before, after) = patched(&harness, path, patch, status).await;
        assert_eq!(before, after, "{path}");
    }
    harness.act("providers/scripted/disable", json!({})).await;
    let patch = json!({"name": "changed", "status": "inactive"});
    let (before, after) = patched(&harness, "providers/scripted", patch, 409).await;
    assert_eq!((&before["name"], &before["revision"]), (&after["name"], &after["revision"]));
}

#[tokio::test]
async fn fields_and_status_change_together() {
    let harness = Harness::new().await;
    harness.setup(Script::default(), &["a"]).await;
    harness.bead("one", json!({"defer_until": "2099-01-01T00:00:00Z"})).await;
    for (path, name, status, stored) in [
        ("beads/one", "title", "closed", "closed"),
        ("agents/a", "name", "shutdown", "shutdown"),
        ("providers/scripted", "name", "inactive", "disabled"),
    ] {
        let patch = json!({name: "changed", "status": status});
        let (_, after) = patched(&harness, path, patch, 200).await;
        assert_eq!((&after[name], &after["status"]), (&json!("changed"), &json!(stored)), "{path}");
    }
}

#[tokio::test]
async fn claim_in_a_patch_sees_the_dependencies_of_the_same_patch() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    for id in ["one", "blocker"] {
        harness.bead(id, json!({})).await;
    }
    let patch = json!({"blocked_by": ["blocker"], "status": "in_progress"});
    let (before, after) = patched(&harness, "beads/one", patch, 409).await;
    assert_eq!(before, after);
    harness.ask("PATCH", "beads/one", Some(&json!({"blocked_by": ["blocker"]}))).await;
    let patch = json!({"blocked_by": [], "status": "in_progress"});
    let (_, after) = patched(&harness, "beads/one", patch, 200).await;
    assert_eq!(after["status"], "in_progress");
}
