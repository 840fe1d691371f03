//! `arbiter project org-chart`: the roles that a project needs and the agents that fill them.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::input_file;
use crate::cli::ui::output::{self, OutputFormat};
use crate::cli::ui::table::Column;
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const COLUMNS: &[Column] = &[
    ("role", "role_name"),
    ("persona", "persona_path"),
    ("required", "required"),
    ("most", "most"),
    ("filled by", "agent_ids"),
    ("reports to", "reports_to"),
];

/// The arguments of `project org-chart`.
#[derive(Debug, Args)]
pub struct OrgChart {
    /// The project's id
    id: String,
    /// Replace its positions by those of this file, or of standard input for -: the JSON that --json prints
    #[arg(long, value_name = "FILE")]
    set: Option<PathBuf>,
}

impl OrgChart {
    /// Shows the chart, after changing it if that is wanted.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        let path = ["org-charts", self.id.as_str()];
        let request = match &self.set {
            None => Request::get(&path),
            Some(file) => {
                let positions = read(file)?.get("positions").cloned().unwrap_or_else(|| json!([]));
                Request::put(&path).exact_body(json!({"positions": positions}))
            }
        };
        show(session, session.client.json(&request).await?)
    }
}

/// Prints a chart: its positions in their order, and which of them are vacant although they are required.
pub fn show(session: &Session, mut chart: Value) -> Result<(), Failure> {
    if session.output.format() == OutputFormat::Json {
        return session.output.json(&chart);
    }
    let mut vacant = Vec::new();
    let mut positions = chart["positions"].take().as_array().cloned().unwrap_or_default();
    for position in &mut positions {
        let most = position["max_instances"].as_u64().filter(|most| *most > 0);
        position["most"] = json!(most);
        let is_vacant = position["agent_ids"].as_array().is_none_or(Vec::is_empty);
        if is_vacant && position["required"] == json!(true) {
            vacant.extend(position["role_name"].as_str().map(str::to_owned));
        }
    }
    session.output.list(&positions, COLUMNS)?;
    if !vacant.is_empty() {
        output::note(&format!("required and vacant: {}", vacant.join(", ")));
    }
    Ok(())
}

fn read(file: &Path) -> Result<Value, Failure> {
    let text = input_file::read_text_or_stdin(file)?;
    serde_json::from_str(&text).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))
}
