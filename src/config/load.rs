//! Laying the layers over each other.
//!
//! Owns the order of the layers and the question of which one set a value.

use super::{ConfigError, ConfigProblem, Flag, Settings, Source, file, layers, nearest, ranges};
use figment::{Figment, providers::Serialized};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};
use toml::Value;

/// The settings in force, and where each came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The source of every value, by dotted key; all keys are there.
    pub sources: BTreeMap<String, Source>,
}

/// One setting with its value and source, as `arbiter config show` prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// The dotted key.
    pub key: String,
    /// The value in force.
    pub value: serde_json::Value,
    /// Its source: `default`, `FILE:LINE`, `env NAME` or `flag --NAME`.
    pub source: Source,
}

impl Settings {
    /// The defaults, then `file`, then `environment`, then `flags`: the later one wins.
    ///
    /// `environment` is the whole environment; only `ARBITER_SECTION__KEY` is looked at. Everything
    /// that is wrong is reported at once, each with its key and place.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[Flag],
    ) -> Result<Loaded, ConfigError> {
        let defaults = values_of(&Self::default());
        let mut above = Vec::new();
        if let Some(path) = file {
            above.push(file::read(path)?);
        }
        above.push(layers::from_environment(environment, &defaults));
        above.push(layers::from_flags(flags, &defaults));
        combine(&defaults, above)
    }

    /// The settings and sources of a program that reads neither file nor environment nor flags.
    pub fn built_in() -> Loaded {
        let settings = Self::default();
        let sources = values_of(&settings).into_keys().map(|key| (key, Source::Default)).collect();
        Loaded { settings, sources }
    }
}

impl Loaded {
    /// Every setting with its value and source, sorted by key.
    pub fn entries(&self) -> Vec<Entry> {
        let mut values = values_of(&self.settings);
        self.sources
            .iter()
            .filter_map(|(key, source)| {
                Some(Entry {
                    key: key.clone(),
                    value: serde_json::to_value(values.remove(key)?).ok()?,
                    source: source.clone(),
                })
            })
            .collect()
    }
}

/// Every value of `settings` by dotted key.
pub fn values_of(settings: &Settings) -> BTreeMap<String, Value> {
    let table = toml::Table::try_from(settings).unwrap_or_default();
    layers::flatten(&table).into_iter().collect()
}

fn combine(defaults: &BTreeMap<String, Value>, above: Vec<layers::Layer>) -> Result<Loaded, ConfigError> {
    let mut sources: BTreeMap<String, Source> =
        defaults.keys().map(|key| (key.clone(), Source::Default)).collect();
    let mut problems = Vec::new();
    let mut figment = Figment::from(Serialized::defaults(Settings::default()));
    for layer in above {
        for (key, source) in layer.keys {
            if let Some(known) = sources.get_mut(&key) {
                *known = source;
            } else if let Some(problem) = unknown_key_problem(key, source, &layer.table, defaults) {
                problems.push(problem);
            }
        }
        figment = figment.merge(Serialized::defaults(layer.table));
    }
    if !problems.is_empty() {
        return Err(ConfigError::Invalid { problems });
    }
    let settings: Settings = figment.extract().map_err(|error| ConfigError::Invalid {
        problems: error.into_iter().map(|one| wrong_type(&one, &sources)).collect(),
    })?;
    let problems = ranges::check(&settings, &values_of(&settings), &sources);
    if problems.is_empty() {
        Ok(Loaded { settings, sources })
    } else {
        Err(ConfigError::Invalid { problems })
    }
}

/// The problem with a key that is no setting; none for a section that is there but empty.
fn unknown_key_problem(
    key: String,
    found_in: Source,
    table: &toml::Table,
    defaults: &BTreeMap<String, Value>,
) -> Option<ConfigProblem> {
    let section = format!("{key}.");
    if defaults.keys().any(|known| known.starts_with(&section)) {
        let mut at = Some(table);
        let mut value = None;
        for part in key.split('.') {
            value = at.and_then(|inner| inner.get(part));
            at = value.and_then(Value::as_table);
        }
        let empty = value.is_some_and(Value::is_table);
        return (!empty).then(|| ConfigProblem::Unfit {
            key,
            found_in,
            detail: "is a section, not a value".to_owned(),
        });
    }
    let sections = defaults.keys().filter_map(|known| Some(known.rsplit_once('.')?.0));
    let known = defaults.keys().map(String::as_str).chain(sections);
    let nearest = nearest::nearest(&key, known)?.to_owned();
    Some(ConfigProblem::UnknownKey { key, found_in, nearest })
}

fn wrong_type(error: &figment::Error, sources: &BTreeMap<String, Source>) -> ConfigProblem {
    // The path of an entry of a list goes one step beyond the key.
    let known = (1..=error.path.len())
        .rev()
        .find_map(|length| sources.get_key_value(&error.path[..length].join(".")));
    let (key, found_in) = match known {
        Some((key, source)) => (key.clone(), source.clone()),
        None => (error.path.join("."), Source::Default),
    };
    ConfigProblem::Unfit { key, found_in, detail: error.kind.to_string() }
}

#[cfg(test)]
mod tests;
