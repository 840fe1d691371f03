//! Tools that a model is offered during a run, and the parsing of its answers.

use crate::bead::handoff::HandoffTarget;
use crate::kernel::ids::AgentId;
use crate::kernel::limits;
use crate::kernel::objects_only::ObjectsOnly;
use crate::prompt::reasoning::strip_reasoning;
use crate::prompt::text_calls::{self, TextCalls};
use serde::Deserialize;
use serde_json::{Value, json};

/// Action that the agent chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Finish {
        summary: String,
    },
    AskDecision {
        question: String,
        /// The answers that may be given; empty: any.
        options: Vec<String>,
        /// 0 to 4.
        priority: Option<u8>,
    },
    Block {
        reason: String,
    },
    /// Another bead has to be done.
    CreateBead {
        title: String,
        description: String,
        role: Option<String>,
        /// Wait of this bead for the created one.
        wait: WaitForCreated,
    },
    Delegate {
        target: HandoffTarget,
        reason: String,
    },
    /// Comment to store on the bead; the run goes on.
    Comment {
        text: String,
    },
}

/// Choice of waiting until another bead is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitForCreated {
    Yes,
    #[default]
    No,
}

/// Tool definition as sent to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    pub name: &'static str,
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
            name: "create_bead",
            description: "Create another work item. With wait this one rests until that is done, and goes on with its \
                          result; several may be created and waited for at once.",
            parameters: object(
                json!({
                    "title": text("What it is about, in a line."),
                    "description": text("What is to be done, with all that is needed to do it."),
                    "role": text("The role that fits, such as qa-engineer; none: any agent."),
                    "wait": {"type": "boolean", "description": "Whether this work item rests until it is done."},
                }),
                &["title"],
            ),
        },
        ToolSpec {
            name: "delegate",
            description: "Hand this work item on to another agent, or to an agent with a given role.",
            parameters: object(
                json!({
                    "agent_id": text("The agent that is to have it."),
                    "role": text("The role that fits; instead of agent_id."),
                    "reason": text("Why, and what is left to do."),
                }),
                &["reason"],
            ),
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
enum RawAction {
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
    CreateBead {
        title: String,
        #[serde(default)]
        description: Option<String>,
        #[serde(default)]
        role: Option<String>,
        #[serde(default)]
        wait: Option<bool>,
    },
    Delegate {
        #[serde(default)]
        agent_id: Option<String>,
        #[serde(default)]
        role: Option<String>,
        reason: String,
    },
    Comment {
        text: String,
    },
}

impl TryFrom<RawAction> for Action {
    type Error = String;

    fn try_from(raw: RawAction) -> Result<Self, String> {
        Ok(match raw {
            RawAction::Finish { summary } => Self::Finish { summary },
            RawAction::AskDecision { question, options, priority } => {
                Self::AskDecision { question, options, priority }
            }
            RawAction::Block { reason } => Self::Block { reason },
            RawAction::CreateBead { title, description, role, wait } => Self::CreateBead {
                title,
                description: description.unwrap_or_default(),
                role: role.filter(|role| !role.is_empty()),
                wait: if wait == Some(true) { WaitForCreated::Yes } else { WaitForCreated::No },
            },
            RawAction::Delegate { agent_id, role, reason } => {
                let target =
                    match (agent_id.filter(|id| !id.is_empty()), role.filter(|role| !role.is_empty())) {
                        (Some(id), None) => HandoffTarget::Agent(AgentId::from_trusted(id)),
                        (None, Some(role)) => HandoffTarget::Role(role),
                        _ => return Err("delegate needs either agent_id or role".to_owned()),
                    };
                Self::Delegate { target, reason }
            }
            RawAction::Comment { text } => Self::Comment { text },
        })
    }
}

/// Reads a tool call; the error is for the model, so that it can mend its call.
pub fn parse_tool_call(name: &str, arguments: &str) -> Result<Action, String> {
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    let mut value: Value =
        serde_json::from_str(text).map_err(|e| format!("the arguments of {name} are no JSON: {e}"))?;
    match value.as_object_mut() {
        Some(object) => object.insert("action".to_owned(), json!(name)),
        None => return Err(format!("the arguments of {name} are no JSON object")),
    };
    parse_action(value)
}

fn parse_action(value: Value) -> Result<Action, String> {
    let raw = RawAction::deserialize(ObjectsOnly(value)).map_err(|e| e.to_string())?;
    let action = Action::try_from(raw)?;
    check_texts(&action)?;
    Ok(action)
}

/// Returns the reason to refuse the main text of an action. Its other texts are checked where they are used.
fn check_texts(action: &Action) -> Result<(), String> {
    let (field, said, max_bytes) = match action {
        Action::Finish { summary } => ("summary", summary, limits::MAX_RESULT),
        Action::AskDecision { question, .. } => ("question", question, limits::MAX_REASON),
        Action::Block { reason } => ("reason", reason, limits::MAX_REASON),
        // The reason becomes a comment that names the target.
        Action::Delegate { reason, .. } => ("reason", reason, limits::MAX_REASON / 2),
        Action::CreateBead { title, .. } => ("title", title, limits::MAX_REASON),
        Action::Comment { text } => ("text", text, limits::MAX_COMMENT),
    };
    if said.trim().is_empty() {
        return Err("the text is empty".to_owned());
    }
    if said.len() > max_bytes {
        return Err(format!("{field} {}", limits::must_fit(max_bytes)));
    }
    Ok(())
}

const FENCE: &str = "```arbiter";

/// Describes the actions to a model that cannot call tools.
pub fn fenced_instructions() -> String {
    let mut text = "Tools cannot be called here. Answer with one fenced block: a line ```arbiter, one JSON object and a \
                    line ```. Its field `action` is one of these names, and its other fields are those of the \
                    action's JSON Schema:"
        .to_owned();
    for tool in tools() {
        text.push_str(&format!("\n- {}: {} {}", tool.name, tool.description, tool.parameters));
    }
    text
}

/// Writes a tool call as the fenced block that [`parse_answer`] reads.
pub fn fenced_call(name: &str, arguments: &str) -> String {
    let mut action = serde_json::Map::from_iter([("action".to_owned(), json!(name))]);
    if let Ok(Value::Object(arguments)) = serde_json::from_str(arguments) {
        action.extend(arguments.into_iter().filter(|(field, _)| field != "action"));
    }
    format!("{FENCE}\n{}\n```", Value::Object(action))
}

/// Reads an answer without tool calls: the first fenced `arbiter` JSON block is an action, and so is a tool call
/// in a model's own template. Plain text is the end of the work. What the model thought aloud counts for none of
/// them. The error is for the model.
pub fn parse_answer(text: &str) -> Result<Vec<Action>, String> {
    let visible = strip_reasoning(text);
    if let Some((_, rest)) = visible.split_once(FENCE) {
        // Reads to the end of the JSON and not to the next fence, for a text within it may hold fences too.
        let block = serde_json::Deserializer::from_str(rest).into_iter().next();
        let value = match block {
            Some(Ok(value)) => value,
            Some(Err(wrong)) => return Err(format!("the arbiter block is no JSON: {wrong}")),
            None => return Err("the arbiter block is empty".to_owned()),
        };
        return parse_action(value).map(|action| vec![action]);
    }
    let visible = visible.trim();
    if visible.is_empty() {
        return Err("the answer is empty".to_owned());
    }
    match text_calls::find(visible) {
        TextCalls::None => {
            let action = Action::Finish { summary: visible.to_owned() };
            check_texts(&action)?;
            Ok(vec![action])
        }
        TextCalls::Found(calls) => {
            calls.iter().map(|(name, arguments)| parse_tool_call(name, &arguments.to_string())).collect()
        }
        TextCalls::Unreadable => Err(format!(
            "the text holds the markup of a tool call that cannot be read; answer with one fenced block: \
             {FENCE} {{\"action\": \"finish\", \"summary\": \"…\"}}```"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an answer of one action.
    fn one_action(text: &str) -> Result<Action, String> {
        let mut actions = parse_answer(text)?;
        assert_eq!(actions.len(), 1, "{text}");
        Ok(actions.remove(0))
    }

    #[test]
    fn tool_call_parses_and_invalid_one_is_explained() {
        let action = parse_tool_call("finish", r#"{"summary": "done"}"#).unwrap();
        assert_eq!(action, Action::Finish { summary: "done".into() });
        let asked =
            parse_tool_call("ask_decision", r#"{"question": "Which?", "options": ["a", "b"]}"#).unwrap();
        assert!(matches!(asked, Action::AskDecision { options, .. } if options == ["a", "b"]));
        let handed = parse_tool_call("delegate", r#"{"role": "qa", "reason": "tests"}"#).unwrap();
        assert_eq!(
            handed,
            Action::Delegate { target: HandoffTarget::Role("qa".into()), reason: "tests".into() }
        );
        let made = parse_tool_call("create_bead", r#"{"title": "t", "wait": true}"#).unwrap();
        assert!(matches!(made, Action::CreateBead { wait: WaitForCreated::Yes, role: None, .. }));
        let both = r#"{"role": "qa", "agent_id": "a", "reason": "r"}"#;
        for (name, arguments) in [
            ("delegate", both),
            ("delegate", r#"{"reason": "r"}"#),
            ("create_bead", "{}"),
            ("finish", "{}"),
            ("finish", "["),
            ("fly", "{}"),
            ("finish", r#"{"summary": " "}"#),
        ] {
            assert!(parse_tool_call(name, arguments).is_err(), "{name} {arguments}");
        }
    }

    #[test]
    fn plain_text_finishes_and_fenced_block_is_an_action() {
        let plain = one_action("<think>hm</think>\nAll done.").unwrap();
        assert_eq!(plain, Action::Finish { summary: "All done.".into() });
        let fenced =
            one_action("I cannot.\n```arbiter\n{\"action\": \"block\", \"reason\": \"no access\"}\n```\n")
                .unwrap();
        assert_eq!(fenced, Action::Block { reason: "no access".into() });
        assert!(one_action("```arbiter\nnonsense\n```").is_err());
        assert!(one_action("<think>only thoughts</think>").is_err());
    }

    #[test]
    fn too_long_model_text_is_refused_with_its_limit() {
        let longest = "x".repeat(limits::MAX_RESULT);
        assert!(parse_answer(&longest).is_ok());
        assert!(parse_answer(&format!("{longest}x")).unwrap_err().contains("at most 262144 bytes"));
        let reason = json!({"reason": "x".repeat(limits::MAX_REASON + 1)}).to_string();
        assert!(parse_tool_call("block", &reason).unwrap_err().starts_with("reason must have"));
    }

    #[test]
    fn action_inside_reasoning_is_ignored() {
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
            assert_eq!(one_action(&text), Ok(done.clone()), "{text}");
        }
        assert!(one_action(&format!("<think>cut off {draft}")).is_err());
        assert_eq!(
            one_action(&format!("<think>{draft}</think>All done.")),
            Ok(Action::Finish { summary: "All done.".into() })
        );
        assert!(one_action("```arbiter").is_err());
    }

    #[test]
    fn tool_call_in_text_is_that_call() {
        let template =
            "<tool_call>\n{\"name\": \"block\", \"arguments\": {\"reason\": \"no access\"}}\n</tool_call>";
        assert_eq!(one_action(template), Ok(Action::Block { reason: "no access".into() }));
        assert_eq!(one_action(&format!("<think>{template}</think>Done.")), one_action("Done."));
        assert!(parse_answer("<tool_call>\n{\"name\": \"fly\"}\n</tool_call>").is_err());
        assert!(parse_answer("[TOOL_CALLS]block[ARGS]{\"why\": 1}").is_err(), "its arguments are wrong");
    }

    #[test]
    fn fenced_call_reads_back_as_its_action() {
        let text = fenced_call("block", r#"{"reason": "no access"}"#);
        assert_eq!(one_action(&text), Ok(Action::Block { reason: "no access".into() }));
        let told = fenced_instructions();
        assert!(tools().iter().all(|tool| told.contains(tool.name)), "{told}");
    }

    #[test]
    fn every_offered_tool_parses() {
        let calls: Vec<Result<Action, String>> = tools()
            .iter()
            .map(|tool| {
                let required = tool.parameters["required"].as_array().unwrap();
                let mut arguments: serde_json::Map<String, Value> =
                    required.iter().map(|name| (name.as_str().unwrap().to_owned(), json!("x"))).collect();
                if tool.name == "delegate" {
                    arguments.insert("role".to_owned(), json!("x"));
                }
                parse_tool_call(tool.name, &Value::Object(arguments).to_string())
            })
            .collect();
        assert!(calls.iter().all(Result::is_ok), "{calls:?}");
    }
}
