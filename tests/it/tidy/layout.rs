//! Layout: the size of folders, and where the paths of the API are.

use crate::tidy::{code, files, is_test, root};
use std::collections::BTreeMap;
use std::path::Path;

/// The most source files of a folder.
const MAX_FILES: usize = 25;
/// Lines of `src/http` that hold an API path outside of a row of `endpoints()`; may only fall.
const MAX_PATH_LITERALS: usize = 16;

#[test]
fn folder_holds_at_most_25_source_files() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for folder in ["src", "actors", "tests", "benches"] {
        // The face of a folder lies beside it and counts as a part of it.
        let is_face = |path: &Path| root().join(path.with_extension("")).is_dir();
        for (path, _) in files(folder, &[".rs"]).into_iter().filter(|(path, _)| !is_face(path)) {
            *counts.entry(path.parent().unwrap().to_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    counts.retain(|_, count| *count > MAX_FILES);
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
