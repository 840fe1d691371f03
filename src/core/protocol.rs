//! What a model may ask of Arbiter during a run: the tools it is offered and how its answers are read.

use crate::thoughts::without_thoughts;
use serde::Deserialize;
use serde_json::{Value, json};

/// What the agent chose to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The bead is done.
    Finish {
        /// What came of it.
        summary: String,
    },
    /// A person has to decide something first.
    AskDecision {
        /// What is asked.
        question: String,
        /// The answers that may be given; empty: any.
        options: Vec<String>,
        /// 0 to 4.
        priority: Option<u8>,
    },
    /// The bead cannot be done as it stands.
    Block {
        /// Why.
        reason: String,
    },
    /// Something worth keeping; the run goes on.
    Comment {
        /// The text.
        text: String,
    },
}

/// A tool as a model is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// JSON Schema of its arguments.
    pub parameters: Value,
}

/// The tools that every run offers.
pub fn tools() -> Vec<ToolSpec> {
    let text = |description: &str| json!({"type": "string", "description": description});
    let object = |properties: Value, required: &[&str]| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    vec![
        ToolSpec {
            name: "finish",
            description: "End this work item: it is done.",
            parameters: object(json!({"summary": text("What was done and what came of it.")}), &["summary"]),
        },
        ToolSpec {
            name: "ask_decision",
            description: "Ask a person to decide; the work item rests until it is answered.",
            parameters: object(
                json!({
                    "question": text("The question, with what is needed to answer it."),
                    "options": {"type": "array", "items": {"type": "string"}},
                    "priority": {"type": "integer", "minimum": 0, "maximum": 4},
                }),
                &["question"],
            ),
        },
        ToolSpec {
            name: "block",
            description: "Say that this work item cannot be done as it stands.",
            parameters: object(json!({"reason": text("What stands in the way.")}), &["reason"]),
        },
        ToolSpec {
            name: "comment",
            description: "Keep a remark with the work item and go on.",
            parameters: object(json!({"text": text("The remark.")}), &["text"]),
        },
    ]
}

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
enum Wire {
    Finish {
        summary: String,
    },
    AskDecision {
        question: String,
        #[serde(default)]
        options: Vec<String>,
        #[serde(default)]
        priority: Option<u8>,
    },
    Block {
        reason: String,
    },
    Comment {
        text: String,
    },
}

impl From<Wire> for Action {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::Finish { summary } => Self::Finish { summary },
            Wire::AskDecision { question, options, priority } => {
                Self::AskDecision { question, options, priority }
            }
            Wire::Block { reason } => Self::Block { reason },
            Wire::Comment { text } => Self::Comment { text },
        }
    }
}

/// Reads a tool call; the error is for the model, so that it can mend its call.
pub fn read_call(name: &str, arguments: &str) -> Result<Action, String> {
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    let mut value: Value =
        serde_json::from_str(text).map_err(|e| format!("the arguments of {name} are no JSON: {e}"))?;
    match value.as_object_mut() {
        Some(object) => object.insert("action".to_owned(), json!(name)),
        None => return Err(format!("the arguments of {name} are no JSON object")),
    };
    read_action(value)
}

fn read_action(value: Value) -> Result<Action, String> {
    let wire: Wire = serde_json::from_value(value).map_err(|e| e.to_string())?;
    let action = Action::from(wire);
    let said = match &action {
        Action::Finish { summary } => summary,
        Action::AskDecision { question, .. } => question,
        Action::Block { reason } => reason,
        Action::Comment { text } => text,
    };
    if said.trim().is_empty() { Err("the text is empty".to_owned()) } else { Ok(action) }
}

const FENCE: &str = "```arbiter";

/// Reads an answer without tool calls: the first fenced `arbiter` JSON block is an action, plain text is the
/// end of the work. What the model thought aloud counts for neither. The error is for the model.
pub fn read_text(text: &str) -> Result<Action, String> {
    let spoken = without_thoughts(text);
    if let Some((_, rest)) = spoken.split_once(FENCE) {
        // Reads to the end of the JSON and not to the next fence, for a text within it may hold fences too.
        let block = serde_json::Deserializer::from_str(rest).into_iter().next();
        let value = match block {
            Some(Ok(value)) => value,
            Some(Err(wrong)) => return Err(format!("the arbiter block is no JSON: {wrong}")),
            None => return Err("the arbiter block is empty".to_owned()),
        };
        return read_action(value);
    }
    let spoken = spoken.trim();
    if spoken.is_empty() {
        return Err("the answer is empty".to_owned());
    }
    Ok(Action::Finish { summary: spoken.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_call_is_read_and_a_wrong_one_is_explained() {
        let action = read_call("finish", r#"{"summary": "done"}"#).unwrap();
        assert_eq!(action, Action::Finish { summary: "done".into() });
        let asked = read_call("ask_decision", r#"{"question": "Which?", "options": ["a", "b"]}"#).unwrap();
        assert!(matches!(asked, Action::AskDecision { options, .. } if options == ["a", "b"]));
        for (name, arguments) in
            [("finish", "{}"), ("finish", "["), ("fly", "{}"), ("finish", r#"{"summary": " "}"#)]
        {
            assert!(read_call(name, arguments).is_err(), "{name} {arguments}");
        }
    }

    #[test]
    fn plain_text_ends_the_work_and_a_fenced_block_is_an_action() {
        let plain = read_text("<think>hm</think>\nAll done.").unwrap();
        assert_eq!(plain, Action::Finish { summary: "All done.".into() });
        let fenced =
            read_text("I cannot.\n```arbiter\n{\"action\": \"block\", \"reason\": \"no access\"}\n```\n")
                .unwrap();
        assert_eq!(fenced, Action::Block { reason: "no access".into() });
        assert!(read_text("```arbiter\nnonsense\n```").is_err());
        assert!(read_text("<think>only thoughts</think>").is_err());
    }

    #[test]
    fn a_draft_among_the_thoughts_is_no_answer() {
        let fenced = |json: &str| format!("```arbiter\n{json}\n```");
        let draft = fenced(r#"{"action": "block", "reason": "a draft"}"#);
        let action = fenced(r#"{"action": "finish", "summary": "see ```code``` there"}"#);
        let done = Action::Finish { summary: "see ```code``` there".into() };
        let texts = [
            format!("<think>perhaps {draft}</think>\nHere it is:\n{action}\nThat was all."),
            format!("{draft} no, rather not</think>{action}"),
            format!("<thinking><think>{draft}</think>{draft}</thinking>{action}"),
            format!("So.\n<think>{draft}</think>{action}"),
        ];
        for text in texts {
            assert_eq!(read_text(&text), Ok(done.clone()), "{text}");
        }
        assert!(read_text(&format!("<think>cut off {draft}")).is_err());
        assert_eq!(
            read_text(&format!("<think>{draft}</think>All done.")),
            Ok(Action::Finish { summary: "All done.".into() })
        );
        assert!(read_text("```arbiter").is_err());
    }

    #[test]
    fn every_offered_tool_can_be_read_back() {
        let calls: Vec<Result<Action, String>> = tools()
            .iter()
            .map(|tool| {
                let required = tool.parameters["required"].as_array().unwrap();
                let arguments: serde_json::Map<String, Value> =
                    required.iter().map(|name| (name.as_str().unwrap().to_owned(), json!("x"))).collect();
                read_call(tool.name, &Value::Object(arguments).to_string())
            })
            .collect();
        assert!(calls.iter().all(Result::is_ok), "{calls:?}");
    }
}
