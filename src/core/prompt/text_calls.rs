//! Tool calls that a model writes into its text, in the templates of common model families.
//!
//! A server without a parser for a model's template passes the template on as text.

use crate::prompt::tools::{ToolSpec, tools};
use serde_json::{Deserializer, Map, Value};

/// Texts that begin a tool call in the templates of Qwen, Hermes, GLM, Mistral, Llama, DeepSeek, Kimi, Granite
/// and others.
const MARKERS: [&str; 17] = [
    "<tool_call>",
    "<tool_calls>",
    "<|tool_call|>",
    "<|tool_call>",
    "<function_call>",
    "<function_calls>",
    "<function=",
    "<invoke name=",
    "[TOOL_CALLS]",
    "[TOOL_REQUEST]",
    "<|python_tag|>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>",
    "<|tool_call_start|>",
    "<|channel|>commentary to=functions.",
];
/// Languages of a fenced block that may hold a call.
const FENCES: [&str; 6] = ["json", "tool_call", "tool_calls", "tool_code", "tool", ""];
/// Names of the field that holds a tool's name.
const NAME_FIELDS: [&str; 5] = ["action", "name", "tool", "tool_name", "function"];
/// Names of the field that holds a tool's arguments.
const ARGUMENT_FIELDS: [&str; 5] = ["arguments", "parameters", "args", "input", "action_input"];
/// Openings of a parameter in the templates that write arguments as elements: text before the parameter's name,
/// between name and value, and after the value.
const PARAMETERS: [[&str; 3]; 3] = [
    ["<arg_key>", "</arg_key>", "</arg_value>"],
    ["<parameter=", ">", "</parameter>"],
    ["<parameter name=\"", "\">", "</parameter>"],
];

/// A tool's name and its arguments.
pub(super) type TextCall = (String, Value);

/// Tool calls in a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TextCalls {
    /// The text is plain.
    None,
    Found(Vec<TextCall>),
    /// The text holds a marker of a call, but no call of an offered tool.
    Unreadable,
}

/// Finds the calls of offered tools in a text without reasoning.
pub(super) fn find(text: &str) -> TextCalls {
    if let Some(at) = first_marker(text) {
        let calls = marked_calls(&text[at..]);
        return if calls.is_empty() { TextCalls::Unreadable } else { TextCalls::Found(calls) };
    }
    let calls = unmarked_calls(text.trim());
    if calls.is_empty() { TextCalls::None } else { TextCalls::Found(calls) }
}

/// Returns the position of the first marker that is not quoted as code.
fn first_marker(text: &str) -> Option<usize> {
    let is_quoted = |at: usize| text[..at].ends_with('`') && !text[..at].ends_with("```");
    MARKERS
        .iter()
        .flat_map(|marker| text.match_indices(marker))
        .map(|(at, _)| at)
        .filter(|at| !is_quoted(*at))
        .min()
}

/// Reads a text that is one JSON value, or fenced blocks that each are.
fn unmarked_calls(text: &str) -> Vec<TextCall> {
    if text.starts_with(['{', '[']) {
        return serde_json::from_str(text).map(|value| calls_in(&value)).unwrap_or_default();
    }
    let mut calls = Vec::new();
    // Every second part lies between two fences.
    for block in text.split("```").skip(1).step_by(2) {
        let (language, content) = block.split_once('\n').unwrap_or(("", block));
        if FENCES.contains(&language.trim())
            && let Ok(value) = serde_json::from_str(content.trim())
        {
            calls.extend(calls_in(&value));
        }
    }
    calls
}

fn marked_calls(text: &str) -> Vec<TextCall> {
    let calls = element_calls(text);
    if calls.is_empty() { json_calls(text) } else { calls }
}

/// Reads JSON calls, and JSON arguments that follow a tool's name.
fn json_calls(text: &str) -> Vec<TextCall> {
    let (mut calls, mut from, mut at) = (Vec::new(), 0, 0);
    while let Some(found) = text[at..].find(['{', '[']) {
        let start = at + found;
        let mut values = Deserializer::from_str(&text[start..]).into_iter::<Value>();
        let Some(Ok(value)) = values.next() else {
            at = start + 1;
            continue;
        };
        let inner = calls_in(&value);
        match last_tool(&text[from..start]) {
            Some(tool) if inner.is_empty() && value.is_object() => calls.push((tool.to_owned(), value)),
            _ => calls.extend(inner),
        }
        at = start + values.byte_offset();
        from = at;
    }
    calls
}

/// Reads calls whose arguments are written as elements.
fn element_calls(text: &str) -> Vec<TextCall> {
    let Some([before, between, after]) = PARAMETERS.into_iter().find(|[before, ..]| text.contains(before))
    else {
        return Vec::new();
    };
    let (mut calls, mut rest): (Vec<TextCall>, &str) = (Vec::new(), text);
    while let Some((head, tail)) = rest.split_once(before) {
        if let Some(tool) = last_tool(head) {
            calls.push((tool.to_owned(), Value::Object(Map::new())));
        }
        let Some((name, tail)) = tail.split_once(between) else { break };
        let (value, tail) = tail.split_once(after).unwrap_or((tail, ""));
        let value = value.trim_start().trim_start_matches("<arg_value>");
        if let Some((tool, Value::Object(arguments))) = calls.last_mut() {
            arguments.insert(name.trim().to_owned(), typed(tool, name.trim(), value.trim()));
        }
        rest = tail;
    }
    calls
}

/// Converts an argument's text to the type that the tool's schema gives it.
fn typed(tool: &str, name: &str, text: &str) -> Value {
    let spec = tools().into_iter().find(|spec| spec.name == tool);
    let is_text = spec.is_none_or(|spec| spec.parameters["properties"][name]["type"] == "string");
    let read = if is_text { None } else { serde_json::from_str(text).ok() };
    read.unwrap_or_else(|| text.into())
}

/// Returns the offered tool that is named last in a text, as a word.
fn last_tool(text: &str) -> Option<&'static str> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.rsplit(|letter: char| !is_word(letter)).find_map(offered)
}

fn offered(name: &str) -> Option<&'static str> {
    let name = name.strip_prefix("functions.").unwrap_or(name);
    tools().into_iter().find(|ToolSpec { name: known, .. }| *known == name).map(|spec| spec.name)
}

/// Returns the calls of offered tools that a JSON value is.
fn calls_in(value: &Value) -> Vec<TextCall> {
    let object = match value {
        Value::Array(values) => return values.iter().flat_map(calls_in).collect(),
        Value::Object(object) => object,
        _ => return Vec::new(),
    };
    if let Some(nested) = object.get("tool_calls").or(object.get("function")).filter(|v| !v.is_string()) {
        return calls_in(nested);
    }
    let named = |field: &'static str| Some((field, offered(object.get(field)?.as_str()?)?));
    let Some((field, tool)) = NAME_FIELDS.into_iter().find_map(named) else { return Vec::new() };
    let arguments = match ARGUMENT_FIELDS.iter().find_map(|name| object.get(*name)) {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into()),
        Some(arguments) => arguments.clone(),
        // A name alone may be data; an action is ours.
        None if field != "action" => return Vec::new(),
        None => Value::Object(object.iter().filter(|(name, _)| *name != field).map(owned).collect()),
    };
    vec![(tool.to_owned(), arguments)]
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(text: &str) -> Vec<TextCall> {
        match find(text) {
            TextCalls::Found(calls) => calls,
            other => panic!("{other:?}: {text}"),
        }
    }

    #[test]
    fn call_in_each_model_template_is_found() {
        let templates = [
            "<tool_call>\n{\"name\": \"block\", \"arguments\": {\"reason\": \"no access\"}}\n</tool_call>",
            "<tool_call>\n{\"name\": \"block\", \"arguments\": \"{\\\"reason\\\": \\\"no access\\\"}\"}\n",
            "<tool_call>block\n<arg_key>reason</arg_key>\n<arg_value>no access</arg_value>\n</tool_call>",
            "<tool_call>\n<function=block>\n<parameter=reason>\nno access\n</parameter>\n</function>\n</tool_call>",
            "<function=block>{\"reason\": \"no access\"}</function>",
            "<function_calls><invoke name=\"block\"><parameter name=\"reason\">no access</parameter></invoke>",
            "```json\n{\"name\": \"block\", \"parameters\": {\"reason\": \"no access\"}}\n```",
            "I cannot.\n```\n{\"action\": \"block\", \"reason\": \"no access\"}\n```\nSorry.",
            "[TOOL_CALLS][{\"name\": \"block\", \"arguments\": {\"reason\": \"no access\"}}]",
            "[TOOL_CALLS]block[ARGS]{\"reason\": \"no access\"}",
            "[TOOL_REQUEST]{\"name\": \"block\", \"arguments\": {\"reason\": \"no access\"}}[END_TOOL_REQUEST]",
            "<|python_tag|>{\"name\": \"block\", \"parameters\": {\"reason\": \"no access\"}}",
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>block\n```json\n\
             {\"reason\": \"no access\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            "<｜tool▁call▁begin｜>block<｜tool▁sep｜>{\"reason\": \"no access\"}<｜tool▁call▁end｜>",
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.block:0<|tool_call_argument_begin|>\
             {\"reason\": \"no access\"}<|tool_call_end|>",
            "<|channel|>commentary to=functions.block <|constrain|>json<|message|>{\"reason\": \"no access\"}",
            "{\"action\": \"block\", \"reason\": \"no access\"}",
            "{\"type\": \"function\", \"function\": {\"name\": \"block\", \"arguments\": {\"reason\": \"no access\"}}}",
            "{\"tool_calls\": [{\"name\": \"block\", \"arguments\": {\"reason\": \"no access\"}}]}",
        ];
        let expected = [("block".to_owned(), json!({"reason": "no access"}))];
        for template in templates {
            assert_eq!(found(template), expected, "{template}");
        }
    }

    #[test]
    fn several_calls_and_typed_arguments_are_read() {
        let text = "<tool_call>comment\n<arg_key>text</arg_key><arg_value>12</arg_value></tool_call>\n\
                    <tool_call>ask_decision\n<arg_key>question</arg_key><arg_value>Which?</arg_value>\n\
                    <arg_key>options</arg_key><arg_value>[\"a\", \"b\"]</arg_value></tool_call>";
        let asked = json!({"question": "Which?", "options": ["a", "b"]});
        let expected = [("comment".to_owned(), json!({"text": "12"})), ("ask_decision".to_owned(), asked)];
        assert_eq!(found(text), expected);
        let two = "<tool_call>{\"name\": \"comment\", \"arguments\": {\"text\": \"a\"}}</tool_call>\n\
                   <tool_call>{\"name\": \"finish\", \"arguments\": {\"summary\": \"b\"}}</tool_call>";
        assert_eq!(found(two).len(), 2);
    }

    #[test]
    fn text_without_an_offered_tool_is_no_call() {
        for plain in [
            "All done.",
            "The result is\n```json\n{\"name\": \"finish\", \"colour\": \"blue\"}\n```",
            "```json\n{\"name\": \"fly\", \"arguments\": {}}\n```",
            "{\"answer\": 42}",
            "The parser knows `<tool_call>` now.",
            "I will finish {soon}.",
        ] {
            assert_eq!(find(plain), TextCalls::None, "{plain}");
        }
        for markup in [
            "<tool_call>\n{\"name\": \"fly\", \"arguments\": {}}\n</tool_call>",
            "<tool_call>\n{\"name\": \"finish\", \"arg",
            "<|python_tag|>finish.call(summary=1)",
            "[TOOL_CALLS]",
        ] {
            assert_eq!(find(markup), TextCalls::Unreadable, "{markup}");
        }
    }
}
