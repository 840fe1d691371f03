//! Documents that are made from tables, or must tell all of them, agree with these.

use crate::tidy::root;
use arbiter::core::kernel::state_machine::{StateMachine, mermaid};
use arbiter::core::kernel::vault;
use arbiter::core::{agent, bead, decision, project, provider};
use std::fs;

/// The most lines of the guide to the code.
const MAX_ARCHITECTURE: usize = 300;

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The fenced block behind `<!-- states: NAME -->`.
fn block<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<!-- states: {name} -->\n"))?;
    let (_, rest) = rest.split_once("```mermaid\n")?;
    rest.split("```").next()
}

/// Nothing, or what should stand in the guide.
fn stale<M: StateMachine>(text: &str) -> Option<String> {
    let wanted = mermaid::<M>();
    let name = M::ENTITY;
    (block(text, name) != Some(wanted.as_str()))
        .then(|| format!("<!-- states: {name} -->\n\n```mermaid\n{wanted}```\n"))
}

#[test]
fn architecture_diagrams_match_the_transition_tables() {
    let text = document("ARCHITECTURE.md");
    let stale: Vec<String> = [
        stale::<agent::Status>(&text),
        stale::<bead::Status>(&text),
        stale::<decision::Status>(&text),
        stale::<provider::Status>(&text),
        stale::<project::Status>(&text),
        stale::<vault::Status>(&text),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(stale.is_empty(), "ARCHITECTURE.md should hold:\n\n{}", stale.join("\n"));
    let markers = text.matches("<!-- states: ").count();
    assert_eq!(markers, 6, "each machine is drawn once");
    assert!(text.lines().count() <= MAX_ARCHITECTURE, "{} lines", text.lines().count());
}

#[test]
fn problem_code_is_documented_with_its_status() {
    let text = document("docs/reference/problems.md");
    let wanted: Vec<String> = arbiter::http::ProblemType::all()
        .map(|problem| format!("| `{}` | {} | {} |", problem.code, problem.status, problem.meaning))
        .collect();
    let missing: Vec<&String> = wanted.iter().filter(|row| !text.lines().any(|line| line == **row)).collect();
    assert!(missing.is_empty(), "docs/reference/problems.md should hold:\n{missing:#?}");
    let head =
        text.find("| type | status |").expect("docs/reference/problems.md has a table of problem types");
    let rows = text[head..].lines().take_while(|line| line.starts_with('|')).count();
    assert_eq!(
        rows,
        wanted.len() + 2,
        "docs/reference/problems.md has rows for problems that are never answered"
    );
}

#[test]
fn exit_codes_page_lists_every_code() {
    let text = document("docs/reference/exit-codes.md");
    for code in ["0", "1", "2", "69", "74", "75", "77", "78"] {
        assert!(
            text.contains(&format!("| {code} |")),
            "exit code {code} is not in docs/reference/exit-codes.md"
        );
    }
}
