//! Folders inside a crate form layers: no folder uses another that uses it in turn.

use crate::tidy::{code, files, is_test};
use std::collections::{BTreeMap, BTreeSet};

/// A crate, or a part of one, whose folders have no cycle.
struct Part {
    folder: &'static str,
    /// The path of its root module in `use` declarations.
    root: &'static str,
    /// Files that compose the folders, so that they may use all of them and be used by all.
    composition: &'static [&'static str],
}

const PARTS: &[Part] = &[
    Part {
        folder: "actors",
        root: "crate::",
        composition: &["context", "handles", "lib", "orchestrator", "recovery", "retention", "start"],
    },
    Part { folder: "src/core", root: "crate::", composition: &["lib"] },
    Part { folder: "src/store", root: "crate::", composition: &["lib", "store"] },
    Part { folder: "src/http", root: "crate::http::", composition: &[] },
];

/// Returns the modules that follow a path's root: one, or those in braces.
fn heads(rest: &str) -> Vec<&str> {
    let word = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let Some(list) = rest.strip_prefix('{') else { return vec![&rest[..word(rest)]] };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let item = list[start..at].trim();
                found.push(&item[..word(item)]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// Returns the folders and the folders that each of them uses.
fn graph(part: &Part) -> BTreeMap<String, BTreeSet<String>> {
    let sources: Vec<_> =
        files(part.folder, &[".rs"]).into_iter().filter(|(path, _)| !is_test(path)).collect();
    let top = |path: &std::path::Path| {
        let inside = path.strip_prefix(part.folder).unwrap();
        inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    let is_folder = |name: &str| !part.composition.contains(&name);
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, _) in sources.iter().filter(|(path, _)| is_folder(&top(path))) {
        uses.entry(top(path)).or_default();
    }
    for (path, text) in sources.iter().filter(|(path, _)| is_folder(&top(path))) {
        let text: Vec<&str> = code(text).map(|(_, line)| line).collect();
        let text = text.join("\n");
        let from = top(path);
        for (at, _) in text.match_indices(part.root) {
            for to in heads(&text[at + part.root.len()..]) {
                if to != from && uses.contains_key(to) {
                    uses.get_mut(&from).unwrap().insert(to.to_owned());
                }
            }
        }
    }
    uses
}

/// Returns the nodes that no removal of leaves reaches: those on a cycle, and those that lead to one.
pub fn cyclic(uses: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    let mut left = uses.clone();
    loop {
        let open: BTreeSet<String> = left.keys().cloned().collect();
        let leaf = left.iter().find(|(_, to)| to.is_disjoint(&open)).map(|(from, _)| from.clone());
        match leaf {
            Some(leaf) => left.remove(&leaf),
            None => return left,
        };
    }
}

#[test]
fn folders_of_a_crate_have_no_cycle() {
    for part in PARTS {
        let uses = graph(part);
        assert!(uses.values().any(|to| !to.is_empty()), "{} has no arrows: is its root right?", part.folder);
        let cycles = cyclic(&uses);
        assert!(cycles.is_empty(), "{}: folders use each other: {cycles:#?}", part.folder);
    }
}

#[test]
fn actor_runtime_uses_no_sibling() {
    let mut wrong = Vec::new();
    for (path, text) in files("actors/runtime", &[".rs"]) {
        for (number, line) in code(&text) {
            let outside =
                line.match_indices("crate::").any(|(at, _)| !line[at..].starts_with("crate::runtime"));
            if outside || line.contains("super::super") {
                wrong.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn context_of_all_nouns_is_composition_only() {
    let composition = PARTS.iter().find(|part| part.folder == "actors").unwrap().composition;
    let mut wrong = Vec::new();
    for (path, text) in files("actors", &[".rs"]) {
        let is_beside = path.components().count() == 2;
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if is_beside && composition.contains(&stem) {
            continue;
        }
        for (number, line) in code(&text).filter(|(_, line)| line.contains("SharedContext")) {
            wrong.push(format!("{}:{number}: {line}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "a noun gets a context of its own: {wrong:#?}");
}

#[test]
fn cycle_of_folders_is_found() {
    let graph = |arrows: &[(&str, &str)]| {
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in arrows {
            uses.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            uses.entry((*to).to_owned()).or_default();
        }
        uses
    };
    assert!(cyclic(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    assert_eq!(cyclic(&graph(&[("a", "b"), ("b", "c"), ("c", "b")])).len(), 3);
    assert_eq!(heads("bead::{self, X};"), ["bead"]);
    assert_eq!(heads("{agent::{A, B}, bead::C};"), ["agent", "bead"]);
}
