//! The OpenAPI document, the help of every command, the problem types and the event types.

use super::freeze;
use crate::harness::program::{command, run};
use arbiter::core::kernel::event_type::EventType;
use arbiter::http::{ProblemType, document};
use serde_json::Value;
use std::fmt::Write;

/// Fields for people, which programs ignore.
const TEXTS: [&str; 2] = ["description", "summary"];

/// Moves the texts out of a document into `found`, each below its JSON pointer.
fn take_texts(value: &mut Value, pointer: &str, found: &mut String) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let text = value.as_str().filter(|_| TEXTS.contains(&name.as_str()));
                if let Some(text) = text {
                    writeln!(found, "{pointer}/{name}\n    {}", text.replace('\n', "\n    ")).unwrap();
                }
                text.is_none()
            });
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                take_texts(value, &format!("{pointer}/{name}"), found);
            }
        }
        Value::Array(entries) => {
            for (place, value) in entries.iter_mut().enumerate() {
                take_texts(value, &format!("{pointer}/{place}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn openapi_document_is_as_frozen() {
    let mut document = document();
    document.sort_all_objects();
    let mut texts = String::new();
    take_texts(&mut document, "", &mut texts);
    freeze("openapi_shape", &serde_json::to_string_pretty(&document).unwrap());
    freeze("openapi_texts", &texts);
}

/// Appends the help of a command and of all its subcommands, in the order of their listing.
async fn helps(words: &[String], helps: &mut String) {
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path());
    command.args(words).arg("--help").env("COLUMNS", "100");
    let ended = run(command, "").await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{words:?}");
    let line = ["arbiter"].into_iter().chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    writeln!(helps, "$ {line} --help\n{}", ended.stdout).unwrap();
    let listed = ended.stdout.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
    let listed = listed.lines().take_while(|line| !line.is_empty());
    // The continuation of an explanation is indented further.
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for name in names.map(|line| line.split_whitespace().next().unwrap()).filter(|name| *name != "help") {
        let below: Vec<String> = words.iter().cloned().chain([name.to_owned()]).collect();
        Box::pin(self::helps(&below, helps)).await;
    }
}

#[tokio::test]
async fn help_of_every_command_is_as_frozen() {
    let mut all = String::new();
    helps(&[], &mut all).await;
    freeze("help", &all);
}

#[test]
fn problem_types_are_as_frozen() {
    let mut kinds: Vec<_> = ProblemType::all().collect();
    kinds.sort_by_key(|kind| kind.code.as_str());
    let line =
        |kind: &ProblemType| format!("{} {} {}\n    {}\n", kind.code, kind.status, kind.title, kind.meaning);
    freeze("problem_types", &kinds.iter().map(line).collect::<String>());
}

#[test]
fn event_types_are_as_frozen() {
    let mut names: Vec<&str> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
    names.sort_unstable();
    freeze("event_types", &names.join("\n"));
}
