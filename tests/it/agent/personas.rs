//! Personas: built-in ones, the user's own that override them, and their text in prompts.

use crate::admission::refusals::problem;
use crate::harness::rng::SeededRng;
use crate::harness::{Harness, KEY};
use arbiter_core::kernel::lease::digest;
use arbiter_testkit::{Reply, Script};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const BUILTIN: [&str; 12] = [
    "default/ceo",
    "default/code-reviewer",
    "default/decision-maker",
    "default/devops-engineer",
    "default/documentation-manager",
    "default/engineering-manager",
    "default/housekeeping-bot",
    "default/product-manager",
    "default/project-manager",
    "default/qa-engineer",
    "default/security-engineer",
    "default/web-designer",
];

async fn names(harness: &Harness) -> Vec<String> {
    let list = harness.get("personas").await;
    list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

fn modes(path: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let (path, about) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
        found.push((path.display().to_string(), about.permissions().mode() & 0o777));
        if about.is_dir() {
            found.extend(modes(&path));
        }
    }
    found
}

#[tokio::test]
async fn builtin_personas_are_twelve_and_state_their_autonomy() {
    let harness = Harness::new().await;
    assert_eq!(names(&harness).await, BUILTIN);
    let ceo = harness.get("personas/default/ceo").await;
    assert_eq!(
        (&ceo["autonomy"], &ceo["origin"], &ceo["title"], &ceo["is_shadowing"]),
        (&json!("full"), &json!("built_in"), &json!("Chief executive"), &json!(false))
    );
    assert!(ceo["persona"].as_str().unwrap().contains("## Mission"), "{ceo}");
    assert!(ceo["start_here"].as_str().unwrap().starts_with("## First steps"), "{ceo}");
    assert_eq!(harness.get("personas/default/housekeeping-bot").await["autonomy"], "supervised");
    let page = harness.get("personas?limit=5").await;
    assert_eq!(page.as_array().unwrap().len(), 5);
    assert!(page[0].get("persona").is_none(), "a list has no texts");
    assert_eq!(harness.get("personas/ceo").await, ceo, "a name without a folder may be one of ours");
    for name in ["default/ceo", "ceo"] {
        problem(&harness.ask("DELETE", &format!("personas/{name}"), None).await, 409, "built-in-persona");
    }
}

#[tokio::test]
async fn own_persona_is_created_changed_deleted_and_persists() {
    let mut harness = Harness::new().await;
    let new =
        json!({"name": "team/lead", "persona": "---\nautonomy: semi\n---\n# Lead\n", "start_here": "Go."});
    let answer = harness.ask("POST", "personas", Some(&new)).await;
    assert_eq!((answer.status, answer.header("location")), (201, "/api/v1/personas/team/lead"));
    problem(&harness.ask("POST", "personas", Some(&new)).await, 409, "exists");
    let place = harness.server.data_dir().join("personas");
    assert_eq!(fs::read_to_string(place.join("team/lead/AI_START_HERE.md")).unwrap(), "Go.");
    let changed = json!({"persona": "---\nautonomy: full\n---\n# First\n"});
    let answer = harness.ask("PUT", "personas/team/lead", Some(&changed)).await;
    assert_eq!((answer.status, &answer.json()["autonomy"]), (200, &json!("full")), "{}", answer.json());
    for (path, mode) in modes(&place) {
        assert!([0o700, 0o600].contains(&mode), "{path}: {mode:o}");
    }
    // It is a directory of its own, so nothing lies in it.
    let within = json!({"name": "team/lead/junior", "persona": "# J"});
    problem(&harness.ask("POST", "personas", Some(&within)).await, 409, "conflict");

    harness.server.terminate().await;
    harness.server.restart().await;
    let kept = harness.get("personas/team/lead").await;
    assert_eq!(
        (&kept["title"], &kept["start_here"], &kept["origin"]),
        (&json!("First"), &json!(""), &json!("user"))
    );
    assert_eq!(names(&harness).await.len(), 13);
    assert_eq!(harness.ask("DELETE", "personas/team/lead", None).await.status, 204);
    problem(&harness.ask("GET", "personas/team/lead", None).await, 404, "not-found");
    problem(&harness.ask("DELETE", "personas/team/lead", None).await, 404, "not-found");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "nothing is left");

    let events = harness.events(0).await;
    let told: Vec<&Value> =
        events.iter().filter(|event| event["type"].as_str().unwrap().starts_with("persona.")).collect();
    let types: Vec<&str> = told.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["persona.updated", "persona.updated", "persona.deleted"]);
    assert_eq!(told[1]["data"]["changes"]["autonomy"], json!({"old": "semi", "new": "full"}));
    assert!(told.iter().all(|event| event["subject"] == "team/lead"));
}

#[tokio::test]
async fn persona_with_escaping_name_or_long_text_is_refused() {
    let harness = Harness::new().await;
    let outside = harness.server.data_dir().join("PERSONA.md");
    fs::write(&outside, "# Outside").unwrap();
    for name in ["..", "../x", "a/../../b", "/etc", "a//b", ".hidden", "A", "a b", "a/b/c/d/e", "x.md", ""] {
        let new = json!({"name": name, "persona": "# X"});
        let told = problem(&harness.ask("POST", "personas", Some(&new)).await, 422, "invalid");
        assert_eq!(told["errors"][0]["pointer"], "/name", "{name}");
    }
    for path in ["personas/..%2f", "personas/%2e%2e", "personas/a/%2e%2e/%2e%2e", "personas/a%2f..%2f.."] {
        problem(&harness.ask("GET", path, None).await, 404, "not-found");
        let text = json!({"persona": "# X"});
        problem(&harness.ask("PUT", path, Some(&text)).await, 404, "not-found");
        problem(&harness.ask("DELETE", path, None).await, 404, "not-found");
    }
    for (field, text) in [
        ("persona", "x".repeat(65_537)),
        ("persona", " \n".to_owned()),
        ("persona", "---\nautonomy: total\n---\n# X".to_owned()),
        ("start_here", "x".repeat(65_537)),
    ] {
        let mut new = json!({"name": "x", "persona": "# X"});
        new[field] = json!(text);
        let told = problem(&harness.ask("POST", "personas", Some(&new)).await, 422, "invalid");
        assert_eq!(told["errors"][0]["pointer"], format!("/{field}"));
    }
    assert_eq!(names(&harness).await, BUILTIN);
    assert_eq!(fs::read_to_string(outside).unwrap(), "# Outside");
}

#[tokio::test]
async fn persona_edit_applies_from_the_agents_next_run() {
    let harness = Harness::new().await;
    let provider = harness.setup(Script::always(Reply::text("Done.")).requiring_key(KEY), &[]).await;
    let unknown = json!({"name": "X", "provider_id": "scripted", "persona_name": "default/nobody"});
    let told = problem(&harness.ask("POST", "agents", Some(&unknown)).await, 422, "invalid");
    assert_eq!(told["errors"][0]["pointer"], "/persona_name");
    let agent = json!({
        "id": "a", "name": "A", "provider_id": "scripted", "project_id": "p", "persona_name": "default/qa-engineer",
        "config": {"system_prompt": "Be brief above all."},
    });
    harness.create("agents", agent).await;
    let told = async |bead: &str| {
        harness.bead(bead, json!({})).await;
        harness.wait_for_bead_status(bead, "closed").await;
        let chats = provider.requests().into_iter().filter(|request| request.path.ends_with("completions"));
        chats.last().unwrap().body["messages"][0]["content"].as_str().unwrap().to_owned()
    };
    let first = told("one").await;
    assert!(first.starts_with("You are A,") && first.contains("# QA engineer"), "{first}");
    assert!(first.contains("## First steps") && !first.contains("autonomy: semi"), "{first}");
    assert!(first.ends_with("Be brief above all."), "the agent's own words come last: {first}");

    let edit =
        json!({"persona": "# Tester\n\nYou only test on Mondays.", "start_here": "Look at the calendar."});
    let shadow = harness.ask("PUT", "personas/default/qa-engineer", Some(&edit)).await.json();
    assert_eq!((&shadow["origin"], &shadow["is_shadowing"]), (&json!("user"), &json!(true)), "{shadow}");
    assert_eq!(names(&harness).await.len(), 12, "it has the name of the one that it stands before");
    let second = told("two").await;
    assert!(second.contains("only test on Mondays") && second.contains("calendar"), "{second}");
    assert!(!second.contains("# QA engineer"), "{second}");
    let prompt = json!({"agent_id": "a", "project_id": "p", "prompt": "Which day?"});
    let asked = harness.act("work", prompt).await;
    assert!(asked["messages"][0]["content"].as_str().unwrap().contains("Mondays"), "{asked}");

    // Without the user's one, that of Arbiter is back.
    assert_eq!(harness.ask("DELETE", "personas/default/qa-engineer", None).await.status, 204);
    assert!(told("three").await.contains("# QA engineer"));

    harness.create("personas", json!({"name": "mine", "persona": "# Mine"})).await;
    let patch = json!({"persona_name": "mine"});
    assert_eq!(harness.ask("PATCH", "agents/a", Some(&patch)).await.status, 200);
    problem(&harness.ask("DELETE", "personas/mine", None).await, 409, "in-use");
    // A name without a folder may be one of ours.
    let patch = json!({"persona_name": "ceo"});
    assert_eq!(harness.ask("PATCH", "agents/a", Some(&patch)).await.status, 200);
    assert_eq!(harness.ask("DELETE", "personas/mine", None).await.status, 204);
    assert!(told("four").await.contains("# Chief executive"));
    harness.create("personas", json!({"name": "default/other", "persona": "# Other"})).await;
    let patch = json!({"persona_name": "other"});
    assert_eq!(harness.ask("PATCH", "agents/a", Some(&patch)).await.status, 200);
    assert_eq!(harness.ask("DELETE", "personas/default/other?cascade=true", None).await.status, 204);
    assert_eq!(harness.get("agents/a").await["persona_name"], Value::Null);
}

#[tokio::test]
async fn persona_change_with_stale_etag_is_refused() {
    let harness = Harness::new().await;
    let with = async |method: &str, path: &str, tag: &str, body: Option<&Value>| {
        harness.server.ask(method, &format!("/api/v1/{path}"), &[("if-match", tag)], body).await
    };
    let texts = |text: &str| json!({"persona": text, "start_here": "Go."});
    let new = json!({"name": "team/lead", "persona": "# One", "start_here": "Go."});
    let created = harness.ask("POST", "personas", Some(&new)).await;
    let first = created.header("etag").to_owned();
    assert_eq!(first, format!("\"{}\"", created.json()["revision"]));
    let shown = harness.ask("GET", "personas/team/lead", None).await;
    assert_eq!(shown.header("etag"), first);
    let listed = harness.get("personas").await;
    assert!(listed.as_array().unwrap().iter().any(|one| one["revision"] == created.json()["revision"]));

    let changed = with("PUT", "personas/team/lead", &first, Some(&texts("# Two"))).await;
    let second = changed.header("etag").to_owned();
    assert!(changed.status == 200 && second != first, "{second}");
    let late = with("PUT", "personas/team/lead", &first, Some(&texts("# Three"))).await;
    problem(&late, 412, "precondition-failed");
    problem(&with("DELETE", "personas/team/lead", &first, None).await, 412, "precondition-failed");
    problem(&with("PUT", "personas/team/lead", "first", Some(&texts("# X"))).await, 400, "bad-header");
    assert_eq!(harness.get("personas/team/lead").await["persona"], "# Two");
    // The same texts again change nothing, and nothing is told.
    let same = with("PUT", "personas/team/lead", &second, Some(&texts("# Two"))).await;
    assert_eq!((same.status, same.header("etag")), (200, second.as_str()));
    assert_eq!(with("PUT", "personas/team/lead", "*", Some(&texts("# Three"))).await.status, 200);

    // An edit of the file changes the persona as well.
    let file = harness.server.data_dir().join("personas/team/lead/PERSONA.md");
    let third = harness.ask("GET", "personas/team/lead", None).await.header("etag").to_owned();
    fs::write(file, "# By hand").unwrap();
    let late = with("PUT", "personas/team/lead", &third, Some(&texts("# Four"))).await;
    problem(&late, 412, "precondition-failed");
    let now = harness.ask("GET", "personas/team/lead", None).await.header("etag").to_owned();
    assert_eq!(with("DELETE", "personas/team/lead", &now, None).await.status, 204);
    problem(&with("PUT", "personas/team/lead", &now, Some(&texts("# X"))).await, 404, "not-found");

    // One of ours has a tag too, and the user's own before it is another one.
    let ours = harness.ask("GET", "personas/default/ceo", None).await;
    let body = json!({"persona": ours.json()["persona"], "start_here": ours.json()["start_here"]});
    let shadow = with("PUT", "personas/default/ceo", ours.header("etag"), Some(&body)).await;
    assert!(shadow.status == 200 && shadow.header("etag") != ours.header("etag"), "{}", shadow.json());
    let told = harness.events(0).await;
    let told = told.iter().filter(|event| event["type"] == "persona.updated").count();
    assert_eq!(told, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn persona_after_a_kill_matches_the_event_log() {
    let mut rng = SeededRng::from_env_or_random();
    let mut harness = Harness::new().await;
    harness.create("personas", json!({"name": "x", "persona": "# Begin"})).await;
    for round in 0..15 {
        let change = async {
            for turn in 0_u32.. {
                let text = json!({"persona": format!("# Round {round}, turn {turn}")});
                harness.ask("PUT", "personas/x", Some(&text)).await;
            }
        };
        let a_while = Duration::from_millis(10 + rng.below(40));
        // The last change is on its way when the server dies.
        assert!(tokio::time::timeout(a_while, change).await.is_err());
        harness.server.kill9();
        harness.server.restart().await;
        let now = harness.get("personas/x").await;
        let events = harness.events(0).await;
        let told = events.iter().rfind(|event| event["type"] == "persona.updated").unwrap();
        let digest = digest(now["persona"].as_str().unwrap());
        assert_eq!(told["data"]["changes"]["persona"]["new"], digest, "{now} is not what {told} tells");
        let place = harness.server.data_dir().join("personas");
        assert_eq!(fs::read_dir(place).unwrap().count(), 1, "something is left beside it");
    }
}

#[tokio::test]
async fn cli_writes_and_shows_personas() {
    let harness = Harness::new().await;
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("PERSONA.md"), "# Lead\n\n\tYou lead.\n").unwrap();
    fs::write(home.path().join("AI_START_HERE.md"), "Begin.\n").unwrap();
    let directory = home.path().to_str().unwrap();
    let added = harness.cli(&["persona", "add", "team/lead", "--from", directory]).await;
    assert_eq!((added.code, added.stdout.trim()), (Some(0), "team/lead: created"), "{added:?}");
    let shown = harness.cli(&["persona", "show", "team/lead", "--text", "persona"]).await;
    assert_eq!(shown.stdout, "# Lead\n\n\tYou lead.\n", "{shown:?}");
    let edited = harness.cli_with(&["persona", "edit", "team/lead", "--start-here", "-"], "Wait.\n").await;
    assert_eq!(edited.code, Some(0), "{edited:?}");
    let now = harness.get("personas/team/lead").await;
    assert_eq!((&now["persona"], &now["start_here"]), (&json!("# Lead\n\n\tYou lead.\n"), &json!("Wait.\n")));
    let listed = harness.cli(&["persona", "list"]).await;
    assert!(listed.stdout.contains("team/lead") && listed.stdout.contains("default/ceo"), "{listed:?}");
    let gone = harness.cli(&["persona", "delete", "team/lead"]).await;
    assert_eq!((gone.code, gone.stdout.trim()), (Some(0), "team/lead: deleted"), "{gone:?}");
    assert_eq!(harness.cli(&["persona", "delete", "default/ceo"]).await.code, Some(1));
}
