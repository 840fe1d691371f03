//! Layers of values above the built-in defaults, each key with its place.
//!
//! Owns how a variable's or a flag's text becomes a value; the default's type decides, so that
//! `8080` stays text where text is wanted.

use super::Source;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// The prefix of environment variables that are settings.
const PREFIX: &str = "ARBITER_";
/// The separator of section and key in a variable's name.
const SEPARATOR: &str = "__";

/// A flag of the command line that sets a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name with the dashes, as `--listen`.
    pub name: &'static str,
    /// The dotted key it sets.
    pub key: &'static str,
    /// The value's text.
    pub value: String,
}

/// The values of one layer.
#[derive(Debug, Default)]
pub struct Layer {
    /// The values, nested by section.
    pub table: Table,
    /// Each dotted key of the table with its place.
    pub keys: Vec<(String, Source)>,
}

impl Layer {
    fn set(&mut self, key: String, value: Value, source: Source) {
        if insert(&mut self.table, &key, value) {
            self.keys.push((key, source));
        }
    }
}

/// The layer of the environment: every `ARBITER_SECTION__KEY`; other variables are not looked at.
pub fn from_environment(
    environment: impl IntoIterator<Item = (String, String)>,
    defaults: &BTreeMap<String, Value>,
) -> Layer {
    let mut layer = Layer::default();
    for (name, text) in environment {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if !rest.contains(SEPARATOR) {
            continue;
        }
        let key = rest.to_ascii_lowercase().replace(SEPARATOR, ".");
        let value = parse_as_default_type(&text, defaults.get(&key));
        layer.set(key, value, Source::Environment { name });
    }
    layer
}

/// The layer of the command line.
pub fn from_flags(flags: &[Flag], defaults: &BTreeMap<String, Value>) -> Layer {
    let mut layer = Layer::default();
    for flag in flags {
        let value = parse_as_default_type(&flag.value, defaults.get(flag.key));
        layer.set(flag.key.to_owned(), value, Source::Flag { name: flag.name.to_owned() });
    }
    layer
}

/// Every value of `table` that is no section, by dotted key; an empty section counts as a value.
pub fn flatten(table: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) if !inner.is_empty() => {
                let below = flatten(inner).into_iter();
                found.extend(below.map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            _ => found.push((name.clone(), value.clone())),
        }
    }
    found
}

/// `text` in the type of the default; left as text when it does not fit, for the type check to refuse.
fn parse_as_default_type(text: &str, default: Option<&Value>) -> Value {
    let text = text.trim();
    let fitting = match default {
        Some(Value::Integer(_)) => text.replace('_', "").parse().ok().map(Value::Integer),
        Some(Value::Boolean(_)) => text.parse().ok().map(Value::Boolean),
        Some(Value::Array(_)) => Some(Value::Array(list(text))),
        _ => None,
    };
    fitting.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// The entries of a list written with commas, in brackets and quotes or not.
fn list(text: &str) -> Vec<Value> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    inner
        .split(',')
        .map(|entry| entry.trim().trim_matches(['"', '\'']))
        .filter(|entry| !entry.is_empty())
        .map(|entry| Value::String(entry.to_owned()))
        .collect()
}

/// Puts `value` at the dotted `key`; false when a part of the way is no section.
fn insert(table: &mut Table, key: &str, value: Value) -> bool {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            true
        }
        Some((section, rest)) => {
            let inner = table.entry(section.to_owned()).or_insert_with(|| Value::Table(Table::new()));
            inner.as_table_mut().is_some_and(|inner| insert(inner, rest, value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> BTreeMap<String, Value> {
        BTreeMap::from([
            ("http.listen".to_owned(), Value::String("127.0.0.1:8080".to_owned())),
            ("http.allowed_hosts".to_owned(), Value::Array(Vec::new())),
            ("store.readers".to_owned(), Value::Integer(4)),
        ])
    }

    #[test]
    fn variable_is_parsed_as_the_type_of_the_default() {
        let layer = from_environment(
            [
                ("ARBITER_HTTP__LISTEN", "8080"),
                ("ARBITER_HTTP__ALLOWED_HOSTS", "a.example, b.example"),
                ("ARBITER_STORE__READERS", "1_0"),
                ("ARBITER_PASSWORD", "never looked at"),
                ("HOME", "/root"),
            ]
            .map(|(name, text)| (name.to_owned(), text.to_owned())),
            &defaults(),
        );
        let found: BTreeMap<_, _> = flatten(&layer.table).into_iter().collect();
        assert_eq!(found.len(), 3);
        assert_eq!(found["http.listen"].as_str(), Some("8080"));
        assert_eq!(found["http.allowed_hosts"].as_array().map(Vec::len), Some(2));
        assert_eq!(found["store.readers"].as_integer(), Some(10));
    }

    #[test]
    fn list_value_may_have_brackets_and_quotes() {
        assert_eq!(list(r#"["a", 'b']"#), list("a,b"));
        assert!(list("[]").is_empty());
    }
}
