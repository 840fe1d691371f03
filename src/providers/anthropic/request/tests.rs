//! Tests of the translation of OpenAI's requests.

use super::*;
use crate::error::CallErrorKind;

fn translated(fields: Value) -> Value {
    let body = serde_json::from_value(fields).unwrap();
    translate(&body, DeliveryMode::Whole).unwrap().body
}

fn with(fields: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    translated(body)
}

fn refused(fields: Value) -> String {
    let body = serde_json::from_value(fields).unwrap();
    match translate(&body, DeliveryMode::Whole).unwrap_err().kind() {
        CallErrorKind::Unsupported { field } => field.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn conversation_becomes_turns_with_a_separate_system_prompt() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let body = translated(json!({"model": "m", "messages": [
        {"role": "system", "content": "one"},
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": " "}]},
        {"role": "assistant", "content": null, "tool_calls": [call("c.1", "{\"x\": 1}"), call("c2", ""), call("c3", "oh")]},
        {"role": "tool", "tool_call_id": "c.1", "content": "r1"},
        {"role": "tool", "tool_call_id": "c2", "content": ""},
        {"role": "user", "content": "go on"},
        {"role": "developer", "content": "two"},
        {"role": "assistant", "content": ""},
    ]}));
    let text = |text: &str| json!({"type": "text", "text": text});
    let tool_use =
        |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "f", "input": input});
    let expected = json!({
        "model": "m",
        "system": "one\n\ntwo",
        "messages": [
            {"role": "user", "content": [text("a"), text("b")]},
            {"role": "assistant", "content":
                [tool_use("c_1", json!({"x": 1})), tool_use("c2", json!({})), tool_use("c3", json!({"arguments": "oh"}))]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c_1", "content": [text("r1")]},
                {"type": "tool_result", "tool_use_id": "c2"},
                text("go on"),
            ]},
        ],
        "max_tokens": 4096,
        "stream": false,
    });
    assert_eq!(body, expected);
}

#[test]
fn settings_are_translated_and_no_op_ones_accepted() {
    let body = with(json!({
        "temperature": 1.7, "top_p": 0.5, "stop": "END", "user": "u1", "max_tokens": 5, "max_completion_tokens": 9,
        "n": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "logprobs": false, "logit_bias": {}, "store": false,
        "seed": null, "stream_options": {"include_usage": true}, "response_format": {"type": "text"}, "tools": [],
        "tool_choice": "auto", "service_tier": "auto",
    }));
    let expected = json!({
        "model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "temperature": 1.0, "top_p": 0.5, "stop_sequences": ["END"], "metadata": {"user_id": "u1"},
        "max_tokens": 9, "stream": false,
    });
    assert_eq!(body, expected);
    assert_eq!(with(json!({"stop": ["a", "b"], "temperature": 0.2}))["stop_sequences"], json!(["a", "b"]));
    assert_eq!(with(json!({"max_tokens": 5}))["max_tokens"], 5);
}

#[test]
fn tools_and_tool_choice_are_translated() {
    let tool = json!({"type": "function", "function": {"name": "f", "description": "d", "strict": true,
        "parameters": {"properties": {"x": {"type": "integer"}}}}});
    let bare = json!({"type": "function", "function": {"name": "g"}});
    let choose = |choice: Value, parallel: Value| {
        let fields = json!({"tools": [tool, bare], "tool_choice": choice, "parallel_tool_calls": parallel});
        with(fields)["tool_choice"].clone()
    };
    let tools = with(json!({"tools": [tool, bare]}))["tools"].clone();
    assert_eq!(
        tools,
        json!([
            {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}}},
            {"name": "g", "input_schema": {"type": "object"}},
        ])
    );
    let named = json!({"type": "function", "function": {"name": "f"}});
    let table = [
        (Value::Null, Value::Null, Value::Null),
        (json!("auto"), json!(true), json!({"type": "auto"})),
        (json!("required"), Value::Null, json!({"type": "any"})),
        (json!("none"), json!(false), json!({"type": "none"})),
        (named, Value::Null, json!({"type": "tool", "name": "f"})),
        (Value::Null, json!(false), json!({"type": "auto", "disable_parallel_tool_use": true})),
        (json!("required"), json!(false), json!({"type": "any", "disable_parallel_tool_use": true})),
    ];
    for (choice, parallel, expected) in table {
        assert_eq!(choose(choice.clone(), parallel), expected, "{choice}");
    }
}

#[test]
fn json_format_becomes_a_tool_or_an_instruction() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let alone = with(json!({"response_format": format}));
    assert_eq!(alone["tools"][0]["input_schema"], schema);
    assert_eq!(alone["tool_choice"], json!({"type": "tool", "name": "json_answer"}));
    let beside = with(json!({"response_format": format, "tools": [tool]}));
    assert_eq!((beside["tools"].as_array().unwrap().len(), &beside["tool_choice"]), (1, &Value::Null));
    assert!(beside["system"].as_str().unwrap().contains(&schema.to_string()));
    let object = with(json!({"response_format": {"type": "json_object"}}));
    assert!(object["system"].as_str().unwrap().contains("JSON object"));
}

#[test]
fn image_is_accepted_by_data_url_or_https() {
    let image = |url: &str| {
        let content = json!([{"type": "image_url", "image_url": {"url": url}}]);
        json!({"messages": [{"role": "user", "content": content}]})
    };
    let source = |url: &str| with(image(url))["messages"][0]["content"][0]["source"].clone();
    let expected = json!({"type": "base64", "media_type": "image/png", "data": "iVBORw0K"});
    assert_eq!(source("data:image/png;base64,iVBORw0K"), expected);
    assert_eq!(
        source("https://example.com/a.png"),
        json!({"type": "url", "url": "https://example.com/a.png"})
    );
    for url in ["http://example.com/a.png", "data:image/png,raw", "data:image/png", "file:///a.png", ""] {
        assert_eq!(refused(image(url)), "messages[0].content[0].image_url", "{url}");
    }
}

#[test]
fn untranslatable_field_is_refused_by_name() {
    let table = [
        (json!({}), "messages"),
        (json!({"messages": [{"role": "function", "content": ""}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user", "content": 7}]}), "messages[0].content"),
        (json!({"messages": [], "tools": {}}), "tools"),
        (json!({"messages": [], "tools": [{"type": "web_search"}]}), "tools[0]"),
        (json!({"messages": [], "tool_choice": "sometimes"}), "tool_choice"),
        (json!({"messages": [], "response_format": {"type": "json_schema"}}), "response_format"),
        (json!({"messages": [], "frequency_penalty": 0.5}), "frequency_penalty"),
        (json!({"messages": [], "functions": []}), "functions"),
        (json!({"messages": [], "n": 3}), "n"),
    ];
    for (fields, expected) in table {
        assert_eq!(refused(fields.clone()), expected, "{fields}");
    }
}
