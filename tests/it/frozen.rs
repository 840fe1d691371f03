//! Snapshots of the public surface: texts and names that users, scripts and other programs depend on.
//!
//! The files below `frozen/snapshots/` hold help texts, tables, the OpenAPI document, problem documents, metric and
//! event names, configuration keys and the schema, each as the program itself produces it. `upgrade` starts today's
//! program on the data directory of an earlier release.
//!
//! A failing test prints the difference. If the change is not intended, mend the code. If it is:
//!
//! ```text
//! INSTA_UPDATE=always cargo test -p arbiter --test it frozen
//! git diff tests/it/frozen/snapshots
//! ```
//!
//! Read every line of the diff. Commit it together with the change that causes it, and say in the body why users have
//! to see the change. `openapi_shape` and `openapi_texts` are separate: rewording something leaves the shape
//! untouched. Delete the file of a snapshot that no test produces any more.
//!
//! Checks never accept a change: `tests/run` sets `INSTA_UPDATE=no`, and insta writes nothing when `CI` is set.
//! Without either, a failing test leaves a `.snap.new` file beside the snapshot, which Git ignores.

mod database;
mod documents;
mod metrics;
mod refusals;
mod settings;
mod tables;
mod upgrade;

use serde_json::Value;
use std::collections::BTreeSet;

/// Patterns for values that a server generates, each with the fixed text that replaces them.
const MADE: &[(&str, &str)] = &[
    // Current times. Tests give only times before 2020 and after 2089.
    (r"\b20[2-8]\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "2026-01-02T03:04:05.678Z"),
    // The system chooses ports of five digits.
    (r"127\.0\.0\.1:\d{5}", "127.0.0.1:54321"),
    (r"\breq-[0-9a-f]{16}\b", "req-made-by-the-server"),
    (r"\b(com|dec|run|tok|turn|key)-[0-9a-z]{12,20}\b", "$1-made-by-the-server"),
    (r"arb_[0-9a-f]{64}", "arb_0000000000000000000000000000000000000000000000000000000000000000"),
    (r"\b[0-9a-f]{64}\b", "0000000000000000000000000000000000000000000000000000000000000000"),
];

/// Compares a text with a snapshot.
fn freeze(name: &str, text: &str) {
    freeze_filtered(name, text, &[]);
}

/// Compares the output of a running server with a snapshot, after replacing what matches [`MADE`] and `filters`.
fn freeze_said(name: &str, text: &str, filters: &[(&str, &str)]) {
    freeze_filtered(name, text, &[MADE, filters].concat());
}

fn freeze_filtered(name: &str, text: &str, filters: &[(&str, &str)]) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("frozen/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_filters(filters.iter().copied());
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Collects the paths of all fields, such as `lease.holder` and `[].id`.
fn field_names(value: &Value) -> BTreeSet<String> {
    fn visit(value: &Value, path: &str, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    visit(value, &path, names);
                    names.insert(path);
                }
            }
            Value::Array(entries) => {
                entries.iter().for_each(|entry| visit(entry, &format!("{path}[]"), names))
            }
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    visit(value, "", &mut names);
    names
}
