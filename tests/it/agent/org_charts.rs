//! Org charts: positions of a project and the agents in them; agents that join, leave and replace each other.

use crate::admission::refusals::problem;
use crate::harness::Harness;
use arbiter_testkit::{Fault, Reply, Script};
use futures_util::future::join_all;
use serde_json::{Value, json};

async fn fillers(harness: &Harness, role: &str) -> Value {
    position(&harness.get("org-charts/p").await, role)["agent_ids"].clone()
}

fn position(chart: &Value, role: &str) -> Value {
    let positions = chart["positions"].as_array().unwrap();
    positions.iter().find(|one| one["role_name"] == role).unwrap_or_else(|| panic!("{role}: {chart}")).clone()
}

/// An external agent with these fields besides.
async fn agent(harness: &Harness, id: &str, fields: Value) -> Value {
    let mut agent = json!({"id": id, "name": id, "kind": "external"});
    for (name, value) in fields.as_object().unwrap() {
        agent[name] = value.clone();
    }
    harness.create("agents", agent).await
}

#[tokio::test]
async fn new_project_has_twelve_roles_that_its_agents_fill() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    problem(&harness.ask("GET", "org-charts/none", None).await, 404, "not-found");
    let chart = harness.get("org-charts/p").await;
    assert_eq!((chart["positions"].as_array().unwrap().len(), &chart["revision"]), (12, &json!(1)));
    assert_eq!(
        position(&chart, "ceo"),
        json!({"role_name": "ceo", "persona_path": "default/ceo", "required": true, "max_instances": 1,
               "agent_ids": [], "reports_to": null})
    );
    assert_eq!(position(&chart, "qa-engineer")["reports_to"], "engineering-manager");

    agent(&harness, "boss", json!({"project_id": "p", "persona_name": "default/ceo"})).await;
    agent(&harness, "t1", json!({"project_id": "p", "role": "qa-engineer"})).await;
    agent(&harness, "t2", json!({"project_id": "p", "persona_name": "qa-engineer"})).await;
    agent(&harness, "free", json!({"role": "qa-engineer"})).await;
    assert_eq!(fillers(&harness, "ceo").await, json!(["boss"]));
    assert_eq!(
        fillers(&harness, "qa-engineer").await,
        json!(["t1", "t2"]),
        "who works for all belongs to none"
    );

    // One too many: created, renamed, moved or started again.
    let second = json!({"id": "b2", "name": "B", "kind": "external", "project_id": "p", "role": "ceo"});
    let told = problem(&harness.ask("POST", "agents", Some(&second)).await, 409, "position-full");
    assert!(told["detail"].as_str().unwrap().contains("boss, b2"), "{told}");
    problem(&harness.ask("GET", "agents/b2", None).await, 404, "not-found");
    let promote = json!({"role": "ceo"});
    problem(&harness.ask("PATCH", "agents/t1", Some(&promote)).await, 409, "position-full");
    harness.act("agents/boss/shutdown", Value::Null).await;
    assert_eq!(fillers(&harness, "ceo").await, json!([]));
    assert_eq!(harness.ask("PATCH", "agents/t1", Some(&promote)).await.status, 200);
    problem(&harness.ask("POST", "agents/boss/restart", None).await, 409, "position-full");
    assert_eq!(fillers(&harness, "ceo").await, json!(["t1"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_joins_never_overfill_a_position() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let bodies: Vec<Value> = (0..12)
        .map(|n| json!({"name": format!("c{n}"), "kind": "external", "project_id": "p", "role": "ceo"}))
        .collect();
    let answers = join_all(bodies.iter().map(|body| harness.ask("POST", "agents", Some(body)))).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 1);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        problem(refused, 409, "position-full");
    }
    assert_eq!(fillers(&harness, "ceo").await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn org_chart_is_replaced_whole_and_needs_the_current_etag() {
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    agent(&harness, "x1", json!({"project_id": "p", "role": "painter"})).await;
    agent(&harness, "x2", json!({"project_id": "p", "role": "painter"})).await;
    let put = async |positions: Value| {
        harness.ask("PUT", "org-charts/p", Some(&json!({"positions": positions}))).await
    };
    let painters = |most: u32| {
        json!([{"role_name": "head", "persona_path": "default/ceo", "required": true, "max_instances": 1},
               {"role_name": "painter", "max_instances": most, "reports_to": "head"}])
    };
    problem(&put(painters(1)).await, 409, "position-full");
    let chart = put(painters(2)).await;
    assert_eq!((chart.status, chart.header("etag")), (200, "\"2\""), "{}", chart.json());
    assert_eq!(position(&chart.json(), "painter")["agent_ids"], json!(["x1", "x2"]));
    // What is shown can be given back as it is.
    let again = put(chart.json()["positions"].clone()).await;
    assert_eq!((again.status, &again.json()["revision"]), (200, &json!(2)), "nothing changed");
    let mut other = chart.json()["positions"].clone();
    other[1]["agent_ids"] = json!(["x1"]);
    problem(&put(other).await, 422, "invalid");
    for (positions, pointer) in [
        (json!([{"role_name": "A b"}]), "/positions/0/role_name"),
        (json!([{"role_name": "a"}, {"role_name": "a"}]), "/positions/1/role_name"),
        (json!([{"role_name": "a", "reports_to": "b"}]), "/positions/0/reports_to"),
        (json!([{"role_name": "a", "reports_to": "a"}]), "/positions/0/reports_to"),
        (json!([{"role_name": "a", "persona_path": "no/such"}]), "/positions/0/persona_path"),
        (json!([{"role_name": "a", "max_instances": 1001}]), "/positions/0/max_instances"),
    ] {
        let told = problem(&put(positions).await, 422, "invalid");
        assert_eq!(told["errors"][0]["pointer"], pointer, "{told}");
    }
    let bearer = format!("Bearer {}", harness.server.token().unwrap());
    let headers = [("authorization", bearer.as_str()), ("if-match", "\"1\"")];
    let body = json!({"positions": []});
    let stale = harness.server.send("PUT", "/api/v1/org-charts/p", &headers, Some(&body)).await;
    problem(&stale, 412, "precondition-failed");

    let events = harness.events(0).await;
    let told: Vec<&Value> = events.iter().filter(|event| event["type"] == "org_chart.updated").collect();
    assert_eq!(told.len(), 1, "once per change: {told:?}");
    assert_eq!((&told[0]["subject"], &told[0]["project_id"]), (&json!("p"), &json!("p")));
    assert_eq!(told[0]["data"]["changes"]["positions"]["new"][1]["role_name"], "painter");
    assert_eq!(harness.ask("DELETE", "projects/p?cascade=true", None).await.status, 204);
    problem(&harness.ask("GET", "org-charts/p", None).await, 404, "not-found");
}

#[tokio::test]
async fn agents_join_and_leave_a_project() {
    let harness = Harness::new().await;
    for id in ["p", "q"] {
        harness.create("projects", json!({"id": id, "name": id})).await;
    }
    agent(&harness, "a", json!({})).await;
    agent(&harness, "b", json!({"role": "ceo"})).await;
    let staff = async |project: &str, body: Value| {
        harness.ask("POST", &format!("projects/{project}/agents"), Some(&body)).await
    };
    let chart = staff("p", json!({"agent_id": "a", "action": "assign", "role": "ceo"})).await;
    assert_eq!(position(&chart.json(), "ceo")["agent_ids"], json!(["a"]), "{}", chart.json());
    let row = harness.get("agents/a").await;
    assert_eq!((&row["project_id"], &row["role"]), (&json!("p"), &json!("ceo")));
    problem(&staff("p", json!({"agent_id": "b", "action": "assign"})).await, 409, "position-full");
    problem(&staff("p", json!({"agent_id": "b", "action": "assign", "role": "none"})).await, 422, "invalid");
    problem(&staff("p", json!({"agent_id": "nobody", "action": "assign"})).await, 422, "invalid");
    problem(&staff("none", json!({"agent_id": "b", "action": "assign"})).await, 404, "not-found");
    problem(&staff("q", json!({"agent_id": "a", "action": "unassign"})).await, 409, "other-project");
    problem(&staff("q", json!({"agent_id": "a", "action": "hire"})).await, 422, "invalid");

    harness.bead("work", json!({})).await;
    harness.act("beads/work/claim", json!({"agent_id": "a"})).await;
    problem(&staff("q", json!({"agent_id": "a", "action": "assign"})).await, 409, "bead-held");
    assert_eq!(staff("p", json!({"agent_id": "a", "action": "unassign"})).await.status, 200);
    assert_eq!(harness.get("agents/a").await["project_id"], Value::Null);
    assert_eq!(staff("p", json!({"agent_id": "b", "action": "assign"})).await.status, 200);

    // A token limited to a project moves no agent out of it, and no shared agent into it.
    let token = harness.token(json!({"name": "o", "role": "operator", "projects": ["p"]})).await;
    let limited = async |method: &str, path: &str, body: Value| {
        harness.ask_as(&token, method, path, Some(&body).filter(|body| !body.is_null())).await
    };
    let leave = json!({"agent_id": "b", "action": "unassign"});
    problem(&limited("POST", "projects/p/agents", leave).await, 403, "forbidden");
    let join = json!({"agent_id": "a", "action": "assign"});
    problem(&limited("POST", "projects/p/agents", join).await, 403, "forbidden");
    problem(&limited("GET", "org-charts/q", Value::Null).await, 404, "not-found");
    problem(&limited("POST", "personas", json!({"name": "x", "persona": "# X"})).await, 403, "forbidden");
    assert_eq!(limited("GET", "org-charts/p", Value::Null).await.status, 200);

    let shown = harness.cli(&["project", "org-chart", "p"]).await;
    assert!(
        shown.stdout.contains("engineering-manager") && shown.stderr.contains("required and vacant"),
        "{shown:?}"
    );
    let json = harness.cli(&["project", "org-chart", "p", "--json"]).await.stdout;
    let set = harness.cli_with(&["project", "org-chart", "p", "--set", "-"], &json).await;
    assert_eq!(set.code, Some(0), "{set:?}");
    let joined = harness.cli(&["project", "assign", "p", "a", "--role", "qa-engineer"]).await;
    assert_eq!((joined.code, fillers(&harness, "qa-engineer").await), (Some(0), json!(["a"])), "{joined:?}");
    assert_eq!(harness.cli(&["project", "unassign", "p", "a"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_clone_copies_and_replaces_and_bead_is_released() {
    let harness = Harness::new().await;
    let provider = harness.setup(Script::always(Reply::failing(Fault::Hang)), &[]).await;
    let original = json!({
        "id": "old", "name": "Old", "provider_id": "scripted", "project_id": "p", "role": "ceo",
        "persona_name": "default/ceo", "description": "d", "config": {"temperature": 0.5, "labels": ["red"]},
    });
    harness.create("agents", original).await;
    let clone = async |body: Value| harness.ask("POST", "agents/old/clone", Some(&body)).await;
    problem(&clone(json!({"name": "New"})).await, 409, "position-full");
    problem(&clone(json!({"name": "New", "persona_name": "no/such", "replace": true})).await, 422, "invalid");
    problem(&clone(json!({"name": "", "replace": true})).await, 422, "invalid");
    problem(&clone(json!({"name": "New", "id": "old", "replace": true})).await, 409, "exists");
    problem(&harness.ask("POST", "agents/none/clone", Some(&json!({"name": "N"}))).await, 404, "not-found");

    harness.bead("work", json!({})).await;
    provider.wait_for_chats(1).await;
    assert_eq!(harness.get("agents/old").await["current_bead"], "work", "refused clones left it at its work");
    let made =
        clone(json!({"name": "New", "id": "new", "persona_name": "decision-maker", "replace": true})).await;
    assert_eq!((made.status, made.header("location")), (201, "/api/v1/agents/new"), "{}", made.json());
    let new = harness.get("agents/new").await;
    for (field, value) in [
        ("name", json!("New")),
        ("persona_name", json!("decision-maker")),
        ("role", json!("ceo")),
        ("project_id", json!("p")),
        ("provider_id", json!("scripted")),
        ("description", json!("d")),
        ("config", json!({"temperature": 0.5, "labels": ["red"]})),
    ] {
        assert_eq!(new[field], value, "{field}");
    }
    let old = harness.get("agents/old").await;
    assert_eq!((&old["status"], &old["current_bead"]), (&json!("shutdown"), &Value::Null), "{old}");
    assert!(old["status_reason"].as_str().unwrap().contains("replaced by new"), "{old}");
    // The new one takes the bead up, since it was given back.
    provider.wait_for_chats(2).await;
    let bead = harness.wait_until("beads/work", |bead| bead["assigned_to"] == "new").await;
    assert_eq!(bead["attempts"], 0, "{bead}");

    // All of it in one moment: no event of another unit lies between.
    let events = harness.events(0).await;
    let of = |kind: &str, subject: &str| {
        let found = events.iter().find(|event| event["type"] == kind && event["subject"] == subject);
        found.unwrap_or_else(|| panic!("{kind} {subject}"))
    };
    let (shut, born) = (of("agent.shutdown", "old"), of("agent.spawned", "new"));
    assert_eq!(shut["timestamp"], born["timestamp"]);
    problem(&clone(json!({"name": "Again", "replace": true})).await, 409, "transition");
    let copied = harness.cli(&["agent", "clone", "new", "Third", "--id", "third", "--replace"]).await;
    assert_eq!((copied.code, copied.stdout.trim()), (Some(0), "third: created (idle)"), "{copied:?}");
}
