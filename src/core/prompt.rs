//! Prompts of agents: the system prompt describes the agent, the user prompt the task.

pub mod console;
pub mod reasoning;
mod text_calls;
pub mod tools;

use crate::agent::Agent;
use crate::agent::persona::Persona;
use crate::bead::Bead;
use crate::project::Project;
use serde_json::{Map, Value};

/// The longest text of a comment or a result that goes into a prompt, in characters.
const MAX_EXCERPT_CHARS: usize = 4_000;

/// Context of a bead for its prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptContext {
    /// Results of beads it depended on: title and summary.
    pub results: Vec<(String, String)>,
    /// Comments: author and text, oldest first.
    pub comments: Vec<(String, String)>,
    /// Questions and their answers.
    pub decisions: Vec<(String, String)>,
}

/// Builds the system prompt: the agent's identity and its way of working on beads.
pub fn system(agent: &Agent, persona: Option<&Persona>) -> String {
    let mut text = introduction(agent, persona);
    text.push_str(
        "\n\nYou are given one work item at a time. Do it and call `finish` with a summary of what came of \
         it. Call `ask_decision` when a person has to decide, `block` when it cannot be done, `delegate` to \
         hand it on, `create_bead` for work that another agent has to do first or besides, `comment` to \
         keep a remark. Without tools, answer with one fenced block: ```arbiter {\"action\": \"finish\", \
         \"summary\": \"…\"}```; plain text counts as `finish`.",
    );
    with_system_prompt(text, agent)
}

/// Builds the system prompt of an agent that answers a question.
pub fn persona(agent: &Agent, persona: Option<&Persona>) -> String {
    with_system_prompt(introduction(agent, persona), agent)
}

/// Builds the prompt of a question to an agent, with its context.
pub fn question_prompt(question: &str, context: &Map<String, Value>) -> String {
    let mut text = question.to_owned();
    for (name, value) in context {
        text.push_str(&format!("\n\n{name}: {}", plain(value)));
    }
    text
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The agent's own configuration comes last, so that it overrides the persona.
fn with_system_prompt(mut text: String, agent: &Agent) -> String {
    if let Some(own) = &agent.config.system_prompt {
        text.push_str(&format!("\n\n{own}"));
    }
    text
}

fn introduction(agent: &Agent, persona: Option<&Persona>) -> String {
    let mut text = format!("You are {}, an agent of a company that Arbiter runs.", agent.name);
    let persona_role = agent.persona_name.as_deref().and_then(|name| name.rsplit('/').next());
    if let Some(role) = agent.role.as_deref().or(persona_role) {
        text.push_str(&format!(" Your role: {role}."));
    }
    if !agent.description.is_empty() {
        text.push_str(&format!("\n{}", agent.description));
    }
    if let Some(persona) = persona {
        text.push_str(&format!("\n\n{}", persona.prompt_text()));
    }
    text
}

/// Builds the user prompt: the task.
pub fn user(project: &Project, bead: &Bead, context: &PromptContext) -> String {
    let mut text = format!("Project: {}\nWork item {}: {}\n", project.name, bead.id, bead.title);
    text.push_str(&format!("Type: {}. Priority: {}.\n", bead.bead_type, bead.priority));
    section(&mut text, "Description", &bead.description);
    section(&mut text, "Done when", &bead.acceptance_criteria);
    for (name, value) in project.context.iter().chain(&bead.context) {
        text.push_str(&format!("\n{name}: {}\n", plain(value)));
    }
    list(&mut text, "Results of what this item depended on", &context.results);
    list(&mut text, "Decisions", &context.decisions);
    list(&mut text, "Comments", &context.comments);
    if let Some(error) = bead.last_error.as_ref().filter(|_| bead.attempts > 0) {
        text.push_str(&format!("\nAttempt {} failed: {}\n", bead.attempts, excerpt(error)));
    }
    text
}

fn section(text: &mut String, title: &str, body: &str) {
    if !body.is_empty() {
        text.push_str(&format!("\n{title}:\n{body}\n"));
    }
}

fn list(text: &mut String, title: &str, items: &[(String, String)]) {
    if items.is_empty() {
        return;
    }
    text.push_str(&format!("\n{title}:\n"));
    for (head, body) in items {
        text.push_str(&format!("- {head}: {}\n", excerpt(body)));
    }
}

/// The beginning of a text that may be long.
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(MAX_EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
