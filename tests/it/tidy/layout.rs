//! Layout: the size of folders, and where the paths of the API are.

use crate::tidy::{code, files, is_test};
use std::collections::BTreeMap;

/// The most source files of a folder.
const MAX_FILES: usize = 25;
/// Folders above the limit, with their number of files, which may only fall.
const LARGE_FOLDERS: &[(&str, usize)] = &[("actors", 26), ("src/cli/command", 26)];
/// Lines of `src/http` that hold an API path outside of a row of `endpoints()`; may only fall.
const MAX_PATH_LITERALS: usize = 16;

#[test]
fn folder_holds_at_most_25_source_files() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for folder in ["src", "actors", "tests", "benches"] {
        for (path, _) in files(folder, &[".rs"]) {
            *counts.entry(path.parent().unwrap().to_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let limit = |folder: &str| {
        LARGE_FOLDERS.iter().find(|(large, _)| *large == folder).map_or(MAX_FILES, |(_, limit)| *limit)
    };
    counts.retain(|folder, count| *count > limit(folder));
    assert!(counts.is_empty(), "folders with too many files: {counts:?}");
}

#[test]
fn api_path_occurs_only_in_endpoint_rows() {
    // A constant path, such as `COLLECTION`, is used by several rows of its file.
    let is_row = |line: &str| line.contains("Endpoint::") || line.contains(": &str = \"/api/");
    let mut found = Vec::new();
    for (path, text) in files("src/http", &[".rs"]) {
        if !is_test(&path) {
            let lines = code(&text).filter(|(_, line)| line.contains("\"/api/") && !is_row(line));
            found.extend(lines.map(|(number, line)| format!("{}:{number}: {line}", path.display())));
        }
    }
    assert!(found.len() <= MAX_PATH_LITERALS, "{} lines: {found:#?}", found.len());
}
