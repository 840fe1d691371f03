//! The command line: starts a server, or talks to one.
//!
//! Owns arguments, tables, exit codes and the way a client finds its server; one file per command.
//! A client command uses the HTTP API alone: it opens no database and no vault.
//! Data goes to standard output, everything else to standard error.

mod client;
#[allow(rustdoc::bare_urls, reason = "the command line prints these texts as they are")]
mod command;
mod ui;

use clap::{Args, Parser, Subcommand};
use client::connection::Connection;
use client::session::Session;
use std::process::ExitCode;
use ui::failure::Failure;

/// The help text after the list of commands.
const AFTER_HELP: &str = "\
Client commands find the server by --url or ARBITER_URL and --token or ARBITER_TOKEN, else by what
the local server wrote to the data directory.

Exit codes: 0 done, 1 failed, 2 usage, 69 server unreachable, 74 input or output failed,
75 data directory held by another server, 77 refused, 78 configuration.";

/// A server that runs a company of AI agents and can be trusted with its keys.
#[derive(Debug, Parser)]
#[command(name = "arbiter", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    /// Print the API's JSON; may also follow the command
    #[arg(long = "json", id = "json_before_command")]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server
    Serve(command::serve::Serve),
    /// Start a demonstration with a simulated provider in a temporary directory
    Demo(command::demo::Demo),
    /// Show the state of the server
    Status(Connection),
    /// Unlock, lock, inspect or change the vault
    Vault(ClientCommand<command::vault::Command>),
    /// Keys in the vault; a key is never shown
    Key(ClientCommand<command::key::Command>),
    /// LLM endpoints
    Provider(ClientCommand<command::provider::Command>),
    /// Agents
    Agent(ClientCommand<command::agent::Command>),
    /// Personas: instructions that give agents a role
    Persona(ClientCommand<command::persona::Command>),
    /// Projects
    Project(ClientCommand<command::project::Command>),
    /// Beads: work items and their dependencies
    Bead(ClientCommand<command::bead::Command>),
    /// Questions to people
    Decision(ClientCommand<command::decision::Command>),
    /// Locks on files that agents work on
    Lock(ClientCommand<command::lock::Command>),
    /// API tokens
    Token(ClientCommand<command::token::Command>),
    /// Runs: of agents on beads, prompts to agents, chats through the gateway
    Run(ClientCommand<command::run::Command>),
    /// Spending limits
    Budget(ClientCommand<command::budget::Command>),
    /// Tokens and cost of calls to providers
    Usage(command::usage::Usage),
    /// Ask about the company; the best provider answers from current data
    Repl(command::repl::Repl),
    /// The event log and the event stream
    Events(ClientCommand<command::events::Command>),
    /// The event log as evidence
    Audit(ClientCommand<command::audit::Command>),
    /// The bridge to a Temporal server, and the workflows there
    #[cfg(feature = "temporal")]
    Temporal(ClientCommand<command::temporal::Command>),
    /// Make provider calls for a server on another machine, through a Temporal server
    #[cfg(feature = "temporal")]
    Worker(command::worker::Worker),
    /// Fill an empty data directory from the workflows at a Temporal server
    #[cfg(feature = "temporal")]
    Rebuild(command::worker::Rebuild),
    /// Settings and their sources
    Config(ClientCommand<command::config::Command>),
    /// Print the OpenAPI document
    Openapi(command::openapi::Openapi),
    /// Print a completion script for a shell
    Completions(command::completions::Completions),
}

/// A command that talks to a server.
#[derive(Debug, Args)]
struct ClientCommand<C: Subcommand> {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: C,
}

/// Runs the command that the arguments of this process name and returns the exit code.
pub fn main() -> ExitCode {
    // Before anything is read: clients hold keys and tokens as the server does.
    if let Err(error) = crate::app::harden() {
        let failure = Failure::from(error);
        failure.report();
        return ExitCode::from(failure.exit_code());
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data; a closed pipe is no error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(ui::failure::USAGE));
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.exit_code())
        }
    }
}

impl Command {
    /// Returns the connection flags of a client command.
    fn connection_mut(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Status(connection)
            | Self::Vault(ClientCommand { connection, .. })
            | Self::Key(ClientCommand { connection, .. })
            | Self::Provider(ClientCommand { connection, .. })
            | Self::Agent(ClientCommand { connection, .. })
            | Self::Persona(ClientCommand { connection, .. })
            | Self::Project(ClientCommand { connection, .. })
            | Self::Bead(ClientCommand { connection, .. })
            | Self::Decision(ClientCommand { connection, .. })
            | Self::Lock(ClientCommand { connection, .. })
            | Self::Token(ClientCommand { connection, .. })
            | Self::Run(ClientCommand { connection, .. })
            | Self::Budget(ClientCommand { connection, .. })
            | Self::Events(ClientCommand { connection, .. })
            | Self::Audit(ClientCommand { connection, .. })
            | Self::Config(ClientCommand { connection, .. })
            | Self::Usage(command::usage::Usage { connection, .. })
            | Self::Repl(command::repl::Repl { connection, .. }) => Some(connection),
            #[cfg(feature = "temporal")]
            Self::Temporal(ClientCommand { connection, .. }) => Some(connection),
            #[cfg(feature = "temporal")]
            Self::Worker(_) | Self::Rebuild(_) => None,
            Self::Serve(_) | Self::Demo(_) | Self::Openapi(_) | Self::Completions(_) => None,
        }
    }
}

fn run(mut cli: Cli) -> Result<(), Failure> {
    if cli.json {
        match cli.command.connection_mut() {
            Some(connection) => connection.set_json(),
            None => return Err(Failure::Usage("--json is for commands that ask a server".to_owned())),
        }
    }
    match cli.command {
        Command::Serve(command) => command.run(),
        Command::Demo(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Config(online) => match online.command {
            command::config::Command::Check(check) => check.run(&online.connection),
            command::config::Command::Show(show) => show.run(&online.connection),
        },
        Command::Status(connection) => connection.with(async |s| command::status::run(s).await),
        Command::Openapi(command) => command.run(),
        Command::Repl(command) => command.run(),
        Command::Audit(online) => online.command.run(&online.connection),
        Command::Vault(online) => online.command.run(&online.connection),
        Command::Key(online) => online.connection.with(async |s| online.command.run(s).await),
        Command::Provider(online) => online.connection.with(async |s| online.command.run(s).await),
        Command::Agent(online) => online.connection.with(async |s| online.command.run(s).await),
        Command::Persona(online) => online.connection.with(async |s| online.command.run(s).await),
        Command::Project(online) => online.connection.with(async |s| online.command.run(s).await),
        Command::Bead(online) => online.connection.with(async |s| online.command.run(s).await),
        Command::Decision(online) => online.connection.with(async |s| online.command.run(s).await),
        Command::Lock(online) => online.connection.with(async |s| online.command.run(s).await),
        Command::Token(ClientCommand { connection, command: command::token::Command::Reset }) => {
            command::token::reset(&connection)
        }
        Command::Token(online) => online.connection.with(async |s| online.command.run(s).await),
        Command::Run(online) => online.connection.with(async |s| online.command.run(s).await),
        Command::Budget(online) => online.connection.with(async |s| online.command.run(s).await),
        Command::Usage(command) => command.run(),
        #[cfg(feature = "temporal")]
        Command::Temporal(online) => online.connection.with(async |s| online.command.run(s).await),
        #[cfg(feature = "temporal")]
        Command::Worker(command) => command.run(),
        #[cfg(feature = "temporal")]
        Command::Rebuild(command) => command.run(),
        Command::Events(online) => online.connection.with(async |s| online.command.run(s).await),
    }
}

/// Runs `work` on a runtime of its own, without a server.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|source| Failure::io("cannot begin", source))?.block_on(work))
}

impl Connection {
    /// Opens a session and runs one client command in it.
    fn with(&self, command: impl AsyncFnOnce(&Session) -> Result<(), Failure>) -> Result<(), Failure> {
        let session = Session::open(self)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Failure::io("cannot start the client", source))?;
        runtime.block_on(command(&session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn cli_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_takes_a_key_or_password_as_an_argument() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                let secret = ["api_key", "password", "value", "key"].contains(&name);
                assert!(!secret, "{} {name}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn connection_flags_work_before_and_after_the_subcommand() {
        for line in ["arbiter bead --json list", "arbiter bead list --json --url http://h:1"] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        assert!(Cli::try_parse_from(["arbiter", "serve", "--json"]).is_err());
    }

    #[test]
    fn json_flag_before_the_command_counts_for_client_commands() {
        for line in ["arbiter --json status", "arbiter --json bead list", "arbiter --json usage"] {
            let mut cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.json && cli.command.connection_mut().is_some(), "{line}");
        }
        let mut cli = Cli::try_parse_from(["arbiter", "--json", "demo"]).unwrap();
        assert!(cli.command.connection_mut().is_none());
        assert_eq!(run(cli).unwrap_err().exit_code(), ui::failure::USAGE);
    }
}
