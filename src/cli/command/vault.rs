//! `arbiter vault …`: the key manager's state and password, and whole key files.

use crate::app;
use crate::cli::client::connection::Connection;
use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::{self, OutputFormat};
use crate::cli::ui::{input_file, password, secret, table};
use clap::{Args, Subcommand, ValueEnum};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Subcommands of `arbiter vault`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Unlock it; the first password creates it
    Unlock(Unlock),
    /// Lock it: running calls end, then no key can be read
    Lock,
    /// Show whether it is unlocked
    Status,
    /// Change its password: encrypts every key again, all or none
    Rotate(Rotate),
    /// Use a key file that is older than the newest one seen
    AcceptRollback,
    /// Write keys to an encrypted file for another data directory
    Export(Export),
    /// Import the keys of an encrypted file
    Import(Import),
    /// Start over without the keys after the password was lost; the server must be stopped
    Reset(Reset),
}

/// Where the vault's password comes from, if not from `ARBITER_PASSWORD` or a prompt.
#[derive(Debug, Args)]
pub struct PasswordSource {
    /// A file with the current password (for an import: that of the imported file): mode 0600, owned by this user, outside the data directory
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// The arguments of `vault unlock`.
#[derive(Debug, Args)]
pub struct Unlock {
    #[command(flatten)]
    source: PasswordSource,
}

/// The arguments of `vault rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    source: PasswordSource,
    /// A file with the new password, with the same mode, owner and place
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Rounds of key derivation; else as configured
    #[arg(long, value_name = "ROUNDS")]
    iterations: Option<u32>,
}

/// The arguments of `vault export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The file to create; an existing file is not overwritten
    #[arg(value_name = "FILE")]
    to: PathBuf,
    /// A key to write; may be given more than once, else all are
    #[arg(long = "key", value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    source: PasswordSource,
    /// A file with a password for the exported file; else the vault's own
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
}

/// The arguments of `vault import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The file to read
    #[arg(value_name = "FILE")]
    from: PathBuf,
    /// The treatment of a key whose id is taken
    #[arg(long, value_enum, default_value_t = OnConflict::Refuse)]
    on_conflict: OnConflict,
    #[command(flatten)]
    source: PasswordSource,
}

/// The treatment of an imported key whose id is taken.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnConflict {
    /// Nothing is imported at all
    Refuse,
    /// The key that is there stays
    Skip,
    /// The imported key takes its place
    Replace,
}

impl OnConflict {
    fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Skip => "skip",
            Self::Replace => "replace",
        }
    }
}

/// The arguments of `vault reset`.
#[derive(Debug, Args)]
pub struct Reset {
    /// Confirm: start over without the keys; their file is kept beside the new one
    #[arg(long)]
    forget_keys: bool,
}

impl Command {
    /// Runs the command.
    pub fn run(self, connection: &Connection) -> Result<(), Failure> {
        match self {
            Self::Reset(reset) => reset.run(connection),
            online => connection.with(async |session| online.run_online(session).await),
        }
    }

    async fn run_online(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Unlock(unlock) => unlock.run(session).await,
            Self::Lock => session.act(Request::post(&["vault", "lock"]), "the vault is locked").await,
            Self::Status => session.show(Request::get(&["vault"])).await,
            Self::Rotate(rotate) => rotate.run(session).await,
            Self::AcceptRollback => {
                let request = Request::post(&["vault", "accept-rollback"]);
                session
                    .act(request, "the older key file is in use; what was stored since is gone from it")
                    .await
            }
            Self::Export(export) => export.run(session).await,
            Self::Import(import) => import.run(session).await,
            Self::Reset(reset) => reset.run(&session.connection),
        }
    }
}

impl PasswordSource {
    /// The password from the environment or the file, if either has one.
    fn read(&self, session: &Session) -> Result<Option<SecretString>, Failure> {
        match password::from_environment()? {
            Some(password) => Ok(Some(password)),
            None => self.password_file.as_deref().map(|path| from_password_file(path, session)).transpose(),
        }
    }

    /// The same; asked for when neither has one.
    fn read_or_ask(&self, session: &Session, prompt: &str) -> Result<SecretString, Failure> {
        self.read(session)?.map_or_else(|| secret::ask(prompt), Ok)
    }
}

fn from_password_file(path: &Path, session: &Session) -> Result<SecretString, Failure> {
    // The directory is that of the local server; elsewhere it is simply not there.
    let directory = session.connection.data_directory().unwrap_or_default();
    password::from_file(path, &directory)
}

impl Unlock {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let password = match self.source.read(session)? {
            Some(password) => password,
            None => {
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

impl Rotate {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let old = self.source.read_or_ask(session, "Vault password: ")?;
        let new = match &self.new_password_file {
            Some(path) => from_password_file(path, session)?,
            None => password::ask_twice("New vault password: ")?,
        };
        let body = json!({
            "old_password": old.expose_secret(),
            "new_password": new.expose_secret(),
            "iterations": self.iterations,
        });
        let request = Request::post(&["vault", "rotate"]).body(&body)?.without_answer_limit();
        session.act(request, "the vault's password is changed").await
    }
}

impl Export {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let password = self.source.read_or_ask(session, "Vault password: ")?;
        let new =
            self.new_password_file.as_deref().map(|path| from_password_file(path, session)).transpose()?;
        let body = json!({
            "password": password.expose_secret(),
            "new_password": new.as_ref().map(|new| new.expose_secret()),
            "keys": self.ids,
        });
        let request = Request::post(&["vault", "export"]).body(&body)?.without_answer_limit();
        let name = self.to.display().to_string();
        let failed = |source| Failure::io(format!("cannot write {name}"), source);
        // Made before anything is asked for, so that no export is on record that went nowhere.
        if self.to.exists() {
            let source = io::ErrorKind::AlreadyExists.into();
            return Err(Failure::io(format!("{name} is there already and is not overwritten"), source));
        }
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.to);
        let mut file = made.map_err(failed)?;
        let outcome = match session.client.text(&request).await {
            Ok(text) => write_text(&mut file, &text).map_err(failed),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = outcome {
            // An empty or half-written file is no export.
            let _ = fs::remove_file(&self.to);
            return Err(failure);
        }
        session.output.text(&format!("{name}: written"))
    }
}

fn write_text(file: &mut fs::File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

impl Import {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let name = self.from.display().to_string();
        let bytes = input_file::read(&self.from)?;
        let file: Value = serde_json::from_slice(&bytes)
            .map_err(|_| Failure::Refused(format!("{name} is no key file; nothing was sent")))?;
        let password = self.source.read_or_ask(session, &format!("Password of {name}: "))?;
        let body = json!({
            "password": password.expose_secret(),
            "file": file,
            "on_conflict": self.on_conflict.word(),
        });
        let request = Request::post(&["vault", "import"]).body(&body)?.without_answer_limit();
        session.show(request).await
    }
}

impl Reset {
    fn run(self, connection: &Connection) -> Result<(), Failure> {
        if !self.forget_keys {
            let text = "this begins anew without any key, since nothing opens the vault without its password; \
                        the key file is kept under another name. If that is what you want: \
                        arbiter vault reset --forget-keys";
            return Err(Failure::Usage(text.to_owned()));
        }
        let directory = connection.data_directory()?;
        if !directory.is_dir() {
            return Err(Failure::Failed(format!("there is no data directory {}", directory.display())));
        }
        let reset = app::reset_vault(&directory)?;
        let kept: Vec<String> = reset.archived.iter().map(|file| file.to.display().to_string()).collect();
        let output = output::Output::new(connection.format());
        if connection.format() == OutputFormat::Json {
            return output.json(&json!({"forgotten": reset.keys, "kept": kept}));
        }
        if !reset.is_changed {
            return output.text("the key file is blank already; nothing was changed");
        }
        output.text(&format!("keys forgotten: {}", reset.keys.len()))?;
        for path in kept {
            output.text(&format!("kept: {path}"))?;
        }
        output.text(
            "next: start the server with a new password, then give each provider its key again: arbiter key add \
             NAME --id key_PROVIDER --host HOST, or PATCH /api/v1/providers/PROVIDER with api_key",
        )
    }
}
