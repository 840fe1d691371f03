//! The work graph through the running program: bulk creation, dependencies, lists and their order.

use crate::admission::refusals::problem;
use crate::bead::files::line;
use crate::harness::Harness;
use serde_json::{Value, json};

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|bead| bead["id"].as_str().unwrap()).collect()
}

async fn harness_with_project() -> Harness {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    harness
}

#[tokio::test]
async fn dependent_beads_are_created_all_or_none() {
    let harness = harness_with_project().await;
    let bead = |id: &str, more: Value| {
        let mut bead = json!({"id": id, "title": id, "project_id": "p"});
        bead.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bead
    };
    let before = harness.events(0).await.len();
    let circle =
        json!({"beads": [bead("a", json!({"blocked_by": ["b"]})), bead("b", json!({"blocked_by": ["a"]}))]});
    let refused = harness.ask("POST", "beads/bulk", Some(&circle)).await;
    problem(&refused, 409, "dependency-cycle");
    let wrong = json!({"beads": [bead("a", json!({})), bead("b", json!({"priority": 9}))]});
    let refused = harness.ask("POST", "beads/bulk", Some(&wrong)).await;
    problem(&refused, 422, "invalid");
    assert_eq!(refused.json()["errors"][0]["pointer"], "/beads/1/priority");
    let unknown = json!({"beads": [bead("a", json!({"blocked_by": ["nowhere"]}))]});
    assert_eq!(harness.ask("POST", "beads/bulk", Some(&unknown)).await.status, 422);
    problem(&harness.ask("POST", "beads/bulk", Some(&json!({"beads": []}))).await, 422, "invalid");
    assert_eq!(harness.get("beads").await, json!([]));
    assert_eq!(harness.events(0).await.len(), before);
    // The order in the list is of no account.
    let wall = json!({"title": "w", "project_id": "p", "parent": "house"});
    let good = json!({"beads": [
        bead("roof", json!({"blocked_by": ["walls"], "parent": "house"})),
        bead("walls", json!({"parent": "house"})),
        bead("house", json!({"type": "epic"})),
        wall,
    ]});
    let made = harness.create("beads/bulk", good).await;
    assert_eq!((&made[0]["id"], &made[0]["waiting_on"]), (&json!("roof"), &json!(["walls"])));
    assert_eq!(made[2]["children"].as_array().unwrap().len(), 3);
    assert!(made[3]["id"].as_str().unwrap().starts_with("bd-"), "{}", made[3]);
    let again = json!({"beads": [bead("new", json!({})), bead("roof", json!({}))]});
    problem(&harness.ask("POST", "beads/bulk", Some(&again)).await, 409, "exists");
    assert_eq!(harness.ask("GET", "beads/new", None).await.status, 404);
}

#[tokio::test]
async fn new_bead_id_uses_the_project_prefix() {
    let harness = harness_with_project().await;
    assert!(
        harness.create("beads", json!({"title": "t", "project_id": "p"})).await["id"]
            .as_str()
            .unwrap()
            .starts_with("bd-")
    );
    let answer = harness.ask("PATCH", "projects/p", Some(&json!({"bead_prefix": "house"}))).await;
    assert_eq!(answer.status, 200);
    let made = harness.create("beads", json!({"title": "t", "project_id": "p"})).await;
    assert!(made["id"].as_str().unwrap().starts_with("house-"), "{made}");
}

#[tokio::test]
async fn bead_list_in_bd_order_holds_across_pages() {
    let harness = harness_with_project().await;
    let order = [("a", 2), ("b", 1), ("c", 2), ("d", 1), ("e", 2)];
    let file = (0..).zip(order).map(|(second, (id, priority))| {
        let at = format!("2026-01-01T00:00:0{second}Z");
        line(json!({"id": id, "priority": priority, "created_at": at, "updated_at": at})) + "\n"
    });
    harness.imported("", &file.collect::<String>()).await;
    assert_eq!(ids(&harness.get("beads/ready").await), ["b", "d", "a", "c", "e"]);
    assert_eq!(ids(&harness.get("beads/ready?sort=bd").await), ["d", "b", "e", "c", "a"]);
    let mut path = "beads?sort=bd&limit=2".to_owned();
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = harness.ask("GET", &path, None).await;
        let rows = page.json();
        assert!(ids(&rows).len() <= 2);
        all.extend(ids(&rows).into_iter().map(str::to_owned));
        let link = page.header("link");
        if link.is_empty() {
            break;
        }
        path = link.trim_start_matches("</api/v1/").split('>').next().unwrap().to_owned();
    }
    assert_eq!(all, ["d", "b", "e", "c", "a"]);
    problem(&harness.ask("GET", "beads?sort=bed", None).await, 400, "bad-query");
    problem(&harness.ask("GET", "beads?colour=red", None).await, 400, "bad-query");
}

#[tokio::test]
async fn waits_for_gate_opens_on_any_or_all_children_and_explains() {
    let harness = harness_with_project().await;
    for id in ["spawner", "any", "all"] {
        harness.bead(id, json!({})).await;
    }
    for id in ["one", "two"] {
        harness.bead(id, json!({"parent": "spawner"})).await;
    }
    let edge = |gate: Option<&str>| json!({"depends_on": "spawner", "type": "waits-for", "gate": gate});
    harness.act("beads/any/dependencies", edge(Some("any-children"))).await;
    harness.act("beads/all/dependencies", edge(None)).await;
    let wrong = json!({"depends_on": "spawner", "type": "blocks", "gate": "any-children"});
    problem(&harness.ask("POST", "beads/one/dependencies", Some(&wrong)).await, 422, "invalid");
    let why = harness.get("beads/any/why").await;
    assert!(why.to_string().contains("waits-for (any child)"), "{why}");
    harness.act("beads/one/close", json!({"reason": "done"})).await;
    assert_eq!(harness.get("beads/any").await["ready"], true);
    assert_eq!(harness.get("beads/all").await["waiting_on"], json!(["spawner"]));
    harness.act("beads/two/close", json!({"reason": "done"})).await;
    assert_eq!(harness.get("beads/all").await["ready"], true);
}

#[tokio::test]
async fn bead_search_matches_words() {
    let harness = harness_with_project().await;
    harness
        .bead("a", json!({"title": "The quick brown fox", "description": "jumps over the lazy dog"}))
        .await;
    harness.bead("b", json!({"title": "Überlauf im Puffer"})).await;
    for (words, found) in
        [("quick", vec!["a"]), ("LAZY fox", vec!["a"]), ("uberlauf", vec!["b"]), ("cat", vec![])]
    {
        let list = harness.get(&format!("beads?q={}", words.replace(' ', "%20"))).await;
        assert_eq!(ids(&list), found, "{words}");
    }
    let answer = harness.ask("GET", "beads?q=%22%29%20OR%20*", None).await;
    assert_eq!(answer.status, 200, "a search text is text, not a query: {}", answer.json());
    let answer = harness.ask("PATCH", "beads/a", Some(&json!({"title": "The slow one"}))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(harness.get("beads?q=quick").await, json!([]));
}

#[tokio::test]
async fn dependency_cycle_is_refused_with_its_shortest_path() {
    const COUNT: usize = 1000;
    let harness = harness_with_project().await;
    let beads: Vec<Value> = (0..COUNT)
        .map(|n| {
            let behind: Vec<String> = (n > 0).then(|| format!("chain-{}", n - 1)).into_iter().collect();
            json!({"id": format!("chain-{n}"), "title": "t", "project_id": "p", "blocked_by": behind})
        })
        .collect();
    let added = harness.ask("POST", "beads/bulk", Some(&json!({"beads": beads}))).await;
    assert_eq!(added.status, 201, "{}", added.json());
    let back = json!({"depends_on": format!("chain-{}", COUNT - 1)});
    let refused = harness.ask("POST", &format!("beads/chain-{}/dependencies", COUNT - 3), Some(&back)).await;
    let told = problem(&refused, 409, "dependency-cycle");
    assert!(
        told["detail"].as_str().unwrap().ends_with("chain-997 → chain-999 → chain-998 → chain-997"),
        "{told}"
    );
}
