//! `arbiter bead why` and `arbiter bead graph`: what the work waits for.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::OutputFormat;
use crate::cli::ui::table::{at, one_line, word};
use clap::{Args, ValueEnum};
use serde_json::Value;

/// The arguments of `bead graph`.
#[derive(Debug, Args)]
pub struct Graph {
    /// The project
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// The format; --json prints the API's JSON
    #[arg(long, value_enum, default_value_t = GraphFormat::Mermaid)]
    format: GraphFormat,
}

/// A language for drawings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GraphFormat {
    /// Mermaid
    Mermaid,
    /// Graphviz
    Dot,
}

impl Graph {
    /// Prints the drawing.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        let request = Request::get(&["work-graph"]).filter("project_id", self.project);
        if session.output.format() == OutputFormat::Json {
            let graph = session.client.json(&request.filter("format", Some("json"))).await?;
            return session.output.json(&graph);
        }
        let format = match self.format {
            GraphFormat::Mermaid => "mermaid",
            GraphFormat::Dot => "dot",
        };
        let drawing = session.client.text(&request.filter("format", Some(format))).await?;
        session.output.text(&drawing)
    }
}

/// Prints why a bead does not move.
pub async fn explain(session: &Session, id: &str) -> Result<(), Failure> {
    let answer = session.client.json(&Request::get(&["beads", id, "why"])).await?;
    if session.output.format() == OutputFormat::Json {
        return session.output.json(&answer);
    }
    match reasons(&answer) {
        lines if lines.is_empty() => session.output.record(&answer),
        lines => lines.iter().try_for_each(|line| session.output.text(line)),
    }
}

/// The reasons in an answer, one a line.
fn reasons(answer: &Value) -> Vec<String> {
    let words = |value: &Value| match value {
        Value::Null => None,
        Value::Object(_) => {
            ["detail", "reason", "text"].iter().find_map(|field| at(value, field).as_str()).map(one_line)
        }
        other => Some(one_line(&word(other))),
    };
    ["reasons", "why", "reason"]
        .iter()
        .map(|field| at(answer, field))
        .find(|found| !found.is_null())
        .map(|found| match found {
            Value::Array(all) => all.iter().filter_map(words).collect(),
            one => words(one).into_iter().collect(),
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn why_prints_one_line_per_reason() {
        assert_eq!(reasons(&json!({"reasons": ["waits for bd-1", "no agent"]})).len(), 2);
        assert_eq!(reasons(&json!({"why": "it is closed"})), ["it is closed"]);
        assert_eq!(reasons(&json!({"reasons": [{"detail": "waits"}]})), ["waits"]);
        assert!(reasons(&json!({"status": "open"})).is_empty());
    }
}
