//! `arbiter config …`: settings, and where each came from.

use crate::cli::client::connection::Connection;
use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::command::serve::{config_file, environment};
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::{self, Output};
use crate::cli::ui::table::Column;
use crate::config::{Loaded, Settings};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::path::{Path, PathBuf};

const COLUMNS: &[Column] = &[("key", "key"), ("value", "value"), ("source", "source")];

/// Subcommands of `arbiter config`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the settings of the running server and their sources
    Show(Show),
    /// Check a configuration file and the environment without starting a server
    Check(Check),
}

/// The arguments of `config show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Show what a server started here would use instead
    #[arg(long)]
    offline: bool,
    /// The configuration file
    #[arg(long, value_name = "FILE", requires = "offline")]
    config: Option<PathBuf>,
}

/// The arguments of `config check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration file; else arbiter.toml in the data directory, if there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Show {
    /// Prints every setting with its value and source.
    pub fn run(self, connection: &Connection) -> Result<(), Failure> {
        if !self.offline {
            return connection.with(async |session| show_remote(session).await);
        }
        let entries = load(self.config.as_deref(), connection)?.entries();
        let rows: Vec<Value> = entries.iter().filter_map(|entry| serde_json::to_value(entry).ok()).collect();
        Output::new(connection.format()).list(&rows, COLUMNS)
    }
}

async fn show_remote(session: &Session) -> Result<(), Failure> {
    match session.client.json(&Request::get(&["config"])).await? {
        Value::Array(rows) => session.output.list(&rows, COLUMNS),
        other => session.output.record(&other),
    }
}

impl Check {
    /// Loads the settings as a server would and reports every problem.
    pub fn run(self, connection: &Connection) -> Result<(), Failure> {
        load(self.config.as_deref(), connection)?;
        output::note("the configuration can be used");
        Ok(())
    }
}

fn load(given: Option<&Path>, connection: &Connection) -> Result<Loaded, Failure> {
    let file = match (given, connection.data_directory()) {
        (Some(path), _) => Some(path.to_owned()),
        (None, Ok(directory)) => config_file(None, &directory),
        (None, Err(_)) => None,
    };
    Ok(Settings::load(file.as_deref(), environment(), &[])?)
}
