//! Pages: their width, their links, and the way to each of them.

use crate::tidy::{files, root};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// The most characters of a line, except in tables, code and lines with links.
const MAX_WIDTH: usize = 100;
/// The most lines of README.md.
const MAX_README: usize = 150;

/// Returns the pages of the project with their paths; personas and fixtures are data.
fn pages() -> Vec<(PathBuf, String)> {
    let mut pages = Vec::new();
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"] {
        pages.push((PathBuf::from(name), std::fs::read_to_string(root().join(name)).unwrap()));
    }
    for folder in ["docs", "deploy"] {
        pages.extend(files(folder, &[".md"]));
    }
    pages
}

/// Returns the lines of a page outside of code blocks, each with its number.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(place, line)| {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            return None;
        }
        (!is_code).then_some((place + 1, line))
    })
}

/// Returns the targets of a line's links within the project, without their anchors.
fn targets(line: &str) -> Vec<&str> {
    let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let inner = links.filter(|link| !link.starts_with("http") && !link.starts_with('#'));
    inner.map(|link| link.split('#').next().unwrap()).collect()
}

/// Resolves `..` in the path of a link.
fn normalized(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts
}

#[test]
fn page_lines_fit_the_width() {
    let mut wide = Vec::new();
    for (path, text) in pages() {
        for (number, line) in prose(&text) {
            let is_exempt = line.starts_with('|') || line.contains("](");
            if !is_exempt && line.chars().count() > MAX_WIDTH {
                wide.push(format!("{}:{number}", path.display()));
            }
        }
    }
    assert!(wide.is_empty(), "wider than {MAX_WIDTH} characters: {wide:#?}");
}

#[test]
fn readme_is_short_and_names_the_test_command() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let lines = text.lines().count();
    assert!(lines <= MAX_README, "README.md has {lines} lines");
    assert!(text.contains("tests/run"), "README.md names the test command");
}

#[test]
fn page_links_lead_to_files() {
    let mut broken = Vec::new();
    for (path, text) in pages() {
        let folder = path.parent().unwrap();
        for (number, line) in prose(&text) {
            for target in targets(line) {
                if !root().join(folder).join(target).exists() {
                    broken.push(format!("{}:{number}: {target}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn docs_readme_links_every_page() {
    let index = std::fs::read_to_string(root().join("docs/README.md")).unwrap();
    let targets = prose(&index).flat_map(|(_, line)| targets(line));
    let linked: BTreeSet<PathBuf> =
        targets.map(|target| normalized(&Path::new("docs").join(target))).collect();
    let pages = files("docs", &[".md"]).into_iter().map(|(path, _)| path);
    let missing: Vec<PathBuf> =
        pages.filter(|path| path != Path::new("docs/README.md") && !linked.contains(path)).collect();
    assert!(missing.is_empty(), "not linked from docs/README.md: {missing:?}");
}
