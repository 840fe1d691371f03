//! A provider that echoes its key in answers that succeed: neither clients, runs, events nor the disk get it.

use crate::harness::Harness;
use crate::harness::canary::Canary;
use arbiter_testkit::{Reply, Script};
use base64::Engine;
use serde_json::{Value, json};

/// A stream whose content is cut into pieces of seven bytes.
fn streamed(text: &str) -> Reply {
    let mut body = String::new();
    for piece in text.as_bytes().chunks(7) {
        let piece = std::str::from_utf8(piece).unwrap();
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
            "choices": [{"index": 0, "delta": {"content": piece}}]});
        body.push_str(&format!("data: {chunk}\n\n"));
    }
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    body.push_str(&format!("data: {end}\n\ndata: [DONE]\n\n"));
    Reply::raw(body).with_header("content-type", "text/event-stream")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_echoed_in_good_answers_reaches_nobody() {
    let canary = Canary::random("echo");
    let key = canary.text().to_owned();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("user:{key}"));
    let text = format!("as it is {key}, in base64 {basic}, in hex {}", hex(&key));
    let model = format!("m-{key}");
    let (told, finish) = (text.clone(), json!({"summary": text}));
    let script = Script::answering(move |chat| match (chat.wants_stream(), chat.body["tools"].is_array()) {
        (true, _) => streamed(&told),
        (false, true) => Reply::tool("finish", finish.clone()),
        (false, false) => Reply::text(told.clone()),
    });
    let script = script.with_models(&["m", &model]).requiring_key(&key);
    let provider = arbiter_testkit::ScriptedProvider::start(script);
    let harness = Harness::new().await;
    harness.create("projects", json!({"id": "p", "name": "P"})).await;
    assert_eq!(harness.register("scripted", &provider.url(), &key).await["status"], "active");

    let whole = harness.chat("scripted/m", json!({})).await;
    assert_eq!(whole.status, 200, "{}", whole.json());
    canary.assert_not_in(&whole.body, "the whole answer");
    let content = whole.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(content.starts_with("as it is [redacted], in base64 "), "{content}");
    let mut stream = harness.chat_streaming("scripted/m").await;
    let mut pieces = String::new();
    while let Some(piece) = stream.next().await.unwrap() {
        pieces.push_str(std::str::from_utf8(&piece).unwrap());
    }
    let contents =
        pieces.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let joined: String = contents
        .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect();
    canary.assert_not_in(joined.as_bytes(), "the streamed answer");
    assert_eq!(joined.matches("[redacted]").count(), 3, "{joined}");
    assert!(pieces.contains("[DONE]"));

    harness
        .create("agents", json!({"id": "a", "name": "a", "provider_id": "scripted", "project_id": "p"}))
        .await;
    harness.bead("b", json!({})).await;
    let closed = harness.wait_for_bead_status("b", "closed").await;
    assert!(closed["close_reason"].as_str().unwrap().contains("[redacted]"), "{closed}");
    harness.act("repl", json!({"message": "Who?"})).await;
    for path in
        ["beads/b", "runs", "repl/history", "providers/scripted/models", "providers", "events?limit=1000"]
    {
        canary.assert_not_in(harness.get(path).await.to_string().as_bytes(), path);
    }
    let models = harness.server.ask("GET", "/v1/models", &[], None).await;
    canary.assert_not_in(&models.body, "the list of models");
    canary.assert_not_in(harness.server.stderr_text().as_bytes(), "the log");
    canary.assert_not_below(&harness.server.data_dir());
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
