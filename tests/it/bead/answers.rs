//! Answers that are no whole answers, tool calls written as text, and providers without tools.

use crate::harness::{Harness, TIMEOUT};
use arbiter_testkit::{Reply, Script};
use serde_json::{Value, json};
use std::time::Instant;

/// Attempts follow each other at once, and a failing provider is not asked again within a call.
const AT_ONCE: &[(&str, &str)] = &[
    ("ARBITER_DISPATCH__BACKOFF_BASE_MS", "10"),
    ("ARBITER_DISPATCH__BACKOFF_MAX_MS", "20"),
    ("ARBITER_PROVIDERS__RETRY_BUDGET_MS", "0"),
];
const CUT: &str = include_str!("../../fixtures/answers/cut-by-length.json");
const FILTERED: &str = include_str!("../../fixtures/answers/filtered.json");
const REFUSAL: &str = include_str!("../../fixtures/answers/refusal.json");
const ERROR: &str = include_str!("../../fixtures/answers/error-in-choice.json");
const TOOL_CALL: &str = include_str!("../../fixtures/answers/tool-call-as-text.json");
const REFUSALS_OF_TOOLS: &str = include_str!("../../fixtures/answers/refusals-of-tools.tsv");

fn prompt() -> Value {
    json!({"agent_id": "ann", "project_id": "p", "prompt": "Name a colour."})
}

#[tokio::test]
async fn bead_with_a_defective_answer_is_not_closed() {
    let table = [
        (CUT, "cut off by its token limit: The plan has four steps"),
        (FILTERED, "a filter of the provider stopped the answer"),
        (REFUSAL, "the model refused to answer: I will not do that."),
    ];
    let harness = Harness::with(AT_ONCE).await;
    let provider = harness.setup(Script::always(Reply::raw(CUT)), &["ann"]).await;
    for (at, (answer, reason)) in table.into_iter().enumerate() {
        provider.set_script(Script::always(Reply::raw(answer)));
        let bead = format!("b{at}");
        harness.bead(&bead, json!({})).await;
        let decision = harness.wait_for_decision_about(&bead).await;
        let question = harness.get(&format!("decisions/{decision}")).await["question"].to_string();
        assert!(question.contains("failed 3 times") && question.contains(reason), "{question}");
        let bead = harness.get(&format!("beads/{bead}")).await;
        assert_eq!((&bead["status"], &bead["attempts"]), (&json!("blocked"), &json!(3)));
    }
}

#[tokio::test]
async fn cut_answer_is_asked_for_again_in_fewer_words() {
    let harness = Harness::with(AT_ONCE).await;
    let replies = [Reply::raw(CUT), Reply::tool("finish", json!({"summary": "[simulated] four steps"}))];
    let provider = harness.setup(Script::in_turn(replies), &["ann"]).await;
    harness.bead("plan", json!({})).await;
    let bead = harness.wait_for_bead_status("plan", "closed").await;
    assert_eq!((&bead["close_reason"], &bead["attempts"]), (&json!("[simulated] four steps"), &json!(0)));
    let told = provider.requests().last().unwrap().body["messages"].to_string();
    assert!(told.contains("Answer again, in fewer words"), "{told}");
}

#[tokio::test]
async fn defective_answer_to_a_prompt_fails_its_run() {
    let harness = Harness::with(AT_ONCE).await;
    let provider = harness.setup(Script::always(Reply::raw(CUT)), &["ann"]).await;
    for (answer, outcome) in [(CUT, "length"), (FILTERED, "filtered"), (REFUSAL, "refused")] {
        provider.set_script(Script::always(Reply::raw(answer)));
        let run = harness.act("work", prompt()).await;
        assert_eq!((&run["status"], &run["outcome"]), (&json!("failed"), &json!(outcome)), "{run}");
        assert!(!run["answer"].as_str().unwrap().is_empty(), "what came is kept: {run}");
    }
    let shown = harness.cli(&["agent", "ask", "ann", "--project", "p", "Name", "a", "colour."]).await;
    assert_ne!(shown.code, Some(0), "{shown:?}");
    provider.set_script(Script::always(Reply::raw(ERROR)));
    let answer = harness.ask("POST", "work", Some(&prompt())).await;
    assert!(answer.status >= 500, "{}", answer.status);
}

#[tokio::test]
async fn gateway_run_records_the_end_of_its_answer() {
    let harness = Harness::with(AT_ONCE).await;
    let provider = harness.setup(Script::always(Reply::raw(CUT)), &["ann"]).await;
    assert_eq!(harness.chat("scripted/scripted-model", json!({})).await.status, 200);
    // The entry is written after the answer and has no event, so the test polls.
    let deadline = Instant::now() + TIMEOUT;
    let runs = loop {
        let runs = harness.get("runs?kind=gateway").await;
        if runs[0]["status"] == "succeeded" {
            break runs;
        }
        assert!(Instant::now() < deadline, "{runs}");
        tokio::task::yield_now().await;
    };
    assert_eq!(runs[0]["outcome"], "length", "{runs}");
    provider.set_script(Script::always(Reply::raw(ERROR)));
    assert!(harness.chat("scripted/scripted-model", json!({})).await.status >= 500);
}

#[tokio::test]
async fn tool_call_written_as_text_is_that_call() {
    let harness = Harness::with(AT_ONCE).await;
    let provider = harness.setup(Script::always(Reply::raw(TOOL_CALL)), &["ann"]).await;
    harness.bead("walled", json!({})).await;
    let bead = harness.wait_for_bead_status("walled", "blocked").await;
    assert_eq!(bead["block_reason"], "no access to the repository");
    let unreadable = Reply::text("<tool_call>\n{\"name\": \"finish\", \"argu");
    let replies = [unreadable, Reply::tool("finish", json!({"summary": "[simulated] done"}))];
    provider.set_script(Script::answering(move |chat| {
        let is_told = chat.body["messages"].to_string().contains("markup of a tool call");
        replies[usize::from(is_told)].clone()
    }));
    harness.bead("garbled", json!({})).await;
    let bead = harness.wait_for_bead_status("garbled", "closed").await;
    assert_eq!(bead["close_reason"], "[simulated] done");
}

#[tokio::test]
async fn provider_that_refuses_tools_works_by_fenced_block() {
    for line in REFUSALS_OF_TOOLS.lines() {
        let (status, body) = line.split_once('\t').unwrap();
        let (status, body) = (status.parse::<u16>().unwrap(), body.to_owned());
        let harness = Harness::with(AT_ONCE).await;
        let script = Script::answering(move |chat| match chat.body.get("tools") {
            Some(_) => Reply::error(status, body.clone()),
            None if chat.last_text_of("system").contains("Tools cannot be called here") => Reply::text(
                "```arbiter\n{\"action\": \"finish\", \"summary\": \"[simulated] without tools\"}\n```",
            ),
            None => Reply::error(400, "the prompt does not say how to answer"),
        });
        let provider = harness.setup(script, &["ann"]).await;
        for bead in ["first", "second"] {
            harness.bead(bead, json!({})).await;
            let bead = harness.wait_for_bead_status(bead, "closed").await;
            assert_eq!(bead["close_reason"], "[simulated] without tools");
            assert_eq!(bead["attempts"], 0);
        }
        assert_eq!(provider.chat_count(), 3, "the refusal is remembered: {line}");
        let runs = harness.get("beads/second/runs").await;
        let run = harness.get(&format!("runs/{}", runs[0]["id"].as_str().unwrap())).await;
        assert!(run["messages"].to_string().contains("takes no tools"), "{run}");
    }
}

#[tokio::test]
async fn unacceptable_question_is_told_to_the_model() {
    let wrong = [
        json!({"question": "q".repeat(10_001)}),
        json!({"question": "Which?", "priority": 9}),
        json!({"question": "Which?", "options": ["a", ""]}),
        json!({"question": "Which?", "options": vec!["a"; 1_000]}),
    ];
    let harness = Harness::with(AT_ONCE).await;
    let mut replies: Vec<Reply> =
        wrong.into_iter().map(|arguments| Reply::tool("ask_decision", arguments)).collect();
    replies.push(Reply::tool("ask_decision", json!({"question": "Which?", "options": ["a", "b"]})));
    let provider = harness.setup(Script::in_turn(replies), &["ann"]).await;
    harness.bead("asking", json!({})).await;
    let decision = harness.wait_for_decision_about("asking").await;
    assert_eq!(harness.get(&format!("decisions/{decision}")).await["options"], json!(["a", "b"]));
    assert_eq!(provider.chat_count(), 5);
    let told = provider.requests().last().unwrap().body["messages"].to_string();
    for field in ["question", "priority", "options"] {
        assert!(told.contains(&format!("/{field}")), "{field}: {told}");
    }
    assert_eq!(harness.get("beads/asking").await["attempts"], 0);
}
