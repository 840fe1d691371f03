//! Chats that the gateway passes on: the request to the provider and the answer to the caller.

use crate::stage::{all, always, body, hello, text_of};
use arbiter_providers::{CallErrorKind, ChatRequest, Message, Protocol, Speaker, Tool, Usage};
use arbiter_testkit::{Reply, Script, ScriptedProvider};
use serde_json::{Value, json};

#[tokio::test]
async fn unknown_fields_reach_an_openai_provider() {
    let (provider, client) = always(Reply::text("fine"), Protocol::OpenAi);
    let asked = body(json!({"n": 1, "seed": 7, "chat_template_kwargs": {"enable_thinking": false}}));
    client.complete(None, &asked).await.unwrap();
    drop(client.stream(None, &asked).await.unwrap());
    let requests = provider.requests();
    for request in &requests {
        assert_eq!((&request.body["seed"], &request.body["n"]), (&json!(7), &json!(1)));
        assert_eq!(request.body["chat_template_kwargs"]["enable_thinking"], false);
    }
    assert_eq!(
        (&requests[0].body["stream"], &requests[0].body["stream_options"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(requests[1].body["stream_options"]["include_usage"], true);
    assert_eq!(requests[1].header("accept"), "text/event-stream");
}

#[tokio::test]
async fn stream_options_are_dropped_once_when_refused() {
    let script = Script::answering(|chat| {
        if chat.body["stream_options"].is_null() {
            Reply::text("fine")
        } else {
            Reply::error(400, r#"{"error": {"message": "Unrecognized request argument: stream_options"}}"#)
        }
    });
    let provider = ScriptedProvider::start(script);
    let client = crate::stage::client(&provider, Protocol::OpenAi);
    let (chunks, error) = all(client.stream(None, &body(json!({}))).await.unwrap()).await;
    assert_eq!((text_of(&chunks).as_str(), error, provider.chat_count()), ("fine", None, 2));
    provider.set_script(Script::always(Reply::error(400, "stream_options, and all else, are wrong")));
    let refused = client.stream(None, &body(json!({}))).await.unwrap_err();
    assert_eq!((refused.kind(), provider.chat_count()), (&CallErrorKind::Refused, 4));
    provider.set_script(Script::always(Reply::error(400, "temperature is wrong")));
    assert!(client.stream(None, &body(json!({}))).await.is_err());
    assert_eq!(provider.chat_count(), 5, "only that field is left out");
}

#[tokio::test]
async fn stream_of_several_choices_ends_when_all_are_complete() {
    let chunk = |index: u64, reason: Value| {
        let choice = json!({"index": index, "delta": {"content": "x"}, "finish_reason": reason});
        format!("data: {}\n\n", json!({"choices": [choice]}))
    };
    let one = format!("{}{}", chunk(0, json!("stop")), chunk(1, Value::Null));
    let both = format!("{one}{}", chunk(1, json!("stop")));
    for (text, is_whole) in [(one, false), (both, true)] {
        let reply = Reply::raw(text).with_header("content-type", "text/event-stream");
        let (_provider, client) = always(reply, Protocol::OpenAi);
        let (_, error) = all(client.stream(None, &body(json!({"n": 2}))).await.unwrap()).await;
        assert_eq!(error.is_none(), is_whole, "{error:?}");
    }
}

#[tokio::test]
async fn untranslatable_field_is_refused_before_any_call() {
    let (provider, client) = always(Reply::text("fine"), Protocol::Anthropic);
    let table = [
        (json!({"n": 2}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"seed": 7}), "seed"),
        (json!({"response_format": {"type": "grammar"}}), "response_format"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
            "messages[0].content[0].input_audio",
        ),
    ];
    for (fields, name) in table {
        let asked = body(fields);
        let expected = CallErrorKind::Unsupported { field: name.into() };
        let whole = client.complete(None, &asked).await.unwrap_err();
        let stream = client.stream(None, &asked).await.unwrap_err();
        assert_eq!((whole.kind(), stream.kind()), (&expected, &expected));
        assert!(whole.to_string().contains(name) && !whole.is_transient(), "{whole}");
    }
    assert_eq!(provider.requests(), []);
}

#[tokio::test]
async fn both_protocols_give_the_same_chat_answer() {
    let reply = Reply::text("let me see").with_tool("finish", json!({"summary": "done"})).with_usage(12, 3);
    let mut request = ChatRequest {
        tools: vec![Tool { name: "finish".into(), description: "ends".into(), parameters: json!({}) }],
        ..hello()
    };
    request.messages.push(Message::new(Speaker::Assistant, "go on"));
    let mut answers = Vec::new();
    for protocol in crate::stage::BOTH {
        let (provider, client) = always(reply.clone(), protocol);
        answers.push(client.chat(None, &request).await.unwrap());
        answers.push(client.chat_streamed(None, &request, |_| {}).await.unwrap());
        assert_eq!(provider.chat_count(), 2);
    }
    assert_eq!(answers[0].content, "let me see");
    assert_eq!(answers[0].tool_calls[0].arguments, r#"{"summary":"done"}"#);
    assert_eq!(answers[0].usage, Usage { input_tokens: 12, output_tokens: 3 });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn anthropic_schema_answer_arrives_as_text() {
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}});
    let asked = body(json!({"response_format": format}));
    let (provider, client) = always(Reply::tool("json_answer", json!({"a": 1})), Protocol::Anthropic);
    let completed = client.complete(None, &asked).await.unwrap();
    let answer: Value = serde_json::from_slice(&completed.body).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], r#"{"a":1}"#);
    assert_eq!(answer["choices"][0]["message"]["tool_calls"], Value::Null);
    assert_eq!(completed.finish_reason.as_deref(), Some("stop"));
    let (chunks, error) = all(client.stream(None, &asked).await.unwrap()).await;
    assert_eq!((text_of(&chunks).as_str(), error), (r#"{"a":1}"#, None));
    assert!(chunks.iter().any(|chunk| chunk.finish_reason.as_deref() == Some("stop")));
    assert_eq!(provider.requests()[0].body["tool_choice"], json!({"type": "tool", "name": "json_answer"}));
}

#[tokio::test]
async fn stream_errors_hide_the_key() {
    let echo = "data: {\"error\": {\"message\": \"your key sk-secret-1 is tired\"}}\n\n";
    for protocol in crate::stage::BOTH {
        let reply = Reply::raw(echo).with_header("content-type", "text/event-stream");
        let (_provider, client) = always(reply, protocol);
        let key = "sk-secret-1".into();
        let stream = client.stream(Some(&key), &body(json!({}))).await.unwrap();
        assert!(!format!("{stream:?}").contains("sk-secret"));
        let (_, error) = all(stream).await;
        let shown = error.unwrap().to_string();
        assert!(shown.ends_with("your key [redacted] is tired"), "{shown}");
        let script = Script::default().requiring_key("another");
        let provider = ScriptedProvider::start(script);
        let client = crate::stage::client(&provider, protocol);
        let refused = client.stream(Some(&key), &body(json!({}))).await.unwrap_err();
        assert_eq!(*refused.kind(), CallErrorKind::Auth);
        assert!(!refused.to_string().contains("sk-secret"), "{refused}");
    }
}
