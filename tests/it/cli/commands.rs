//! Every command that the help and the pages name.
//!
//! Each leaf of the command tree runs against a live server, or stands in [`NOT_RUN`] with a reason. A command in
//! a page is parsed as the program parses it.

use crate::harness::program::private_file;
use crate::harness::{Harness, KEY};
use crate::tidy::root;
use arbiter::cli::Cli;
use arbiter_testkit::{Script, ScriptedProvider};
use clap::CommandFactory;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Commands that this test does not run.
const NOT_RUN: &[(&str, &str)] = &[
    ("serve", "it is the server; the harness starts it"),
    ("demo", "it runs until a signal; cli::demo has it"),
    ("worker", "it needs a Temporal server; temporal::workers has it"),
    ("rebuild", "it needs a Temporal server and an empty directory; temporal::rebuild has it"),
    ("temporal rotate", "it needs a Temporal server; temporal::tls rotates over HTTP"),
    ("vault reset", "it works without a server; vault::reset has it"),
    ("vault accept-rollback", "it needs a key file that was replaced; tests/it/vault.rs has it"),
    ("token reset", "it works without a server; admission::sessions has it"),
    ("run cancel", "it needs a run in progress; agent::work cancels one over HTTP"),
    ("bead release", "a released bead is handed out again at once; bead::pulls has it"),
    ("project assign", "it needs a position of the role; agent::org_charts has it"),
    ("project unassign", "it needs a position of the role; agent::org_charts has it"),
];

/// Commands in the order in which they succeed. `{name}` stands for a value. `=> name` keeps the first word of the
/// output without its colon, and `=> name.json` the id of the last entry of a JSON list.
const STEPS: &str = r#"
status
vault status
config show
config check
openapi
completions bash
temporal status
temporal workflows
project add Shop --id shop
project list
project show shop
provider add Main --id main --type custom --endpoint {provider} --api-key-stdin
provider heartbeat main
provider list
provider show main
provider negotiate main
provider disable main
provider enable main
provider heartbeat main
provider usage main
provider add Spare --id spare --type custom --endpoint {provider}
provider delete spare
key list
key add Other --id other --host example.com --api-key-stdin
key rotate other --api-key-stdin
key delete other
persona list
persona show default/ceo --text persona
persona add team/tester --from {home}/PERSONA.md
persona edit team/tester --from {home}/PERSONA.md
persona delete team/tester
agent add Coder --id coder --provider main --project shop
agent list
agent show coder
agent ask coder --project shop "Which table holds the prices?"
agent shutdown coder --reason "maintenance"
agent restart coder
agent clone coder "Coder II"
agent add Hand --id hand --kind external --project shop
agent add Gone --id gone --kind external
agent delete gone
project org-chart shop
bead add One --id one --project shop --assigned-to hand
bead list
bead ready
bead show one
bead why one
bead claim one --agent hand => lease
bead heartbeat one --lease-token {lease}
bead why one
lock acquire shop src/a.rs --agent hand --bead one
lock list
lock renew shop src/a.rs --agent hand --bead one
lock release shop src/a.rs
bead complete one --summary "it is done" --lease-token {lease}
bead comment one "well done"
bead comments one
bead why one
bead add Two --id two --project shop --assigned-to hand
bead block two --reason "no paint"
project park shop "waiting for the new contract"
bead unblock two
bead escalate two --reason "the two requirements contradict each other"
project resume shop
decision list --status pending
decision add "Go on?" --project shop --option yes --option no => decision
decision show {decision}
decision decide {decision} yes
decision add "Red or blue?" --project shop --option red --option blue => decision
decision cancel {decision} --reason "green"
bead add Three --id three --project shop --assigned-to hand
bead close three --reason "obsolete"
bead graph --project shop
bead export --project shop --output {home}/issues.jsonl
bead import --project shop --dry-run {home}/issues.jsonl
project add Old --id old
project close old
project reopen old
token list
token add ci --role viewer => token
token list --json => token.json
token revoke {token}
run list
run list --json => run.json
run show {run}
budget set total month 200
budget list
budget remove total month
usage --by agent --per day
repl "What is stuck, and why?"
events list
events tail --after 0 --limit 1
audit verify
vault export {home}/keys.json --password-file {home}/password
vault import {home}/keys.json --on-conflict skip --password-file {home}/password
vault lock
vault unlock --password-file {home}/password
vault rotate --password-file {home}/password --new-password-file {home}/new-password
"#;

/// Splits a line as a shell does: blanks, both kinds of quotes, and a comment at the end.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ') => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// Returns every command without subcommands, as its words.
fn leaves(command: &clap::Command, path: &str, all: &mut BTreeSet<String>) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let path = format!("{path} {}", sub.get_name()).trim().to_owned();
        if sub.has_subcommands() {
            leaves(sub, &path, all);
        } else {
            all.insert(path);
        }
    }
}

fn all_leaves() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    leaves(&Cli::command(), "", &mut all);
    all
}

/// Returns the leaf that a line names.
fn leaf_of(line: &str, leaves: &BTreeSet<String>) -> Option<String> {
    let words = words(line);
    [2, 1]
        .into_iter()
        .filter_map(|count| words.get(..count))
        .map(|path| path.join(" "))
        .find(|path| leaves.contains(path))
}

/// Returns what a step keeps of its output.
fn kept(output: &str, name: &str) -> (String, String) {
    match name.strip_suffix(".json") {
        Some(name) => {
            let list: serde_json::Value = serde_json::from_str(output).unwrap();
            let last = list
                .as_array()
                .and_then(|all| all.last())
                .unwrap_or_else(|| panic!("no entry for {name}: {output}"));
            (name.to_owned(), last["id"].as_str().unwrap().to_owned())
        }
        None => {
            let word = output.split_whitespace().next().expect("an output");
            (name.to_owned(), word.trim_end_matches(':').to_owned())
        }
    }
}

#[test]
fn command_tree_is_covered_by_steps_or_reasons() {
    let leaves = all_leaves();
    let run: BTreeSet<String> = STEPS
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| leaf_of(line, &leaves).expect(line))
        .collect();
    let left: BTreeSet<String> = NOT_RUN.iter().map(|(leaf, _)| (*leaf).to_owned()).collect();
    assert!(run.is_disjoint(&left), "{left:?}");
    assert_eq!(run.union(&left).cloned().collect::<BTreeSet<_>>(), leaves);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_run_against_a_live_server() {
    let provider = ScriptedProvider::start(Script::default());
    let harness = Harness::new().await;
    let home = tempfile::tempdir().unwrap();
    private_file(home.path(), "PERSONA.md", "# Tester\n\nYou test what others build.\n");
    private_file(home.path(), "password", arbiter_testkit::TEST_PASSWORD);
    private_file(home.path(), "new-password", "another battery staple");
    let mut values = BTreeMap::from([
        ("home".to_owned(), home.path().to_str().unwrap().to_owned()),
        ("provider".to_owned(), provider.url()),
    ]);
    let mut failed = Vec::new();
    for step in STEPS.lines().filter(|line| !line.is_empty()) {
        let (line, keep) = step.split_once(" => ").map_or((step, None), |(line, name)| (line, Some(name)));
        let mut line = line.to_owned();
        for (name, value) in &values {
            line = line.replace(&format!("{{{name}}}"), value);
        }
        let words = words(&line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ended = harness.cli_with(&words, &format!("{KEY}\n")).await;
        if ended.code == Some(0) {
            values.extend(keep.map(|name| kept(&ended.stdout, name)));
        } else {
            failed.push(format!("{step}: {ended:?}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Returns the commands of a page, each with a word on where it stands: those in blocks of code as a shell gets
/// them, and those within the text.
fn documented(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut blocks, mut spans, mut is_code) = (Vec::new(), Vec::new(), false);
    for line in text.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            let command = trimmed.strip_prefix("$ ").unwrap_or(trimmed);
            // A dependency on the library begins the same way.
            let command = command.strip_prefix("arbiter ").filter(|rest| !rest.starts_with('='));
            blocks.extend(command.map(str::to_owned));
        } else {
            let code = line.split('`').skip(1).step_by(2);
            spans.extend(code.filter_map(|code| code.strip_prefix("arbiter ")).map(str::to_owned));
        }
    }
    (blocks, spans)
}

/// Parses a command as the program does, up to a pipe or a redirection.
fn parse(command: &str) -> Result<(), String> {
    let words = words(command);
    let words = words
        .iter()
        .map(String::as_str)
        .take_while(|word| !matches!(*word, "|" | ">" | ">>" | "&&" | "&" | "\\"));
    let outcome = Cli::command().try_get_matches_from(["arbiter"].into_iter().chain(words));
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if !error.use_stderr() => Ok(()),
        Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

#[test]
fn commands_in_pages_are_accepted_by_the_program() {
    let leaves = all_leaves();
    let mut pages =
        vec![root().join("README.md"), root().join("CONTRIBUTING.md"), root().join("SECURITY.md")];
    pages.extend(crate::tidy::files("docs", &[".md"]).into_iter().map(|(path, _)| root().join(path)));
    pages.extend(crate::tidy::files("deploy", &[".md"]).into_iter().map(|(path, _)| root().join(path)));
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in pages.iter().filter(|page| !page.ends_with("docs/reference/cli.md")) {
        let (blocks, spans) = documented(&fs::read_to_string(page).unwrap());
        seen += blocks.len() + spans.len();
        for command in blocks {
            wrong.extend(parse(&command).err().map(|why| format!("{}: {command}: {why}", page.display())));
        }
        for command in spans {
            // A command within the text may be named without its arguments.
            let is_named =
                leaves.iter().any(|leaf| leaf == &command || leaf.starts_with(&format!("{command} ")));
            let why = if is_named { None } else { parse(&command).err() };
            wrong.extend(why.map(|why| format!("{}: `{command}`: {why}", page.display())));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 50, "only {seen} commands were found");
}
