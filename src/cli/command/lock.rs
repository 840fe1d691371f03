//! `arbiter lock …`: locks on files.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::table::Column;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const COLUMNS: &[Column] = &[
    ("project", "project_id"),
    ("path", "path"),
    ("agent", "agent_id"),
    ("bead", "bead_id"),
    ("since", "acquired_at"),
    ("until", "expires_at"),
];

/// Subcommands of `arbiter lock`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the locks
    List(List),
    /// Lock files, all or none; locks that the holder already has are renewed
    #[command(alias = "add")]
    Acquire(LockArgs),
    /// Renew locks: those named, or all of the holder in the project
    Renew(LockArgs),
    /// End a lock
    #[command(alias = "remove")]
    Release {
        /// The project
        project: String,
        /// The file, from the project's root on
        path: String,
        /// Only if this agent or person holds it
        #[arg(long, value_name = "ID")]
        agent: Option<String>,
    },
}

/// The filters of `lock list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only those of this project
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Only those of this agent or person
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Only those for this bead
    #[arg(long, value_name = "ID")]
    bead: Option<String>,
    /// The most entries to show
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// The files to lock and their holder.
#[derive(Debug, Args)]
pub struct LockArgs {
    /// The project
    project: String,
    /// The files, from the project's root on
    paths: Vec<String>,
    /// The agent that works on them; else the agent of the token
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// The bead it is for, which has to be held
    #[arg(long, value_name = "ID")]
    bead: Option<String>,
    /// Seconds until they expire unless renewed, 10 to 86400 [default: 600]
    #[arg(long = "ttl", value_name = "SECONDS")]
    ttl_sec: Option<u64>,
}

impl LockArgs {
    fn body(&self) -> Value {
        json!({
            "project_id": self.project, "paths": self.paths, "agent_id": self.agent, "bead_id": self.bead,
            "ttl_sec": self.ttl_sec,
        })
    }
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let request = Request::get(&["file-locks"])
                    .filter("project_id", list.project)
                    .filter("agent_id", list.agent)
                    .filter("bead_id", list.bead);
                session.list(request, list.limit, COLUMNS).await
            }
            Self::Acquire(args) => print_locks(session, &["file-locks"], &args).await,
            Self::Renew(args) => print_locks(session, &["file-locks", "renew"], &args).await,
            Self::Release { project, path, agent } => {
                let request = Request::delete(&["file-locks", &project, &path]).filter("agent_id", agent);
                session.act(request, "released").await
            }
        }
    }
}

/// Prints the locks that there are afterwards.
async fn print_locks(session: &Session, segments: &[&str], args: &LockArgs) -> Result<(), Failure> {
    let locks = session.client.json(&Request::post(segments).body(&args.body())?).await?;
    session.output.list(locks.as_array().map_or(&[][..], Vec::as_slice), COLUMNS)
}
