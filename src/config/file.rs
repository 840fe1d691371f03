//! The configuration file as one layer, with the line of each key.
//!
//! Owns reading and parsing; knows no key by name.

use super::{ConfigError, Source, layers::Layer};
use std::path::Path;

/// The largest configuration file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads the file at `path` as a layer.
pub fn read(path: &Path) -> Result<Layer, ConfigError> {
    let text = arbiter_files::read_text(path, MAX_BYTES)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), source: error.into() })?;
    parse(&text, path)
}

/// `text` as the layer that a file at `path` holds.
pub fn parse(text: &str, path: &Path) -> Result<Layer, ConfigError> {
    let table: toml::Table = toml::from_str(text)
        .map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) })?;
    let keys = super::layers::flatten(&table)
        .into_iter()
        .map(|(key, _)| {
            let source = Source::File { path: path.to_owned(), line: line_of(text, &key) };
            (key, source)
        })
        .collect();
    Ok(Layer { table, keys })
}

/// The line, counted from 1, that sets the dotted `key`; a header's line for an empty table.
///
/// Reads the plain forms (`[section]`, `key = value`, `section.key = value`); what is written in
/// another form has no line.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let mut section = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let here = if let Some(header) = line.strip_prefix('[') {
            section = unquote(header.split(']').next()?);
            section.clone()
        } else if let Some((name, _)) = line.split_once('=') {
            let name = unquote(name);
            if section.is_empty() { name } else { format!("{section}.{name}") }
        } else {
            continue;
        };
        // An inline table sets all keys below its own name on this line.
        let inline = key.strip_prefix(here.as_str()).is_some_and(|rest| rest.starts_with('.'));
        if here == key || (inline && line.contains('{')) {
            return Some(index + 1);
        }
    }
    None
}

/// A key without quotes and blanks.
fn unquote(name: &str) -> String {
    name.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# first\ntop = 1\n[http]\nlisten = \"x\" # = 2\n[log.targets]\n\n\"workflow\" = 'debug'\n[store]\nnested = { deep = 3 }\n";

    #[test]
    fn config_key_reports_its_line() {
        for (key, line) in [
            ("top", Some(2)),
            ("http.listen", Some(4)),
            ("log.targets.workflow", Some(7)),
            ("store.nested.deep", Some(9)),
            ("store.none", None),
        ] {
            assert_eq!(line_of(TEXT, key), line, "{key}");
        }
    }

    #[test]
    fn invalid_toml_error_names_the_file() {
        let error = parse("[http\n", Path::new("/etc/arbiter.toml")).err();
        assert_eq!(error.map(|e| e.to_string()).as_deref(), Some("/etc/arbiter.toml is not valid TOML"));
    }
}
