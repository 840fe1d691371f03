//! `arbiter agent …`: agents.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::{self, OutputFormat};
use crate::cli::ui::table::{self, Column};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

const COLUMNS: &[Column] = &[
    ("id", "id"),
    ("name", "name"),
    ("status", "status"),
    ("role", "role"),
    ("provider", "provider_id"),
    ("project", "project_id"),
    ("bead", "current_bead"),
    ("reason", "status_reason"),
];

/// Subcommands of `arbiter agent`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the agents
    List {
        /// Only those of this project
        #[arg(long, value_name = "ID")]
        project: Option<String>,
        /// Only those with this status
        #[arg(long)]
        status: Option<String>,
        /// The most entries to show
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one agent
    Show {
        /// The agent's id
        id: String,
    },
    /// Create an agent and start it
    Add(Box<Add>),
    /// Send it a prompt outside of a bead
    Ask {
        /// The agent's id
        id: String,
        /// The project it is for, which pays
        #[arg(long, value_name = "ID")]
        project: String,
        /// The time-out of the answer in seconds
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
        /// The question
        #[arg(required = true, value_name = "PROMPT")]
        prompt: Vec<String>,
    },
    /// Stop it; its bead is released
    Shutdown {
        /// The agent's id
        id: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// Restart it
    Restart {
        /// The agent's id
        id: String,
    },
    /// Create a copy of it
    Clone(Box<CloneArgs>),
    /// Delete it
    Delete {
        /// The agent's id
        id: String,
        /// Delete its dependents too
        #[arg(long)]
        cascade: bool,
    },
}

/// The arguments of `agent add`.
#[derive(Debug, Args, Serialize)]
pub struct Add {
    /// Its name
    name: String,
    /// The provider of its model
    #[arg(long = "provider", value_name = "ID")]
    #[serde(rename = "provider_id")]
    provider: Option<String>,
    /// The project it works for; else it works for all
    #[arg(long = "project", value_name = "ID")]
    #[serde(rename = "project_id")]
    project: Option<String>,
    /// Its role, which beads may ask for
    #[arg(long)]
    role: Option<String>,
    /// Its persona
    #[arg(long = "persona", value_name = "NAME")]
    #[serde(rename = "persona_name")]
    persona: Option<String>,
    /// llm, or external for a program that claims its beads itself
    #[arg(long)]
    kind: Option<String>,
    /// Its id; else one is made
    #[arg(long)]
    id: Option<String>,
    /// Its purpose
    #[arg(long)]
    description: Option<String>,
    /// More settings as a JSON object: model, temperature, max_tokens, system_prompt, max_steps
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    config: Option<Value>,
}

/// The arguments of `agent clone`.
#[derive(Debug, Args, Serialize)]
pub struct CloneArgs {
    /// The id of the agent to copy
    #[serde(skip)]
    original: String,
    /// Its name
    name: String,
    /// Its id; else one is made
    #[arg(long)]
    id: Option<String>,
    /// Its persona; else that of the other one
    #[arg(long = "persona", value_name = "NAME")]
    #[serde(rename = "persona_name")]
    persona: Option<String>,
    /// Shut the original down at the same time; its bead is released
    #[arg(long)]
    replace: bool,
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List { project, status, limit } => {
                let request = Request::get(&["agents"]);
                let request = request.filter("project_id", project).filter("status", status);
                session.list(request, limit, COLUMNS).await
            }
            Self::Show { id } => session.show(Request::get(&["agents", &id])).await,
            Self::Add(add) => session.act(Request::post(&["agents"]).body(&add)?, "created").await,
            Self::Ask { id, project, timeout, prompt } => {
                let body = json!({
                    "agent_id": id, "project_id": project, "prompt": prompt.join(" "), "timeout_sec": timeout,
                });
                ask(session, Request::post(&["work"]).body(&body)?.without_answer_limit()).await
            }
            Self::Shutdown { id, reason } => {
                let request = Request::post(&["agents", &id, "shutdown"]);
                session.act(request.body(&json!({"reason": reason}))?, "shut down").await
            }
            Self::Restart { id } => {
                session.act(Request::post(&["agents", &id, "restart"]), "restarted").await
            }
            Self::Clone(copy) => {
                session.act(Request::post(&["agents", &copy.original, "clone"]).body(&copy)?, "created").await
            }
            Self::Delete { id, cascade } => {
                let request = Request::delete(&["agents", &id]);
                session.act(request.filter("cascade", cascade.then_some("true")), "deleted").await
            }
        }
    }
}

async fn ask(session: &Session, request: Request) -> Result<(), Failure> {
    let run = session.client.json(&request).await?;
    if session.output.format() == OutputFormat::Json {
        return session.output.json(&run);
    }
    let said = |field: &str| table::word(table::at(&run, field));
    session.output.text(&table::printable(&said("answer")))?;
    let about =
        format!("{} by {} with {}, {} USD", said("id"), said("provider_id"), said("model"), said("cost_usd"));
    output::note(&table::one_line(&about));
    match table::at(&run, "status") == "failed" {
        true => Err(Failure::Failed(said("error"))),
        false => Ok(()),
    }
}

fn json_object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("it is no JSON object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
