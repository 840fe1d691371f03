//! `arbiter project …`: projects.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::command::org_chart::{self, OrgChart};
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::{self, OutputFormat};
use crate::cli::ui::table::{Column, at, one_line, word};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

const COLUMNS: &[Column] = &[
    ("id", "id"),
    ("name", "name"),
    ("status", "status"),
    ("repository", "git_repo"),
    ("branch", "branch"),
    ("updated", "updated_at"),
];

/// Subcommands of `arbiter project`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the projects
    List {
        /// Only those with this status
        #[arg(long)]
        status: Option<String>,
        /// The most entries to show
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one project
    Show {
        /// The project's id
        id: String,
    },
    /// Create a project
    Add(Add),
    /// Close it; open work in it files a decision first
    Close {
        /// The project's id
        id: String,
    },
    /// Reopen it
    Reopen {
        /// The project's id
        id: String,
    },
    /// Stop dispatching its beads until `project resume`; running work continues
    Park {
        /// The project's id
        id: String,
        /// Why
        reason: String,
    },
    /// Show or change its roles and the agents that fill them
    OrgChart(OrgChart),
    /// Assign an agent to it
    Assign {
        /// The project's id
        id: String,
        /// The agent's id
        agent: String,
        /// The role that it fills from now on
        #[arg(long)]
        role: Option<String>,
    },
    /// Unassign an agent, which then works for all projects
    Unassign {
        /// The project's id
        id: String,
        /// The agent's id
        agent: String,
    },
    /// Dispatch its beads again after `project park`
    Resume {
        /// The project's id
        id: String,
    },
}

/// The arguments of `project add`.
#[derive(Debug, Args, Serialize)]
pub struct Add {
    /// Its name
    name: String,
    /// Its id; else one is made
    #[arg(long)]
    id: Option<String>,
    /// Its repository
    #[arg(long, value_name = "URL")]
    git_repo: Option<String>,
    /// The branch to work on
    #[arg(long)]
    branch: Option<String>,
    /// Its beads' directory
    #[arg(long, value_name = "PATH")]
    beads_path: Option<String>,
    /// The prefix of the ids of its new beads
    #[arg(long, value_name = "PREFIX")]
    #[serde(skip_serializing_if = "Option::is_none")]
    bead_prefix: Option<String>,
    /// The most beads that are worked on at once
    #[arg(long, value_name = "BEADS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_parallel: Option<u32>,
    /// The project never closes
    #[arg(long = "perpetual")]
    is_perpetual: bool,
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List { status, limit } => {
                let request = Request::get(&["projects"]).filter("status", status);
                session.list(request, limit, COLUMNS).await
            }
            Self::Show { id } => session.show(Request::get(&["projects", &id])).await,
            Self::Add(add) => session.act(Request::post(&["projects"]).body(&add)?, "created").await,
            Self::Close { id } => close(session, &id).await,
            Self::Reopen { id } => session.act(Request::post(&["projects", &id, "reopen"]), "reopened").await,
            Self::Park { id, reason } => {
                let body = json!({"reason": reason});
                session.act(Request::post(&["projects", &id, "park"]).body(&body)?, "parked").await
            }
            Self::OrgChart(chart) => chart.run(session).await,
            Self::Assign { id, agent, role } => {
                let body = json!({"agent_id": agent, "action": "assign", "role": role});
                set_membership(session, &id, &body).await
            }
            Self::Unassign { id, agent } => {
                set_membership(session, &id, &json!({"agent_id": agent, "action": "unassign"})).await
            }
            Self::Resume { id } => session.act(Request::post(&["projects", &id, "resume"]), "resumed").await,
        }
    }
}

/// Reports that the project is closed, or the decision that has to be answered first.
async fn close(session: &Session, id: &str) -> Result<(), Failure> {
    let answer = session.client.json(&Request::post(&["projects", id, "close"])).await?;
    if session.output.format() == OutputFormat::Json {
        return session.output.json(&answer);
    }
    let text = |field: &str| one_line(&word(at(&answer, field)));
    match answer.get("question") {
        Some(_) => {
            output::note(&text("question"));
            let line = format!("answer with: arbiter decision decide {} yes (or no)", text("id"));
            session.output.text(&line)
        }
        None => session.output.text(&format!("{id}: closed ({})", text("status"))),
    }
}

async fn set_membership(session: &Session, project: &str, body: &Value) -> Result<(), Failure> {
    let request = Request::post(&["projects", project, "agents"]).body(body)?;
    org_chart::show(session, session.client.json(&request).await?)
}
