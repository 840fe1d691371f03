//! `arbiter vault …`: the key manager's state.

use super::{failure::Failure, password, request::Request, secret, session::Session, table};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::json;
use std::path::PathBuf;

/// What to do with the vault.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Unlock it; the first password creates it
    Unlock(Unlock),
    /// Lock it: calls in flight end, then no key can be read
    Lock,
    /// Show whether it is unlocked
    Status,
}

/// The arguments of `vault unlock`.
#[derive(Debug, Args)]
pub struct Unlock {
    /// A file with the password: mode 0600, ours, outside the data directory
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Unlock(unlock) => unlock.run(session).await,
            Self::Lock => session.act(Request::post(&["vault", "lock"]), "the vault is locked").await,
            Self::Status => session.show(Request::get(&["vault"])).await,
        }
    }
}

impl Unlock {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let password = match (password::from_environment()?, &self.password_file) {
            (Some(password), _) => password,
            (None, Some(path)) => {
                // The directory is that of the local server; elsewhere it is simply not there.
                let directory = session.connection.data_directory().unwrap_or_default();
                password::from_file(path, &directory)?
            }
            (None, None) => {
                let vault = session.client.json(&Request::get(&["vault"])).await?;
                if table::at(&vault, "state") == "uninitialized" {
                    password::ask_twice("New vault password: ")?
                } else {
                    secret::ask("Vault password: ")?
                }
            }
        };
        let body = json!({"password": password.expose_secret()});
        let request = Request::post(&["vault", "unlock"]).body(&body)?;
        session.act(request, "the vault is unlocked").await
    }
}
