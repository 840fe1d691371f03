//! Metrics: those that a server exposes after some work, and those that the sources name.

use super::freeze;
use crate::harness::program::private_file;
use crate::harness::{Harness, TIMEOUT};
use crate::tidy::{code, files, is_test};
use arbiter_testkit::{ResponseMode, Script, WebhookReceiver};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use tokio::time::Instant;

/// Type, help and label names of one metric.
#[derive(Default)]
struct Metric {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// Parses a scrape in Prometheus' text format.
fn metrics(scrape: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for line in scrape.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            metrics.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            metrics.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else {
            let end = line.find(['{', ' ']).unwrap();
            let (sample, rest) = line.split_at(end);
            let ends = ["_bucket", "_sum", "_count"];
            let family = ends.iter().find_map(|end| sample.strip_suffix(end));
            let name = family.filter(|name| metrics.contains_key(*name)).unwrap_or(sample);
            let labels = rest.strip_prefix('{').and_then(|rest| rest.rsplit_once('}'));
            let labels = labels.map_or("", |(labels, _)| labels);
            // A label's value may hold braces, but no quotation mark.
            let names = labels.split('"').step_by(2).filter_map(|part| part.strip_suffix('='));
            let names = names.map(|name| name.trim_start_matches(',').to_owned());
            metrics.entry(name.to_owned()).or_default().labels.extend(names);
        }
    }
    metrics
}

impl Harness {
    /// Scrapes until all these metrics are exposed: runs are counted a moment after they end.
    async fn scrape_with(&self, wanted: &[&str]) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let answer = self.server.ask("GET", "/metrics", &[], None).await;
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            if wanted.iter().all(|name| text.contains(name)) {
                return text;
            }
            assert!(Instant::now() < deadline, "not all of {wanted:?} in {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_of_a_server_that_has_worked_are_as_frozen() {
    let home = tempfile::tempdir().unwrap();
    let secret = private_file(home.path(), "secret", "whsec_a-secret-of-this-test");
    let receiver = WebhookReceiver::start(ResponseMode::Status(200)).await;
    let notify = [("ARBITER_NOTIFY__URL", receiver.url()), ("ARBITER_NOTIFY__SECRET_FILE", &secret)];
    let harness = Harness::with(&notify).await;
    let _provider = harness.setup(Script::default(), &["a"]).await;
    harness.bead("b", json!({})).await;
    harness.wait_for_bead_status("b", "closed").await;
    let scrape = harness.scrape_with(&["arbiter_runs_total"]).await;
    let mut text = String::new();
    for (name, metric) in metrics(&scrape) {
        let labels = metric.labels.into_iter().collect::<Vec<_>>().join(", ");
        writeln!(text, "{name} {} {{{labels}}}\n    {}", metric.kind, metric.help).unwrap();
    }
    freeze("metrics", &text);
}

/// Returns the string literals up to the first closing parenthesis: name, help and labels.
fn arguments(call: &str) -> Vec<&str> {
    let end = call.find(')').unwrap_or(call.len());
    call[..end].split('"').skip(1).step_by(2).collect()
}

/// Tells by the form of a literal whether it names a metric.
fn is_name(literal: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
    literal.starts_with("arbiter_") && literal.chars().all(is_word)
}

#[test]
fn metrics_that_the_sources_name_are_as_frozen() {
    let mut lines = BTreeSet::new();
    let macros = ["counter!(", "gauge!(", "histogram!("];
    let sources = ["src", "actors"].iter().flat_map(|folder| files(folder, &[".rs"]));
    for (_, text) in sources.filter(|(path, _)| !is_test(path)) {
        let text = code(&text).map(|(_, line)| line).collect::<Vec<_>>().join(" ");
        let literals = text.split('"').skip(1).step_by(2);
        lines.extend(literals.filter(|literal| is_name(literal)).map(|name| format!("names {name}")));
        for name in macros {
            for (place, _) in text.match_indices(name) {
                let is_description = text[..place].ends_with("describe_");
                let word = if is_description { "describes" } else { "sets" };
                let found = arguments(&text[place + name.len()..]);
                lines.insert(format!("{word} {} {found:?}", name.trim_end_matches("!(")));
            }
        }
    }
    freeze("metrics_in_sources", &lines.into_iter().collect::<Vec<_>>().join("\n"));
}
