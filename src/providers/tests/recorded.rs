//! Recorded answers of real providers.

use crate::stage::{all, always, body, hello, text_of};
use arbiter_providers::{AnswerEnd, ModelInfo, Protocol, ToolCall, Usage};
use arbiter_testkit::{Reply, Script, ScriptedProvider};
use serde_json::{Value, json};
use std::path::Path;

const TEXT: &str = "Grüße! How can I help?";
const USAGE: Usage = Usage { input_tokens: 19, output_tokens: 10 };

pub fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn replayed(name: &str) -> Reply {
    let kind = if name.ends_with(".txt") { "text/event-stream; charset=utf-8" } else { "application/json" };
    Reply::raw(fixture(name)).with_header("content-type", kind)
}

fn protocol_of(name: &str) -> Protocol {
    if name.starts_with("anthropic") { Protocol::Anthropic } else { Protocol::OpenAi }
}

#[tokio::test]
async fn text_is_read_from_every_recorded_stream() {
    let streams = [
        "openai_stream.txt",
        "vllm_stream.txt",
        "ollama_stream.txt",
        "llamacpp_stream.txt",
        "lmstudio_stream.txt",
        "openrouter_stream.txt",
        "litellm_stream.txt",
        "no_done_stream.txt",
        "anthropic_stream.txt",
    ];
    for name in streams {
        let (provider, client) = always(replayed(name), protocol_of(name));
        let (chunks, error) = all(client.stream(None, &body(json!({}))).await.unwrap()).await;
        assert_eq!((text_of(&chunks).as_str(), error), (TEXT, None), "{name}");
        let usage = chunks.iter().filter_map(|chunk| chunk.usage).next_back();
        assert_eq!(usage, Some(USAGE), "{name}");
        let reasons: Vec<&str> = chunks.iter().filter_map(|chunk| chunk.finish_reason.as_deref()).collect();
        assert_eq!(reasons, ["stop"], "{name}");
        let mut heard = String::new();
        let answer = client.chat_streamed(None, &hello(), |text| heard.push_str(text)).await.unwrap();
        assert_eq!((answer.content.as_str(), heard.as_str(), answer.usage), (TEXT, TEXT, USAGE), "{name}");
        assert_ne!(answer.model, "m", "{name}");
        assert_eq!(provider.chat_count(), 2);
    }
}

#[tokio::test]
async fn end_of_an_answer_is_read_whole_and_streamed() {
    let table = [
        ("answer_cut_by_length.json", AnswerEnd::Length),
        ("answer_filtered.json", AnswerEnd::Filtered),
        ("answer_refusal.json", AnswerEnd::Refused),
        ("answer_tool_call_as_text.json", AnswerEnd::Complete),
    ];
    for (name, expected) in table {
        // Plain JSON in answer to a request for a stream becomes a stream of one piece.
        for content_type in ["application/json", "text/plain"] {
            let reply = Reply::raw(fixture(name)).with_header("content-type", content_type);
            let (_provider, client) = always(reply, Protocol::OpenAi);
            let whole = client.chat(None, &hello()).await.unwrap();
            let streamed = client.chat_streamed(None, &hello(), |_| {}).await.unwrap();
            let passed = client.complete(None, &body(json!({}))).await.unwrap();
            assert_eq!((whole.end, streamed.end, passed.end), (expected, expected, expected), "{name}");
            assert_eq!((whole.content, whole.usage), (streamed.content, streamed.usage), "{name}");
        }
    }
}

#[tokio::test]
async fn smaller_usage_report_does_not_undo_a_larger_one() {
    let reply = Reply::raw(fixture("stream_usage_zero_last.txt"));
    let (_provider, client) =
        always(reply.with_header("content-type", "text/event-stream"), Protocol::OpenAi);
    let answer = client.chat_streamed(None, &hello(), |_| {}).await.unwrap();
    assert_eq!((answer.usage.input_tokens, answer.usage.output_tokens), (1_000, 500));
}

#[tokio::test]
async fn openai_chunks_are_passed_on_byte_for_byte() {
    for name in
        ["openai_stream.txt", "openai_tool_stream.txt", "openrouter_stream.txt", "lmstudio_stream.txt"]
    {
        let (_provider, client) = always(replayed(name), Protocol::OpenAi);
        let (chunks, _) = all(client.stream(None, &body(json!({}))).await.unwrap()).await;
        let text = fixture(name);
        let sent =
            text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        assert!(chunks.iter().map(|chunk| std::str::from_utf8(&chunk.data).unwrap()).eq(sent), "{name}");
    }
}

fn calls(count: usize) -> Vec<(&'static str, Value)> {
    [("comment", json!({"text": "half"})), ("finish", json!({"summary": "done"})), ("rest", json!({}))]
        [..count]
        .to_vec()
}

fn read(calls: &[ToolCall]) -> Vec<(&str, Value)> {
    calls.iter().map(|call| (call.name.as_str(), serde_json::from_str(&call.arguments).unwrap())).collect()
}

#[tokio::test]
async fn tool_calls_are_read_from_streams_and_whole_answers() {
    let streams =
        [("openai_tool_stream.txt", 2), ("ollama_tool_stream.txt", 2), ("anthropic_tool_stream.txt", 3)];
    for (name, count) in streams {
        let (_provider, client) = always(replayed(name), protocol_of(name));
        let answer = client.chat_streamed(None, &hello(), |_| {}).await.unwrap();
        assert_eq!(read(&answer.tool_calls), calls(count), "{name}");
        assert_eq!(answer.finish_reason.as_deref(), Some("tool_calls"), "{name}");
        assert_eq!((answer.content.as_str(), answer.usage), ("", USAGE), "{name}");
        let ids: Vec<&str> = answer.tool_calls.iter().map(|call| call.id.as_str()).collect();
        assert!(ids.iter().all(|id| id.starts_with("call_") || id.starts_with("toolu_")), "{name}: {ids:?}");
    }
    for name in ["openai_tool_chat.json", "anthropic_tool_message.json"] {
        let (_provider, client) = always(replayed(name), protocol_of(name));
        let answer = client.chat(None, &hello()).await.unwrap();
        assert_eq!(read(&answer.tool_calls), calls(2), "{name}");
        assert_eq!(answer.finish_reason.as_deref(), Some("tool_calls"), "{name}");
        assert_eq!(answer.usage, USAGE, "{name}");
    }
}

#[tokio::test]
async fn completion_is_passed_on_as_received_or_translated() {
    for name in ["openai_chat.json", "anthropic_message.json"] {
        let (_provider, client) = always(replayed(name), protocol_of(name));
        let completed = client.complete(None, &body(json!({}))).await.unwrap();
        assert_eq!(
            (completed.usage, completed.finish_reason.as_deref()),
            (Some(USAGE), Some("stop")),
            "{name}"
        );
        let sent: Value = serde_json::from_slice(&completed.body).unwrap();
        assert_eq!(sent["object"], "chat.completion", "{name}");
        assert_eq!(sent["choices"][0]["message"]["content"], TEXT, "{name}");
        assert_eq!(sent["model"], completed.model, "{name}");
        assert_eq!(sent["usage"]["total_tokens"], 29, "{name}");
        if protocol_of(name) == Protocol::OpenAi {
            assert_eq!(completed.body, fixture(name), "not a byte is changed");
        }
        assert_eq!(client.chat(None, &hello()).await.unwrap().content, TEXT, "{name}");
    }
}

#[tokio::test]
async fn anthropic_chunks_are_valid_openai_chunks() {
    let (_provider, client) = always(replayed("anthropic_tool_stream.txt"), Protocol::Anthropic);
    let (chunks, _) = all(client.stream(None, &body(json!({}))).await.unwrap()).await;
    let chunks: Vec<Value> =
        chunks.iter().map(|chunk| serde_json::from_slice(&chunk.data).unwrap()).collect();
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["id"], "msg_01XFDUDYJgAACzvnptvVoYEL");
        assert_eq!(chunk["model"], "claude-sonnet-4-5-20250929");
        assert!(chunk["created"].as_u64() > Some(1_700_000_000));
    }
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(
        chunks[1]["choices"][0]["delta"]["tool_calls"],
        json!([{
            "index": 0, "id": "toolu_01A09q90qw90lq917835lq9", "type": "function",
            "function": {"name": "comment", "arguments": ""},
        }])
    );
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
    assert_eq!(last["usage"]["prompt_tokens"], 19);
}

#[tokio::test]
async fn anthropic_models_are_listed() {
    let script = Script::default().with_models_reply(replayed("anthropic_models.json")).requiring_key("k");
    let provider = ScriptedProvider::start(script);
    let client = crate::stage::client(&provider, Protocol::Anthropic);
    let models = client.list_models(Some(&"k".into())).await.unwrap();
    let expected = [("claude-sonnet-4-5-20250929", None), ("claude-opus-4-1-20250805", Some(200_000))];
    let expected = expected.map(|(id, context_window)| ModelInfo { id: id.into(), context_window });
    assert_eq!(models, expected);
    let request = &provider.requests()[0];
    assert_eq!((request.path.as_str(), request.header("x-api-key")), ("/v1/models", "k"));
    assert_eq!(request.header("anthropic-version"), "2023-06-01");
    assert_eq!(request.authorization, None);
}
