//! The console: the best provider answers from the facts, and question and answer are stored.

use crate::admission::refusals::problem;
use crate::harness::{Harness, KEY};
use arbiter_testkit::{ChatInput, Reply, Script, ScriptedProvider};
use serde_json::{Value, json};

/// Answers with what it was told, so that a test sees it.
fn echo_script(name: &'static str) -> Script {
    Script::answering(move |chat: &ChatInput| {
        let turns = chat.body["messages"].as_array().unwrap().len();
        Reply::text(format!("{name} after {turns} messages: {}", chat.last_text_of("system")))
            .with_usage(90, 10)
    })
    .with_models(&["m"])
}

#[tokio::test]
async fn console_question_is_answered_from_state_and_stored() {
    let harness = Harness::new().await;
    let provider = ScriptedProvider::start(echo_script("one").requiring_key(KEY));
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let nobody = harness.ask("POST", "repl", Some(&json!({"message": "What runs?"}))).await;
    problem(&nobody, 409, "provider-unusable");
    let new = json!({"id": "one", "name": "One", "type": "custom", "endpoint": provider.url(), "api_key": KEY,
        "price_input_per_mtok": 1.0, "price_output_per_mtok": 10.0});
    harness.create("providers", new).await;
    harness.act("providers/one/heartbeat", Value::Null).await;
    harness.bead("stuck", json!({"title": "Mend the roof"})).await;
    harness.act("beads/stuck/block", json!({"reason": "no ladder"})).await;
    harness
        .create("decisions", json!({"id": "dec-colour", "project_id": "p", "question": "Which colour?"}))
        .await;

    let answer = harness.act("repl", json!({"message": "What is stuck, and why?"})).await;
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
    let next = harness.act("repl", json!({"message": "And then?"})).await;
    assert!(next["response"].as_str().unwrap().starts_with("one after 4 messages"), "{next}");
    let history = harness.get("repl/history").await;
    let asked: Vec<&str> =
        history.as_array().unwrap().iter().filter_map(|turn| turn["message"].as_str()).collect();
    assert_eq!(asked, ["What is stuck, and why?", "And then?"]);
    let other = harness.token(json!({"name": "ann", "role": "operator"})).await;
    let fresh = harness.ask_as(&other, "POST", "repl", Some(&json!({"message": "Hello"}))).await.json();
    assert!(fresh["response"].as_str().unwrap().starts_with("one after 2 messages"), "{fresh}");

    let named = json!({"message": "Hello", "provider_id": "nobody"});
    problem(&harness.ask("POST", "repl", Some(&named)).await, 422, "invalid");
    problem(&harness.ask("POST", "repl", Some(&json!({"message": " "}))).await, 422, "invalid");
    harness.act("providers/one/disable", Value::Null).await;
    let disabled = json!({"message": "Hello", "provider_id": "one"});
    problem(&harness.ask("POST", "repl", Some(&disabled)).await, 409, "provider-unusable");
}

#[tokio::test]
async fn cli_repl_question_prints_only_the_answer() {
    let harness = Harness::new().await;
    let _provider = harness.setup(Script::always(Reply::text("All is well.")), &[]).await;
    let once = harness.cli(&["repl", "How", "are", "we?"]).await;
    assert_eq!((once.code, once.stdout.as_str()), (Some(0), "All is well.\n"), "{once:?}");
    assert!(once.stderr.contains("scripted with"), "{once:?}");
    let piped = harness.cli_with(&["repl", "--json"], "First?\n\nSecond?\n").await;
    assert_eq!(piped.code, Some(0), "{piped:?}");
    let history = harness.get("repl/history").await;
    let asked: Vec<&str> =
        history.as_array().unwrap().iter().filter_map(|turn| turn["message"].as_str()).collect();
    assert_eq!(asked, ["How are we?", "First?", "Second?"]);
}

#[tokio::test]
async fn console_answer_hides_projects_outside_the_token_scope() {
    let harness = Harness::new().await;
    let provider = ScriptedProvider::start(echo_script("one").requiring_key(KEY));
    harness.register("one", &provider.url(), KEY).await;
    for id in ["p", "q"] {
        harness.create("projects", json!({"id": id, "name": id})).await;
        let bead = json!({"id": format!("bead-of-{id}"), "title": "t", "project_id": id});
        harness.create("beads", bead).await;
    }
    let token = harness.token(json!({"name": "o", "role": "operator", "projects": ["p"]})).await;
    let told =
        harness.ask_as(&token, "POST", "repl", Some(&json!({"message": "What is there?"}))).await.json();
    let response = told["response"].as_str().unwrap();
    assert!(response.contains("bead-of-p") && !response.contains("bead-of-q"), "{response}");
    let other = json!({"message": "What is there?", "project_id": "q"});
    problem(&harness.ask_as(&token, "POST", "repl", Some(&other)).await, 403, "forbidden");
}

#[tokio::test]
async fn anthropic_provider_completes_beads_and_console_questions() {
    let harness = Harness::new().await;
    let script = Script::answering(|chat: &ChatInput| {
        assert_eq!(chat.protocol, arbiter_testkit::WireProtocol::Anthropic);
        match chat.body["tools"].as_array().is_some_and(|tools| !tools.is_empty()) {
            true => Reply::tool("finish", json!({"summary": "done in messages"})).with_usage(7, 3),
            false => Reply::text("All is well."),
        }
    });
    let provider = ScriptedProvider::start(script.requiring_key(KEY));
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    let new =
        json!({"id": "ant", "name": "A", "type": "anthropic", "endpoint": provider.url(), "api_key": KEY});
    harness.create("providers", new).await;
    let beaten = harness.act("providers/ant/heartbeat", Value::Null).await;
    assert_eq!(beaten["status"], "active", "{beaten}");
    let agent = json!({"id": "a", "name": "a", "provider_id": "ant", "project_id": "p"});
    harness.create("agents", agent).await;
    harness.bead("b", json!({})).await;
    let closed = harness.wait_for_bead_status("b", "closed").await;
    assert_eq!(closed["close_reason"], "done in messages", "{closed}");
    let answer = harness.act("repl", json!({"message": "How are we?"})).await;
    assert_eq!(answer["response"], "All is well.");
}

#[tokio::test]
async fn console_stream_sends_deltas_and_then_the_whole_answer() {
    let harness = Harness::new().await;
    let _provider = harness.setup(Script::always(Reply::text("All is well here.")), &[]).await;
    let question = json!({"message": "How are we?", "stream": true});
    let answer = harness.ask("POST", "repl", Some(&question)).await;
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

#[tokio::test]
async fn console_history_follows_the_reach_of_the_token() {
    let harness = Harness::new().await;
    let provider = ScriptedProvider::start(echo_script("one").requiring_key(KEY));
    harness.register("one", &provider.url(), KEY).await;
    for id in ["p", "q"] {
        harness.create("projects", json!({"id": id, "name": id})).await;
    }
    // Of one name, as tokens of one person are.
    let token = async |projects: Option<&[&str]>| {
        harness.token(json!({"name": "ann", "role": "operator", "projects": projects})).await
    };
    let (wide, both) = (token(None).await, token(Some(&["q", "p"])).await);
    let (narrow, other) = (token(Some(&["p"])).await, token(Some(&["q"])).await);
    let ask = async |token: &str, message: &str| {
        let question = json!({"message": message, "project_id": "p"});
        let answer = harness.ask_as(token, "POST", "repl", Some(&question)).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()["response"].as_str().unwrap().to_owned()
    };
    ask(&wide, "of all").await;
    ask(&both, "of both").await;
    let first = ask(&narrow, "of p").await;
    assert!(first.starts_with("one after 2 messages"), "nothing of a wider token is told: {first}");
    let next = ask(&wide, "of all again").await;
    assert!(next.starts_with("one after 8 messages"), "{next}");
    for (token, expected) in [
        (&wide, &["of all", "of both", "of p", "of all again"][..]),
        (&both, &["of both", "of p"]),
        (&narrow, &["of p"]),
        (&other, &[]),
    ] {
        let history = harness.ask_as(token, "GET", "repl/history", None).await.json();
        let asked: Vec<&str> =
            history.as_array().unwrap().iter().filter_map(|turn| turn["message"].as_str()).collect();
        assert_eq!(asked, expected);
    }
}

#[tokio::test]
async fn streamed_answer_repeated_by_its_key_is_refused() {
    let harness = Harness::new().await;
    let provider = harness.setup(Script::always(Reply::text("All is well.")), &[]).await;
    let question = json!({"message": "How are we?", "stream": true});
    let ask = async |key: &str| {
        harness.server.ask("POST", "/api/v1/repl", &[("idempotency-key", key)], Some(&question)).await
    };
    let first = ask("one").await;
    assert_eq!(first.status, 200);
    assert!(String::from_utf8_lossy(&first.body).contains("event: answer"), "{:?}", first.body);
    let chats = provider.chat_count();
    for _ in 0..2 {
        problem(&ask("one").await, 409, "request-repeated");
    }
    assert_eq!(provider.chat_count(), chats, "a repeat calls no provider");
    assert!(String::from_utf8_lossy(&ask("two").await.body).contains("event: answer"));
    assert_eq!(harness.get("repl/history").await.as_array().map(Vec::len), Some(2));
}
