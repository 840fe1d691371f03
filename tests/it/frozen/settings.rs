//! Configuration: keys, defaults, environment variables, and the error texts of values that do not fit.

use super::freeze;
use crate::tidy::{code, files, is_test};
use arbiter::config::{ConfigError, Settings, Source};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Returns the name of the environment variable that sets a key.
fn variable(key: &str) -> String {
    format!("ARBITER_{}", key.replace('.', "__").to_uppercase())
}

/// Returns the error text for a value that an environment variable gives a key; `None` when the value fits.
fn complaint(key: &str, value: &str) -> Option<String> {
    let variables = [(variable(key), value.to_owned())];
    match Settings::load(None, variables, &[]) {
        Ok(_) => None,
        Err(ConfigError::Invalid { problems }) => {
            Some(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        Err(other) => Some(other.to_string()),
    }
}

#[test]
fn settings_and_their_variables_are_as_frozen() {
    let mut text = String::new();
    for entry in Settings::built_in().entries() {
        let value = entry.value.as_str().map_or_else(|| entry.value.to_string(), str::to_owned);
        // The variable belongs to the key if the key's value then comes from it.
        let name = variable(&entry.key);
        let loaded = Settings::load(None, [(name.clone(), value)], &[]);
        let is_taken = loaded.is_ok_and(|loaded| loaded.sources[&entry.key] == Source::Environment { name });
        let name = if is_taken { variable(&entry.key) } else { "no variable".to_owned() };
        writeln!(text, "{} = {}  # {name}", entry.key, entry.value).unwrap();
    }
    freeze("settings", &text);
}

#[test]
fn complaints_about_settings_are_as_frozen() {
    let mut text = String::new();
    for entry in Settings::built_in().entries() {
        for value in ["-1", "0", "99999999999999", "nonsense"] {
            if let Some(complaint) = complaint(&entry.key, value) {
                writeln!(text, "{} = {value}\n    {complaint}", entry.key).unwrap();
            }
        }
    }
    for (key, value) in
        [("http.lisen", "1"), ("htpp.listen", "1"), ("nothing.like.it", "1"), ("log.targets", "1")]
    {
        writeln!(text, "{key} = {value}\n    {}", complaint(key, value).unwrap()).unwrap();
    }
    freeze("settings_complaints", &text);
}

/// Tells by the form of a literal whether it names an environment variable.
fn is_variable(literal: &str) -> bool {
    let is_word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    // Cargo sets its own at build time.
    let is_long = literal.contains('_') && !literal.ends_with('_') && !literal.starts_with("CARGO_");
    (is_long || literal == "HOME") && literal.chars().all(is_word)
}

#[test]
fn variables_that_are_no_settings_are_as_frozen() {
    let mut found = BTreeSet::new();
    for folder in ["src", "actors"] {
        let sources = files(folder, &[".rs"]);
        let testkit = |path: &std::path::Path| path.starts_with("src/testkit") || is_test(path);
        for (_, text) in sources.iter().filter(|(path, _)| !testkit(path)) {
            for (_, line) in code(text) {
                let literals = line.split('"').skip(1).step_by(2);
                found.extend(literals.filter(|literal| is_variable(literal)).map(str::to_owned));
            }
        }
    }
    freeze("variables", &found.into_iter().collect::<Vec<_>>().join("\n"));
}
