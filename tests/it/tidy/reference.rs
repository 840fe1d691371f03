//! Parts of the reference pages that are made from the program and its sources.
//!
//! Such a part stands between `<!-- generated: NAME -->` and `<!-- end generated -->`. A test fails when the part is
//! stale. `ARBITER_BLESS=1 cargo test -p arbiter --test it -- tidy::reference` writes it anew; read the diff.
//!
//! The frozen snapshots hold the output of the program, so the command line and the exit codes are read from there.

use crate::tidy::{code, files, is_test, root};
use arbiter::config::Settings;
use arbiter::http::ProblemType;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;

/// The variable that makes these tests write the pages.
const BLESS: &str = "ARBITER_BLESS";
/// The end of a generated part.
pub const END: &str = "<!-- end generated -->";

/// Reads a file of the project.
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the content of a frozen snapshot, without its header.
fn snapshot(name: &str) -> String {
    let text = read(&format!("tests/it/frozen/snapshots/{name}.snap"));
    text.splitn(3, "---\n").nth(2).expect("a snapshot has a header").to_owned()
}

/// Compares the generated part of a page with `wanted`, or writes it when [`BLESS`] is set.
fn check(page: &str, name: &str, wanted: &str) {
    let path = format!("docs/reference/{page}.md");
    let text = read(&path);
    let begin = format!("<!-- generated: {name} -->\n");
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{path} has no part {name}"));
    let (found, after) = rest.split_once(END).unwrap_or_else(|| panic!("{path}: the part {name} has no end"));
    let wanted = format!("\n{}\n\n", wanted.trim_matches('\n'));
    if found == wanted {
        return;
    }
    if std::env::var_os(BLESS).is_some() {
        fs::write(root().join(&path), format!("{before}{begin}{wanted}{END}{after}")).unwrap();
        return;
    }
    let stale = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
    panic!(
        "{path} is stale ({} lines, wanted {}; first difference {stale:?}); write it with {BLESS}=1",
        found.lines().count(),
        wanted.lines().count()
    );
}

/// Makes a text fit for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Removes the options for the connection to the server, which are the same for every command.
fn without_server_options(help: &str) -> String {
    let mut is_server = false;
    let mut kept = String::new();
    for line in help.lines() {
        if line == "Server:" {
            is_server = true;
        } else if is_server && !line.is_empty() && !line.starts_with(' ') {
            is_server = false;
        }
        if !is_server {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept.trim_matches('\n').to_owned()
}

#[test]
fn cli_reference_is_fresh() {
    let helps = snapshot("help");
    let mut text = String::new();
    for block in helps.split("$ arbiter").skip(1) {
        let (command, help) = block.split_once(" --help\n").expect("a block begins with its command");
        let command = format!("arbiter{command}");
        // A command of a command is one level deeper.
        let level = if command.split(' ').count() <= 2 { "##" } else { "###" };
        write!(text, "{level} {command}\n\n```text\n{}\n```\n\n", without_server_options(help)).unwrap();
    }
    check("cli", "cli", &text);
}

#[test]
fn exit_codes_reference_is_fresh() {
    let help = snapshot("help");
    let (_, rest) = help.split_once("Exit codes: ").expect("the help lists the exit codes");
    let (list, _) = rest.split_once("\n\n").expect("the list ends with a paragraph");
    let list = list.replace('\n', " ");
    let mut text = "| code | meaning |\n|---|---|\n".to_owned();
    for entry in list.trim_end_matches('.').split(", ") {
        let (code, meaning) = entry.split_once(' ').expect("a code and its meaning");
        writeln!(text, "| {code} | {meaning} |").unwrap();
    }
    check("exit-codes", "exit-codes", &text);
}

#[test]
fn problems_reference_is_fresh() {
    let mut text = "| type | status | when |\n|---|---|---|\n".to_owned();
    for problem in ProblemType::all() {
        writeln!(text, "| `{}` | {} | {} |", problem.code, problem.status, problem.meaning).unwrap();
    }
    check("problems", "problems", &text);
}

#[test]
fn events_reference_is_fresh() {
    let source = read("src/core/kernel/event_type.rs");
    let (_, variants) = source.split_once("pub enum EventType").expect("the source defines the event types");
    let mut text = "| type | meaning |\n|---|---|\n".to_owned();
    let mut doc = String::new();
    for line in variants.lines().map(str::trim) {
        if let Some(sentence) = line.strip_prefix("/// ") {
            sentence.clone_into(&mut doc);
        } else if let Some((_, rest)) = line.split_once(" = \"") {
            let name = rest.trim_end_matches("\",");
            writeln!(text, "| `{name}` | {} |", cell(&doc)).unwrap();
        }
    }
    check("events", "events", &text);
}

/// Evaluates a product of numbers and of the constants of `ranges.rs`.
fn product(expression: &str) -> i64 {
    let factor = |word: &str| match word {
        "HOUR_MS" => 60 * 60 * 1000,
        "DAY_SEC" => 24 * 60 * 60,
        number => number.replace('_', "").parse().unwrap_or_else(|_| panic!("{expression} is no number")),
    };
    expression.split(" * ").map(factor).product()
}

/// Returns the range of each setting that is a number.
fn ranges() -> BTreeMap<String, String> {
    let source = read("src/config/ranges.rs");
    let rows = source.lines().filter_map(|line| line.strip_prefix("    (\"")?.strip_suffix("),"));
    rows.filter_map(|row| {
        let (key, bounds) = row.split_once("\", ")?;
        let (least, greatest) = bounds.split_once(", ")?;
        Some((key.to_owned(), format!("{} to {}", product(least), product(greatest))))
    })
    .collect()
}

#[test]
fn configuration_reference_is_fresh() {
    let ranges = ranges();
    let mut keys: BTreeSet<String> =
        Settings::built_in().entries().into_iter().map(|entry| entry.key).collect();
    let mut text = String::new();
    let (mut section, mut doc, mut has_rows) = (String::new(), Vec::new(), false);
    for line in read("config/arbiter.default.toml").lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
            doc.clear();
            let gap = if has_rows { "\n" } else { "" };
            write!(text, "{gap}## [{section}]\n\n").unwrap();
            has_rows = false;
        } else if let Some(sentence) = line.strip_prefix("# ") {
            doc.push(sentence.to_owned());
        } else {
            if let Some((name, value)) = line.split_once(" = ") {
                if !has_rows {
                    text.push_str("| key | default | range | meaning |\n|---|---|---|---|\n");
                    has_rows = true;
                }
                let key = format!("{section}.{name}");
                assert!(keys.remove(&key), "{key} is no setting");
                let range = ranges.get(&key).map_or("", String::as_str);
                writeln!(text, "| `{key}` | `{value}` | {range} | {} |", cell(&doc.join(" "))).unwrap();
            }
            doc.clear();
        }
    }
    assert!(keys.is_empty(), "not documented: {keys:?}");
    check("configuration", "configuration", &text);
}

/// Labels of metrics, in alphabetical order of the metrics.
const LABELS: &[(&str, &str)] = &[
    ("arbiter_activity_total", "outcome, type"),
    ("arbiter_actor_restarts_total", "kind"),
    ("arbiter_actors", "kind"),
    ("arbiter_event_bus_events_total", "type"),
    ("arbiter_http_request_seconds", "method, route"),
    ("arbiter_http_requests_total", "method, route, status"),
    ("arbiter_notices_total", "outcome"),
    ("arbiter_ready_beads_waiting", "reason"),
    ("arbiter_runs_total", "status"),
    ("arbiter_task_queue_depth", "queue"),
    ("arbiter_temporal_failures_total", "kind"),
    ("arbiter_temporal_mirrored_total", "what"),
    ("arbiter_worker_utilization", "queue"),
    ("arbiter_workflow_completed_total", "type"),
    ("arbiter_workflow_started_total", "type"),
];

/// Tells by the form of a literal whether it names a metric.
fn is_metric(literal: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
    literal.starts_with("arbiter_") && literal.chars().all(is_word)
}

#[test]
fn metrics_reference_is_fresh() {
    let mut named = BTreeSet::new();
    let mut rows: BTreeMap<String, [String; 3]> = BTreeMap::new();
    let sources = ["src", "actors"].iter().flat_map(|folder| files(folder, &[".rs"]));
    for (_, text) in sources.filter(|(path, _)| !is_test(path)) {
        let text = code(&text).map(|(_, line)| line).collect::<Vec<_>>().join(" ");
        named.extend(text.split('"').skip(1).step_by(2).filter(|word| is_metric(word)).map(str::to_owned));
        for kind in ["counter", "gauge", "histogram"] {
            for call in text.split(&format!("describe_{kind}!(")).skip(1) {
                let mut literals = call.split('"').skip(1).step_by(2);
                let (Some(name), Some(meaning)) = (literals.next(), literals.next()) else { continue };
                let labels =
                    LABELS.iter().find(|(known, _)| *known == name).map_or("", |(_, labels)| *labels);
                rows.insert(name.to_owned(), [kind, labels, meaning].map(str::to_owned));
            }
        }
    }
    let listed: BTreeSet<String> = rows.keys().cloned().collect();
    assert_eq!(listed, named, "the page and the sources name the same metrics");
    let mut text = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for (name, [kind, labels, meaning]) in rows {
        writeln!(text, "| `{name}` | {kind} | {labels} | {meaning} |").unwrap();
    }
    check("metrics", "metrics", &text);
}

/// A limit with its unit, and the constant that enforces it.
struct Limit {
    meaning: &'static str,
    unit: &'static str,
    file: &'static str,
    name: &'static str,
}

const fn limit(meaning: &'static str, unit: &'static str, file: &'static str, name: &'static str) -> Limit {
    Limit { meaning, unit, file, name }
}

const LIMITS: &[Limit] = &[
    limit("length of an id that a client chooses", "characters", "src/core/kernel/ids.rs", "MAX_ID_LEN"),
    limit(
        "name of an agent, a project, a provider or a token",
        "characters",
        "src/core/kernel/limits.rs",
        "MAX_NAME",
    ),
    limit("description of an agent or a provider", "bytes", "src/core/kernel/limits.rs", "MAX_DESCRIPTION"),
    limit("title of a bead", "characters", "src/core/bead/edit.rs", "MAX_TITLE"),
    limit("description and acceptance criteria of a bead", "bytes", "src/core/bead/edit.rs", "MAX_TEXT"),
    limit("tags of a bead", "", "src/core/kernel/limits.rs", "MAX_TAGS"),
    limit("length of a tag", "bytes", "src/core/kernel/limits.rs", "MAX_TAG"),
    limit("length of a dependency type", "bytes", "src/core/bead/edit.rs", "MAX_EDGE_TYPE"),
    limit("length of a comment", "bytes", "src/core/kernel/limits.rs", "MAX_COMMENT"),
    limit(
        "context, configuration or log data, as JSON",
        "bytes",
        "src/core/kernel/limits.rs",
        "MAX_FREE_FORM",
    ),
    limit("nesting of such a value", "levels", "src/core/kernel/limits.rs", "MAX_DEPTH"),
    limit(
        "nesting of a body or of a bead file's line",
        "levels",
        "src/core/kernel/limits.rs",
        "MAX_DOCUMENT_DEPTH",
    ),
    limit("reason of a change", "bytes", "src/core/kernel/limits.rs", "MAX_REASON"),
    limit("result of a bead", "bytes", "src/core/kernel/limits.rs", "MAX_RESULT"),
    limit("text of a bead file", "bytes", "src/beadfiles/line.rs", "MAX_FILE_TEXT"),
    limit("unknown content of a bead file's line", "bytes", "src/beadfiles/line.rs", "MAX_KEPT_BYTES"),
    limit("lines that the report of an import lists", "", "src/store/write/import.rs", "MAX_REPORTED_LINES"),
    limit("answer of a model that is kept", "bytes", "src/core/kernel/limits.rs", "MAX_MODEL_TEXT"),
    limit("conversation of one run", "bytes", "src/core/kernel/limits.rs", "MAX_CONVERSATION"),
    limit("beads created by one bulk request", "", "actors/bead/create.rs", "MAX_BULK"),
    limit("beads created by agents for one bead", "", "src/core/bead/creation_limits.rs", "MAX_CHILDREN"),
    limit(
        "depth of a chain of beads that agents create",
        "",
        "src/core/bead/creation_limits.rs",
        "MAX_DEPTH",
    ),
    limit(
        "beads that agents create from one origin",
        "",
        "src/core/bead/creation_limits.rs",
        "MAX_DESCENDANTS",
    ),
    limit("shortest lease", "s", "src/core/kernel/lease.rs", "MIN_TTL_SEC"),
    limit("longest lease", "s", "src/core/kernel/lease.rs", "MAX_TTL_SEC"),
    limit("longest wait of a request for the next bead", "s", "actors/dispatch/pull.rs", "MAX_WAIT_SEC"),
    limit("requests that wait for the next bead", "", "actors/dispatch/pull.rs", "MAX_WAITING"),
    limit("default time of a file lock", "s", "src/core/project/file_lock.rs", "DEFAULT_TTL_SEC"),
    limit("shortest time of a file lock", "s", "src/core/project/file_lock.rs", "MIN_TTL_SEC"),
    limit("longest time of a file lock", "s", "src/core/project/file_lock.rs", "MAX_TTL_SEC"),
    limit("paths in one request for file locks", "", "src/core/project/file_lock.rs", "MAX_PATHS"),
    limit("positions of an org chart", "", "src/core/project/org_chart.rs", "MAX_POSITIONS"),
    limit("agents of one position", "", "src/core/project/org_chart.rs", "MAX_INSTANCES"),
    limit("text of a persona", "bytes", "src/core/agent/persona.rs", "MAX_TEXT"),
    limit("parts of a persona's name", "", "src/core/agent/persona.rs", "MAX_PARTS"),
    limit("personas in the data directory", "", "actors/persona/directory.rs", "MAX_PERSONAS"),
    limit(
        "steps of a run that an agent's configuration may set",
        "",
        "src/core/agent/config.rs",
        "MAX_STEPS",
    ),
    limit("budgets", "", "src/core/budget.rs", "MAX_BUDGETS"),
    limit("prompt to an agent", "characters", "src/core/kernel/limits.rs", "MAX_PROMPT"),
    limit("question at the console", "characters", "src/core/kernel/limits.rs", "MAX_PROMPT"),
    limit("answer of a provider", "bytes", "src/providers/client.rs", "MAX_ANSWER_BYTES"),
    limit("one event of a streamed answer", "bytes", "src/providers/sse.rs", "MAX_EVENT_BYTES"),
    limit("whole streamed answer", "bytes", "src/providers/sse.rs", "MAX_STREAM_BYTES"),
    limit("line of a bead file", "bytes", "src/beadfiles/line.rs", "MAX_LINE_BYTES"),
    limit("bead file", "bytes", "actors/bead_file/disk.rs", "MAX_FILE_BYTES"),
    limit("key file", "bytes", "src/vault/atomic_file.rs", "MAX_FILE_BYTES"),
    limit("keys in one imported file", "", "src/vault/rewrite/install.rs", "MAX_IMPORT_ENTRIES"),
    limit("length of an Idempotency-Key", "bytes", "src/http/framework/idempotency.rs", "MAX_KEY"),
    limit("entries of a list's page, default", "", "src/http/framework/request.rs", "DEFAULT_LIMIT"),
    limit("rows of one page", "bytes", "src/core/kernel/limits.rs", "MAX_PAGE_BYTES"),
    limit("entries of a list's page, most", "", "src/http/framework/request.rs", "MAX_LIMIT"),
];

/// Writes a number with a comma between groups of three digits.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Reads the value of a constant from its source.
fn constant(file: &str, name: &str) -> i64 {
    let source = read(file);
    let (_, rest) =
        source.split_once(&format!("const {name}: ")).unwrap_or_else(|| panic!("{file}: no {name}"));
    let (declaration, _) = rest.split_once(';').expect("a constant ends with a semicolon");
    let (_, value) = declaration.split_once(" = ").expect("a constant has a value");
    product(value.trim_start_matches("Duration::from_secs(").trim_end_matches(')'))
}

#[test]
fn limits_reference_is_fresh() {
    let mut text = "| limit | value | constant |\n|---|---|---|\n".to_owned();
    for Limit { meaning, unit, file, name } in LIMITS {
        let value = grouped(constant(file, name));
        let gap = if unit.is_empty() { "" } else { " " };
        writeln!(text, "| {meaning} | {value}{gap}{unit} | `{name}` in `{file}` |").unwrap();
    }
    check("limits", "limits", &text);
}
