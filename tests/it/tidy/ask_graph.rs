//! The graph of questions between actors, made from the sources of the actors.
//!
//! An arrow is found by following calls from the methods of an actor to the registries, by the names of handles,
//! methods and functions. Nodes are the fields of type `Registry` of the nouns' contexts; `run` and `gateway` are tasks.
//! `ARBITER_BLESS=1` writes the part of ARCHITECTURE.md anew.

use crate::tidy::folders::cyclic;
use crate::tidy::{files, is_test, root};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;

/// A registry that is reached, and whether an answer is waited for.
type Effect = (String, bool);
/// The type (empty for a function of a module) and the name of a function.
type Name = (String, String);

struct Function {
    name: Name,
    folder: String,
    /// The text without white space, but between words.
    text: String,
}

fn word_end(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Returns the name that ends before `at`.
fn word_before(text: &str, at: usize) -> &str {
    let start = text[..at].rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |found| found + 1);
    &text[start..at]
}

/// Returns the position after the bracket that closes the one opened before `from`.
fn after_close(text: &str, from: usize) -> usize {
    let mut depth = 1;
    for (at, c) in text[from..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return from + at + 1;
        }
    }
    text.len()
}

/// Splits a source file into its functions.
fn functions(folder: &str, text: &str) -> Vec<Function> {
    let mut found: Vec<Function> = Vec::new();
    let (mut owner, mut is_open) = (String::new(), false);
    for line in text.split("\n#[cfg(test)]").next().unwrap().lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("//") {
            continue;
        }
        if let Some(rest) = line.strip_prefix("impl") {
            let rest =
                if rest.starts_with('<') { rest.split_once("> ").unwrap().1 } else { rest.trim_start() };
            let named = rest.rsplit(" for ").next().unwrap();
            owner = named[..word_end(named)].to_owned();
        }
        let depth = if owner.is_empty() { 0 } else { 4 };
        let is_head = line.len() - trimmed.len() == depth
            && (trimmed.starts_with("fn ") || trimmed.starts_with("pub") || trimmed.starts_with("async fn "))
            && trimmed.contains("fn ");
        if is_head {
            let name = trimmed.split("fn ").nth(1).unwrap();
            let name = (owner.clone(), name[..word_end(name)].to_owned());
            found.push(Function { name, folder: folder.to_owned(), text: String::new() });
            is_open = true;
        }
        if is_open {
            let text = &mut found.last_mut().unwrap().text;
            for word in trimmed.split_whitespace() {
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                if text.ends_with(is_part) && word.starts_with(is_part) {
                    text.push(' ');
                }
                text.push_str(word);
            }
        }
        if trimmed.starts_with('}') && line.len() - trimmed.len() == depth {
            is_open = false;
        }
        if line == "}" {
            owner.clear();
        }
    }
    found
}

/// Removes the arguments of spawns: a task of its own waits for its questions, not its maker.
fn without_spawns(text: &str) -> String {
    let mut text = text.to_owned();
    for word in ["spawn(", "spawn_tracked("] {
        while let Some(at) = text.find(&format!(".{word}")) {
            let end = after_close(&text, at + 1 + word.len());
            text.replace_range(at..end, "");
        }
    }
    text
}

/// The types and names of the fields that the contexts of the nouns share: their registries, and handles of others.
static FIELDS: LazyLock<BTreeSet<(String, String)>> = LazyLock::new(|| {
    let sources = files("actors", &[".rs"]).into_iter().filter(|(path, _)| !is_test(path));
    let text: Vec<String> = sources.map(|(_, text)| text).collect();
    let field = |line: &str| {
        let (name, kind) = line.strip_prefix("    pub(crate) ")?.strip_suffix(',')?.split_once(": ")?;
        (kind.starts_with("Registry<") || kind.ends_with("Handle"))
            .then(|| (kind.to_owned(), name.to_owned()))
    };
    text.iter().flat_map(|text| text.lines()).filter_map(field).collect()
});

/// Returns the registries that a text addresses by itself.
fn direct(text: &str) -> BTreeSet<Effect> {
    let mut found = BTreeSet::new();
    for (_, registry) in FIELDS.iter().filter(|(kind, _)| kind.starts_with("Registry<")) {
        for (at, prefix) in text.match_indices(&format!(".{registry}.")) {
            let rest = &text[at + prefix.len()..];
            match &rest[..word_end(rest)] {
                "ask" | "ask_queued" => found.insert((registry.clone(), true)),
                "tell" | "tell_all" | "wake" | "ensure_started" => found.insert((registry.clone(), false)),
                _ => false,
            };
        }
    }
    found
}

/// Returns the usual name of a variable of a type.
fn snake(name: &str) -> String {
    let mut found = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !found.is_empty() {
            found.push('_');
        }
        found.extend(c.to_lowercase());
    }
    found
}

/// Returns the functions that a text may call.
fn calls(own: &str, text: &str, known: &BTreeSet<Name>) -> BTreeSet<Name> {
    let mut found = BTreeSet::new();
    let mut receivers: Vec<(String, String)> = vec![("self".to_owned(), own.to_owned())];
    // The composition implements what the contexts forward.
    receivers.extend(["starter", "observer"].map(|name| (name.to_owned(), "SharedContext".to_owned())));
    let handles = FIELDS.iter().filter(|(kind, _)| kind.ends_with("Handle"));
    receivers.extend(handles.map(|(kind, field)| (field.clone(), kind.clone())));
    let owners: BTreeSet<&String> = known.iter().map(|(owner, _)| owner).filter(|o| !o.is_empty()).collect();
    for &handle in &owners {
        for (at, _) in text.match_indices(handle.as_str()) {
            if !word_before(text, at).is_empty() {
                continue;
            }
            let head = text[..at].trim_end_matches(['&', ':', '=']);
            if head.len() < at {
                receivers.push((word_before(head, head.len()).to_owned(), handle.clone()));
            }
            let rest = &text[at + handle.len()..];
            if rest.starts_with('(') {
                let end = after_close(rest, 1);
                if let Some(method) = rest[end..].strip_prefix('.') {
                    found.insert((handle.clone(), method[..word_end(method)].to_owned()));
                }
            }
        }
    }
    for owner in owners {
        receivers.push((snake(owner), owner.clone()));
        if owner.ends_with("Context") {
            receivers.push(("shared".to_owned(), owner.clone()));
        }
        for (at, pattern) in text.match_indices(&format!("{owner}::")) {
            if word_before(text, at).is_empty() {
                let method = &text[at + pattern.len()..];
                found.insert((owner.clone(), method[..word_end(method)].to_owned()));
            }
        }
    }
    for (receiver, owner) in receivers.iter().filter(|(receiver, _)| !receiver.is_empty()) {
        for (at, pattern) in text.match_indices(&format!("{receiver}.")) {
            if word_before(text, at).is_empty() {
                let method = &text[at + pattern.len()..];
                found.insert((owner.clone(), method[..word_end(method)].to_owned()));
            }
        }
    }
    for (owner, name) in known.iter().filter(|(owner, _)| owner.is_empty()) {
        for (at, _) in text.match_indices(&format!("{name}(")) {
            let before = text[..at].chars().next_back();
            if !text[..at].ends_with("fn ")
                && before.is_some_and(|c| !c.is_alphanumeric() && c != '_' && c != '.')
            {
                found.insert((owner.clone(), name.clone()));
            }
        }
    }
    found.retain(|name| known.contains(name));
    found
}

/// Returns what each function addresses, by itself and by what it calls.
fn effects(functions: &[Function], text: impl Fn(&Function) -> String) -> Vec<(&Function, BTreeSet<Effect>)> {
    let known: BTreeSet<Name> = functions.iter().map(|function| function.name.clone()).collect();
    let texts: Vec<String> = functions.iter().map(text).collect();
    let called: Vec<_> =
        functions.iter().zip(&texts).map(|(function, text)| calls(&function.name.0, text, &known)).collect();
    let mut found: Vec<BTreeSet<Effect>> = texts.iter().map(|text| direct(text)).collect();
    loop {
        let mut by_name: BTreeMap<&Name, BTreeSet<Effect>> = BTreeMap::new();
        for (function, effects) in functions.iter().zip(&found) {
            by_name.entry(&function.name).or_default().extend(effects.iter().cloned());
        }
        let next: Vec<BTreeSet<Effect>> = found
            .iter()
            .zip(&called)
            .map(|(own, called)| {
                let of_calls = called.iter().flat_map(|name| by_name[name].iter().cloned());
                own.iter().cloned().chain(of_calls).collect()
            })
            .collect();
        if next == found {
            return functions.iter().zip(found).collect();
        }
        found = next;
    }
}

/// The graph: from node to node, and whether an answer is waited for.
static GRAPH: LazyLock<BTreeSet<(String, String, bool)>> = LazyLock::new(graph);

fn graph() -> BTreeSet<(String, String, bool)> {
    let actor = |kind: &str| Some(kind.strip_prefix("Registry<")?.strip_suffix('>')?.to_owned());
    let actors: BTreeMap<String, String> =
        FIELDS.iter().filter_map(|(kind, field)| Some((actor(kind)?, field.clone()))).collect();
    let mut all = Vec::new();
    for (path, text) in files("actors", &[".rs"]).into_iter().filter(|(path, _)| !is_test(path)) {
        let top = path.components().nth(1).unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        all.extend(functions(top, &text));
    }
    let mut arrows = BTreeSet::new();
    for (function, effects) in effects(&all, |function| without_spawns(&function.text)) {
        if let Some(from) = actors.get(&function.name.0) {
            arrows.extend(effects.into_iter().map(|(to, is_ask)| (from.clone(), to, is_ask)));
        }
    }
    for (function, effects) in effects(&all, |function| function.text.clone()) {
        if ["run", "gateway"].contains(&function.folder.as_str()) {
            arrows.extend(effects.into_iter().map(|(to, is_ask)| (function.folder.clone(), to, is_ask)));
        }
    }
    // A command to itself is a timer or the end of its own work.
    arrows.retain(|(from, to, _)| from != to);
    arrows
}

#[test]
fn ask_graph_is_fresh() {
    let mut wanted = "\n```mermaid\nflowchart LR\n".to_owned();
    let arrows = &*GRAPH;
    let mut rows: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (from, to, is_ask) in arrows {
        // An ask counts more than a tell between the same two.
        if *is_ask || !arrows.contains(&(from.clone(), to.clone(), true)) {
            rows.entry((from, if *is_ask { "-->" } else { "-.->" })).or_default().push(to);
        }
    }
    for ((from, arrow), to) in rows {
        wanted += &format!("  {from} {arrow} {}\n", to.join(" & "));
    }
    wanted += "```\n\n";
    let path = root().join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path).unwrap();
    let begin = "<!-- generated: ask-graph -->\n";
    let (before, rest) = text.split_once(begin).expect("ARCHITECTURE.md has the ask graph");
    let (found, after) = rest.split_once("<!-- end generated -->").expect("the ask graph has an end");
    if found != wanted && std::env::var_os("ARBITER_BLESS").is_some() {
        fs::write(&path, format!("{before}{begin}{wanted}<!-- end generated -->{after}")).unwrap();
        return;
    }
    assert_eq!(found, wanted, "the ask graph is stale; write it with ARBITER_BLESS=1");
}

#[test]
fn ask_graph_has_no_cycle() {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, to, _) in GRAPH.iter().filter(|(.., is_ask)| *is_ask).cloned() {
        uses.entry(to.clone()).or_default();
        uses.entry(from).or_default().insert(to);
    }
    assert!(uses.len() > 3, "few questions were found: {uses:?}");
    let cycles = cyclic(&uses);
    assert!(cycles.is_empty(), "actors ask each other: {cycles:#?}");
}
