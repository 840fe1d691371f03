//! Names: types, predicates, setters and tests.

use crate::tidy::{code, files, is_test, root};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Names that each noun of a crate may have for itself.
const SHARED_TYPE_NAMES: &[&str] =
    &["Command", "Error", "Flag", "Kind", "Reply", "Response", "Status", "Trigger"];
/// The commands of the program: each file defines the arguments of its own subcommands.
const COMMANDS: &str = "src/cli/command";
/// Folders of packages; anything else belongs to the package at the root.
const PACKAGES: &[&str] = &[
    "actors",
    "src/beadfiles",
    "src/core",
    "src/files",
    "src/providers",
    "src/store",
    "src/temporal",
    "src/testkit",
    "src/tls",
    "src/ui",
    "src/vault",
];
/// The most characters of a test's name.
const MAX_TEST_NAME: usize = 60;
/// The number of tests before they were renamed.
const RENAMED_TESTS: usize = 878;

/// Returns the package of a file by its folder.
fn package(path: &Path) -> &'static str {
    PACKAGES.iter().find(|folder| path.starts_with(folder)).copied().unwrap_or(".")
}

/// Returns the name behind a keyword, such as that of a function behind `fn `.
fn name_after<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let (before, rest) = line.split_once(keyword)?;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_keyword = before.is_empty() || before.ends_with([' ', '(']);
    let name = rest.split(|c| !is_word(c)).next()?;
    (is_keyword && !name.is_empty()).then_some(name)
}

/// Returns the names of the tests of a source file, in its order.
fn tests_of(text: &str) -> Vec<&str> {
    let is_attribute = |line: &str| {
        ["#[test]", "#[tokio::test", "#[actix::test", "#[actix_rt::test"].iter().any(|a| line.starts_with(a))
    };
    let (mut names, mut is_marked) = (Vec::new(), false);
    for line in text.lines().map(str::trim_start) {
        if is_attribute(line) {
            is_marked = true;
        } else if is_marked && let Some(name) = name_after(line, "fn ") {
            names.push(name);
            is_marked = false;
        }
    }
    names
}

#[test]
fn public_type_name_is_unique_in_its_crate() {
    let mut definitions: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
    for (path, text) in ["src", "actors"].iter().flat_map(|folder| files(folder, &[".rs"])) {
        if is_test(&path) || path.starts_with(COMMANDS) {
            continue;
        }
        for (_, line) in code(&text).filter(|(_, line)| line.starts_with("pub")) {
            let name =
                ["struct ", "enum ", "trait ", "type "].iter().find_map(|keyword| name_after(line, keyword));
            if let Some(name) = name
                && !line.contains("fn ")
                && !SHARED_TYPE_NAMES.contains(&name)
            {
                let places = definitions.entry((package(&path), name.to_owned())).or_default();
                places.push(path.display().to_string());
            }
        }
    }
    assert!(definitions.len() > 100, "the types are found");
    definitions.retain(|_, places| places.len() > 1);
    assert!(definitions.is_empty(), "types with the same name: {definitions:#?}");
}

#[test]
fn predicate_returns_bool() {
    let mut wrong = Vec::new();
    for (path, text) in ["src", "actors", "tests"].iter().flat_map(|folder| files(folder, &[".rs"])) {
        let lines: Vec<(usize, &str)> = code(&text).collect();
        for (at, (number, line)) in lines.iter().enumerate() {
            let Some(name) = name_after(line, "fn ") else { continue };
            if !["is_", "has_", "can_"].iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            let lines_of = lines[at..].iter().map(|(_, line)| *line);
            let end =
                lines_of.clone().position(|line| line.contains('{') || line.ends_with(';')).unwrap_or(0);
            let signature: String = lines_of.take(end + 1).collect();
            let signature = signature.split('{').next().unwrap();
            let returned = signature.rsplit_once("->").map_or("()", |(_, returned)| returned);
            if !returned.contains("bool") {
                wrong.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "predicates that return no bool: {wrong:#?}");
}

#[test]
fn setter_name_begins_with_set() {
    let mut wrong = Vec::new();
    for (path, text) in ["src", "actors", "tests"].iter().flat_map(|folder| files(folder, &[".rs"])) {
        let lines: Vec<(usize, &str)> = code(&text).collect();
        for three in lines.windows(3) {
            let [(number, head), (_, body), (_, end)] = three else { continue };
            let Some(name) = name_after(head, "fn ") else { continue };
            // `self.name = value;` and nothing else.
            let assigned = body.strip_prefix("self.").and_then(|rest| rest.split_once(" = "));
            let is_field = |field: &str| field.chars().all(|c| c.is_alphanumeric() || c == '_');
            let is_argument = |value: &str| head.contains(&format!("{}: ", value.trim_end_matches(';')));
            let is_setter = head.contains("(&mut self, ")
                && *end == "}"
                && assigned.is_some_and(|(field, value)| is_field(field) && is_argument(value));
            if is_setter && !name.starts_with("set_") {
                wrong.push(format!("{}:{number}: {head}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "setters with another name: {wrong:#?}");
}

#[test]
fn test_name_fits_in_60_characters() {
    let (mut count, mut wrong) = (0, Vec::new());
    for (path, text) in files(".", &[".rs"]) {
        let names = tests_of(&text);
        count += names.len();
        let long = names.into_iter().filter(|name| name.len() > MAX_TEST_NAME);
        wrong.extend(long.map(|name| format!("{}: {name}", path.display())));
    }
    assert!(count >= RENAMED_TESTS, "{count} tests");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn renamed_tests_table_names_every_test_once() {
    let table = std::fs::read_to_string(root().join("tests/renamed_tests.tsv")).unwrap();
    let rows: Vec<[&str; 3]> = table
        .lines()
        .skip(1)
        .map(|row| row.split('\t').collect::<Vec<_>>().try_into().expect("a row has three columns"))
        .collect();
    let existing: BTreeSet<String> = files(".", &[".rs"])
        .iter()
        .flat_map(|(path, text)| {
            tests_of(text).into_iter().map(|name| format!("{}::{name}", path.display())).collect::<Vec<_>>()
        })
        .collect();
    let old: BTreeSet<&str> = rows.iter().map(|[_, old, _]| *old).collect();
    let new: BTreeSet<&str> = rows.iter().map(|[_, _, new]| *new).collect();
    let gone: Vec<&&str> = new.iter().filter(|name| !existing.contains(**name)).collect();
    assert!(gone.is_empty(), "tests/renamed_tests.tsv names tests that do not exist: {gone:#?}");
    assert_eq!((rows.len(), old.len(), new.len()), (RENAMED_TESTS, RENAMED_TESTS, RENAMED_TESTS));
}
