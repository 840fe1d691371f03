//! The console: the best provider answers from the facts, and both question and answer are kept.

use crate::admission::refusals::problem;
use crate::harness::{KEY, Stage};
use arbiter_testkit::{ChatInput, Reply, Script, ScriptedProvider};
use serde_json::{Value, json};

/// Answers with what it was told, so that a test sees it.
fn parrot(name: &'static str) -> Script {
    Script::answering(move |chat: &ChatInput| {
        let turns = chat.body["messages"].as_array().unwrap().len();
        Reply::text(format!("{name} after {turns} messages: {}", chat.last_text_of("system"))).using(90, 10)
    })
    .with_models(&["m"])
}

#[tokio::test]
async fn a_question_is_answered_from_the_facts_and_kept() {
    let stage = Stage::new().await;
    let provider = ScriptedProvider::start(parrot("one").requiring_key(KEY));
    stage.create("projects", json!({"id": "p", "name": "P"})).await;
    let nobody = stage.ask("POST", "repl", Some(&json!({"message": "What runs?"}))).await;
    problem(&nobody, 409, "provider-unusable");
    let new = json!({"id": "one", "name": "One", "type": "custom", "endpoint": provider.url(), "api_key": KEY,
        "price_input_per_mtok": 1.0, "price_output_per_mtok": 10.0});
    stage.create("providers", new).await;
    stage.act("providers/one/heartbeat", Value::Null).await;
    stage.bead("stuck", json!({"title": "Mend the roof"})).await;
    stage.act("beads/stuck/block", json!({"reason": "no ladder"})).await;
    stage
        .create("decisions", json!({"id": "dec-colour", "project_id": "p", "question": "Which colour?"}))
        .await;

    let answer = stage.act("repl", json!({"message": "What is stuck, and why?"})).await;
    let response = answer["response"].as_str().unwrap();
    for fact in
        ["stuck (Mend the roof, P2, project p): no ladder", "dec-colour: Which colour?", "one is active"]
    {
        assert!(response.contains(fact), "{fact}: {response}");
    }
    assert_eq!((&answer["provider_id"], &answer["via"]), (&json!("one"), &json!("direct")));
    assert_eq!((&answer["tokens_used"], &answer["cost_usd"]), (&json!(100), &json!(0.00019)));
    assert!(answer["reason"].as_str().unwrap().contains("the best of 1 usable"), "{answer}");

    // The next question comes with the first; another person's does not.
    let next = stage.act("repl", json!({"message": "And then?"})).await;
    assert!(next["response"].as_str().unwrap().starts_with("one after 4 messages"), "{next}");
    let history = stage.get("repl/history").await;
    let asked: Vec<&str> =
        history.as_array().unwrap().iter().filter_map(|turn| turn["message"].as_str()).collect();
    assert_eq!(asked, ["What is stuck, and why?", "And then?"]);
    let other = stage.token(json!({"name": "ann", "role": "operator"})).await;
    let fresh = stage.ask_as(&other, "POST", "repl", Some(&json!({"message": "Hello"}))).await.json();
    assert!(fresh["response"].as_str().unwrap().starts_with("one after 2 messages"), "{fresh}");

    let named = json!({"message": "Hello", "provider_id": "nobody"});
    problem(&stage.ask("POST", "repl", Some(&named)).await, 422, "invalid");
    problem(&stage.ask("POST", "repl", Some(&json!({"message": " "}))).await, 422, "invalid");
    stage.act("providers/one/disable", Value::Null).await;
    let disabled = json!({"message": "Hello", "provider_id": "one"});
    problem(&stage.ask("POST", "repl", Some(&disabled)).await, 409, "provider-unusable");
}

#[tokio::test]
async fn a_question_on_the_command_line_prints_the_answer_alone() {
    let stage = Stage::new().await;
    let _provider = stage.furnish(Script::always(Reply::text("All is well.")), &[]).await;
    let once = stage.cli(&["repl", "How", "are", "we?"]).await;
    assert_eq!((once.code, once.stdout.as_str()), (Some(0), "All is well.\n"), "{once:?}");
    assert!(once.stderr.contains("scripted with"), "{once:?}");
    let piped = stage.cli_with(&["repl", "--json"], "First?\n\nSecond?\n").await;
    assert_eq!(piped.code, Some(0), "{piped:?}");
    let history = stage.get("repl/history").await;
    let asked: Vec<&str> =
        history.as_array().unwrap().iter().filter_map(|turn| turn["message"].as_str()).collect();
    assert_eq!(asked, ["How are we?", "First?", "Second?"]);
}

#[tokio::test]
async fn whoever_is_limited_to_a_project_is_told_of_no_other() {
    let stage = Stage::new().await;
    let provider = ScriptedProvider::start(parrot("one").requiring_key(KEY));
    stage.register("one", &provider.url(), KEY).await;
    for id in ["p", "q"] {
        stage.create("projects", json!({"id": id, "name": id})).await;
        let bead = json!({"id": format!("bead-of-{id}"), "title": "t", "project_id": id});
        stage.create("beads", bead).await;
    }
    let token = stage.token(json!({"name": "o", "role": "operator", "projects": ["p"]})).await;
    let told = stage.ask_as(&token, "POST", "repl", Some(&json!({"message": "What is there?"}))).await.json();
    let response = told["response"].as_str().unwrap();
    assert!(response.contains("bead-of-p") && !response.contains("bead-of-q"), "{response}");
    let other = json!({"message": "What is there?", "project_id": "q"});
    problem(&stage.ask_as(&token, "POST", "repl", Some(&other)).await, 403, "forbidden");
}

#[tokio::test]
async fn a_provider_that_speaks_anthropics_messages_does_beads_and_answers_questions() {
    let stage = Stage::new().await;
    let script = Script::answering(|chat: &ChatInput| {
        assert_eq!(chat.dialect, arbiter_testkit::Dialect::Anthropic);
        match chat.body["tools"].as_array().is_some_and(|tools| !tools.is_empty()) {
            true => Reply::tool("finish", json!({"summary": "done in messages"})).using(7, 3),
            false => Reply::text("All is well."),
        }
    });
    let provider = ScriptedProvider::start(script.requiring_key(KEY));
    stage.create("projects", json!({"id": "p", "name": "P"})).await;
    let new =
        json!({"id": "ant", "name": "A", "type": "anthropic", "endpoint": provider.url(), "api_key": KEY});
    stage.create("providers", new).await;
    let beaten = stage.act("providers/ant/heartbeat", Value::Null).await;
    assert_eq!(beaten["status"], "active", "{beaten}");
    let agent = json!({"id": "a", "name": "a", "provider_id": "ant", "project_id": "p"});
    stage.create("agents", agent).await;
    stage.bead("b", json!({})).await;
    let closed = stage.until_bead("b", "closed").await;
    assert_eq!(closed["close_reason"], "done in messages", "{closed}");
    let answer = stage.act("repl", json!({"message": "How are we?"})).await;
    assert_eq!(answer["response"], "All is well.");
}

#[tokio::test]
async fn an_answer_comes_in_pieces_and_then_whole_when_that_is_wanted() {
    let stage = Stage::new().await;
    let _provider = stage.furnish(Script::always(Reply::text("All is well here.")), &[]).await;
    let question = json!({"message": "How are we?", "stream": true});
    let answer = stage.ask("POST", "repl", Some(&question)).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let events: Vec<(&str, Value)> = text
        .split("\n\n")
        .filter(|frame| !frame.is_empty())
        .map(|frame| {
            let (event, data) = frame.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
            (event, serde_json::from_str(data).unwrap())
        })
        .collect();
    let told: String = events.iter().filter_map(|(_, data)| data["text"].as_str()).collect();
    let (last, whole) = events.last().unwrap();
    assert_eq!((told.as_str(), *last), ("All is well here.", "answer"), "{text}");
    assert_eq!(whole["response"], "All is well here.");
    assert!(events.len() > 2, "in pieces: {text}");
}
