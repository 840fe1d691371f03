//! `arbiter usage`: what calls to providers took and cost.

use crate::cli::client::connection::Connection;
use crate::cli::client::request::Request;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::table::Column;
use clap::Args;

const COLUMNS: &[Column] = &[
    ("period", "period"),
    ("of", "key"),
    ("calls", "calls"),
    ("failed", "failed"),
    ("attempts", "attempts"),
    ("in", "input_tokens"),
    ("out", "output_tokens"),
    ("usd", "cost_usd"),
    ("ms", "latency_ms"),
];

/// The arguments of `usage`.
#[derive(Debug, Args)]
pub struct Usage {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// One line for each of these
    #[arg(long, value_parser = ["provider", "model", "agent", "project", "bead", "token"], default_value = "provider")]
    by: String,
    /// For each day, each month, or all of the time
    #[arg(long, value_parser = ["day", "month", "total"], default_value = "total")]
    per: String,
    /// Only calls that began then or later, as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only calls that began before
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only for this project
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Only for this agent
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Only calls of this kind
    #[arg(long, value_parser = ["run", "gateway", "repl", "work"])]
    kind: Option<String>,
}

impl Usage {
    /// Prints the sums.
    pub fn run(self) -> Result<(), Failure> {
        let request = Request::get(&["usage"])
            .filter("group_by", Some(self.by))
            .filter("per", Some(self.per))
            .filter("from", self.from)
            .filter("to", self.to)
            .filter("project_id", self.project)
            .filter("agent_id", self.agent)
            .filter("kind", self.kind);
        self.connection.with(async |session| {
            let lines = session.client.json(&request).await?;
            session.output.list(lines.as_array().map_or(&[][..], Vec::as_slice), COLUMNS)
        })
    }
}
