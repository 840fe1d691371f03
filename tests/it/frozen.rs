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
mod settings;

/// Compares a text with a snapshot.
fn freeze(name: &str, text: &str) {
    freeze_filtered(name, text, &[]);
}

fn freeze_filtered(name: &str, text: &str, filters: &[(&str, &str)]) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("frozen/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_filters(filters.iter().copied());
    settings.bind(|| insta::assert_snapshot!(name, text));
}
