//! The house's rules that the compiler does not enforce: who may use what, where SQL is, how long files are.

pub mod ask_graph;
pub mod children;
pub mod clock;
pub mod documents;
pub mod folders;
pub mod layout;
pub mod names;
pub mod pages;
pub mod ratchets;
pub mod reference;

use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of a file.
const MAX_LINES: usize = 500;

/// A part of the house and what it never names.
struct Rule {
    /// Its folder; its own packages' folders below it have rules of their own.
    folder: &'static str,
    /// Crates that its sources and its `[dependencies]` never name.
    forbidden_crates: &'static [&'static str],
    /// Other words that its sources never say, tests aside.
    forbidden_words: &'static [&'static str],
}

/// House §2: packages and what they may use.
const RULES: &[Rule] = &[
    Rule {
        folder: "src/core",
        forbidden_crates: &[
            "actix",
            "actix_rt",
            "arbiter_actors",
            "arbiter_providers",
            "arbiter_store",
            "arbiter_vault",
            "clap",
            "futures_util",
            "getrandom",
            "rand",
            "reqwest",
            "rusqlite",
            "rustix",
            "temporalio",
            "tokio",
            "warp",
        ],
        forbidden_words: &[
            "async fn",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
            "SystemTime",
            "std::env",
            "std::fs",
            "std::net",
            "std::process",
            "std::thread",
        ],
    },
    Rule {
        folder: "src/store",
        forbidden_crates: &[
            "actix",
            "actix_rt",
            "arbiter_actors",
            "arbiter_providers",
            "arbiter_vault",
            "clap",
            "reqwest",
            "temporalio",
            "warp",
        ],
        forbidden_words: &["tokio::net", "tokio::spawn", "tokio::task", "tokio::time", "tokio::runtime"],
    },
    Rule {
        folder: "src/vault",
        forbidden_crates: &[
            "actix",
            "actix_rt",
            "arbiter_actors",
            "arbiter_providers",
            "arbiter_store",
            "clap",
            "reqwest",
            "rusqlite",
            "temporalio",
            "tokio",
            "warp",
        ],
        forbidden_words: &[],
    },
    Rule {
        folder: "src/providers",
        forbidden_crates: &[
            "actix",
            "actix_rt",
            "arbiter_actors",
            "arbiter_store",
            "arbiter_vault",
            "clap",
            "rusqlite",
            "temporalio",
            "warp",
        ],
        forbidden_words: &[],
    },
    Rule {
        folder: "src/beadfiles",
        forbidden_crates: &[
            "actix",
            "arbiter_actors",
            "arbiter_providers",
            "arbiter_store",
            "arbiter_vault",
            "clap",
            "reqwest",
            "rusqlite",
            "tokio",
            "warp",
        ],
        forbidden_words: &["async fn", "std::fs", "std::net", "std::thread"],
    },
    Rule {
        folder: "src/files",
        forbidden_crates: &[
            "actix",
            "arbiter_actors",
            "arbiter_core",
            "arbiter_providers",
            "arbiter_store",
            "arbiter_vault",
            "clap",
            "reqwest",
            "rusqlite",
            "tokio",
            "warp",
        ],
        forbidden_words: &["async fn", "std::net", "std::thread"],
    },
    Rule {
        folder: "src/tls",
        forbidden_crates: &[
            "actix",
            "arbiter_actors",
            "arbiter_core",
            "arbiter_providers",
            "arbiter_store",
            "arbiter_vault",
            "clap",
            "reqwest",
            "rusqlite",
            "tokio",
            "warp",
        ],
        forbidden_words: &["std::fs", "std::net"],
    },
    Rule {
        folder: "actors",
        forbidden_crates: &[
            "aes_gcm",
            "clap",
            "hyper",
            "pbkdf2",
            "reqwest",
            "rusqlite",
            "temporalio",
            "warp",
        ],
        forbidden_words: &[],
    },
    Rule {
        folder: "src/temporal",
        forbidden_crates: &[
            "actix",
            "arbiter_actors",
            "arbiter_providers",
            "arbiter_store",
            "arbiter_vault",
            "clap",
            "reqwest",
            "rusqlite",
            "warp",
        ],
        forbidden_words: &[],
    },
    Rule {
        // What is not the same at each replay breaks every workflow that is on its way.
        folder: "src/temporal/workflows",
        forbidden_crates: &["getrandom", "rand", "tokio"],
        forbidden_words: &[
            "Instant",
            "SystemTime::now",
            "Uuid",
            "std::env",
            "std::fs",
            "std::net",
            "std::thread",
            "HashMap",
        ],
    },
    Rule {
        folder: "src/bridge",
        forbidden_crates: &["actix", "aes_gcm", "clap", "pbkdf2", "reqwest", "rusqlite", "warp"],
        forbidden_words: &["ProviderClient", "Client::with_protocol"],
    },
    Rule {
        folder: "src/testkit",
        forbidden_crates: &[
            "actix",
            "arbiter",
            "arbiter_actors",
            "arbiter_core",
            "arbiter_providers",
            "arbiter_store",
            "arbiter_vault",
        ],
        forbidden_words: &[],
    },
    Rule {
        folder: "src/http",
        forbidden_crates: &["actix", "aes_gcm", "clap", "pbkdf2", "reqwest", "rusqlite"],
        forbidden_words: &["arbiter_store::Store;", "arbiter_vault::Vault;", "ProviderClient"],
    },
    Rule {
        folder: "src/cli",
        forbidden_crates: &[
            "actix",
            "aes_gcm",
            "arbiter_actors",
            "arbiter_providers",
            "arbiter_store",
            "pbkdf2",
            "rusqlite",
            "warp",
        ],
        forbidden_words: &[],
    },
    Rule {
        folder: "src/config",
        forbidden_crates: &[
            "actix",
            "arbiter_actors",
            "arbiter_providers",
            "arbiter_store",
            "arbiter_vault",
            "rusqlite",
            "warp",
        ],
        forbidden_words: &[],
    },
    Rule {
        folder: "src/app",
        forbidden_crates: &["actix", "aes_gcm", "clap", "pbkdf2", "reqwest", "rusqlite"],
        forbidden_words: &[],
    },
];

/// The house.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of ours below a folder with one of these endings, with its text.
pub fn files(folder: &str, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !["target", ".git", "node_modules", "dist"].contains(&name) {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// The lines of code of a source file, without comments and without its unit tests.
pub fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let before_tests = text.split("\n#[cfg(test)]").next().unwrap();
    let lines = before_tests.lines().enumerate().map(|(number, line)| (number + 1, line.trim_start()));
    lines.filter(|(_, line)| !line.starts_with("//"))
}

pub fn is_test(path: &Path) -> bool {
    let path = path.to_str().unwrap();
    path.contains("/tests/")
        || path.starts_with("tests/")
        || path.ends_with("tests.rs")
        || path.ends_with("/tests.rs")
}

/// Returns whether a line names a crate: `name::…` or `use name`, and no longer name that ends so.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let free = !line[..at].ends_with(part_of_word);
        let rest = &line[at + name.len()..];
        free && (rest.starts_with("::") || (line.contains("use ") && rest.starts_with([';', ' '])))
    })
}

#[test]
fn package_uses_only_its_allowed_crates() {
    let mut wrong = Vec::new();
    for rule in RULES {
        let sources = files(rule.folder, &[".rs"]);
        assert!(!sources.is_empty(), "{}", rule.folder);
        for (path, text) in sources.iter().filter(|(path, _)| !is_test(path)) {
            for (number, line) in code(text) {
                let named = rule.forbidden_crates.iter().filter(|name| names_crate(line, name));
                let said = rule.forbidden_words.iter().filter(|word| line.contains(**word));
                wrong.extend(named.chain(said).map(|word| format!("{}:{number}: {word}", path.display())));
            }
        }
        let manifest = root().join(rule.folder).join("Cargo.toml");
        let Ok(manifest) = fs::read_to_string(manifest) else { continue };
        let manifest: toml::Table = manifest.parse().unwrap();
        for dependency in manifest["dependencies"].as_table().unwrap().keys() {
            if rule.forbidden_crates.contains(&dependency.replace('-', "_").as_str()) {
                wrong.push(format!("{}/Cargo.toml: {dependency}", rule.folder));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn crate_name_is_told_from_a_longer_name() {
    assert!(
        names_crate("use actix::Actor;", "actix")
            && names_crate("    warp::any()", "warp")
            && names_crate("pub use clap;", "clap")
    );
    assert!(
        !names_crate("use actix_rt::spawn;", "actix")
            && !names_crate("crate::warp::x", "warp")
            && !names_crate("a clap", "clap")
    );
    assert!(!names_crate("arbiter_actors::Handles", "actors") && !names_crate("let warp = 1;", "warp"));
}

/// Tests that compare or break what is stored, past the store.
const SQL_IN_TESTS: &[&str] = &["admission/refused_bodies.rs", "bead/files_shared.rs"];

#[test]
fn sql_occurs_only_in_the_store() {
    // In two parts, so that this file does not speak it.
    let words =
        [("SELECT", " "), ("INSERT", " INTO"), ("DELETE", " FROM"), ("CREATE", " TABLE"), ("PRAG", "MA ")];
    let words = words.map(|(head, tail)| format!("{head}{tail}"));
    let mut wrong = Vec::new();
    for folder in ["src", "actors", "tests"] {
        for (path, text) in files(folder, &[".rs"]) {
            // Benchmarks measure SQLite itself, so they are not looked at either.
            let is_exempt =
                path.starts_with("src/store") || SQL_IN_TESTS.iter().any(|one| path.ends_with(one));
            if !is_exempt && words.iter().any(|word| text.contains(word)) {
                wrong.push(path);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Counts the lines outside of generated parts.
fn written_by_hand(text: &str) -> usize {
    let mut is_generated = false;
    let mut lines = 0;
    for line in text.lines() {
        is_generated = (is_generated || line.starts_with("<!-- generated: ")) && line != reference::END;
        lines += usize::from(!is_generated);
    }
    lines
}

#[test]
fn source_file_is_short_and_has_a_header() {
    let mut wrong = Vec::new();
    for (path, text) in files(".", &[".rs", ".sql", ".toml", ".sh", ".md", ".ts"]) {
        let lines = written_by_hand(&text);
        let name = path.display();
        if lines > MAX_LINES {
            wrong.push(format!("{name} has {lines} lines"));
        }
        // Unit tests in a file of their own belong to the file beside them.
        let speaks_for_itself = name.to_string().ends_with(".rs") && !name.to_string().ends_with("tests.rs");
        if speaks_for_itself && !text.starts_with("//!") {
            wrong.push(format!("{name} does not begin with what it is"));
        }
        if path.ends_with("mod.rs") {
            wrong.push(format!("{name} is called mod.rs"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
