//! `arbiter persona …`: the roles that agents play.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::input_file::read_text_or_stdin;
use crate::cli::ui::output::OutputFormat;
use crate::cli::ui::table::{self, Column};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::path::PathBuf;

const COLUMNS: &[Column] = &[
    ("name", "name"),
    ("title", "title"),
    ("autonomy", "autonomy"),
    ("origin", "origin"),
    ("before a built-in one", "is_shadowing"),
];

/// Subcommands of `arbiter persona`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the personas
    List {
        /// The most entries to show
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one persona
    Show {
        /// Its name, such as default/ceo
        name: String,
        /// Print one of its texts alone, as it is in its file
        #[arg(long, value_enum)]
        text: Option<Text>,
    },
    /// Create one
    Add(PersonaTexts),
    /// Change one; agents use it from their next run
    Edit(PersonaTexts),
    /// Delete one of your own; a built-in one of the same name becomes visible again
    Delete {
        /// Its name
        name: String,
        /// Even if agents use it, which then continue without a persona
        #[arg(long)]
        cascade: bool,
    },
}

/// A text of a persona.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Text {
    /// PERSONA.md: the instructions
    Persona,
    /// AI_START_HERE.md: how it begins
    StartHere,
}

/// The arguments of `persona add` and `persona edit`.
#[derive(Debug, Args)]
pub struct PersonaTexts {
    /// Its name, such as team/lead
    name: String,
    /// PERSONA.md, or a directory that holds it and AI_START_HERE.md, or - for standard input
    #[arg(long = "from", value_name = "PATH", required_unless_present = "start_here")]
    from: Option<PathBuf>,
    /// AI_START_HERE.md, or - for standard input
    #[arg(long, value_name = "PATH")]
    start_here: Option<PathBuf>,
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List { limit } => session.list(Request::get(&["personas"]), limit, COLUMNS).await,
            Self::Show { name, text } => show(session, &name, text).await,
            Self::Add(write) => {
                let mut body = write.texts()?;
                if body.get("persona").is_none() {
                    return Err(Failure::Usage("a new persona needs --from".to_owned()));
                }
                body["name"] = json!(write.name);
                done(session, Request::post(&["personas"]).body(&body)?, &write.name, "created").await
            }
            Self::Edit(write) => {
                let mut body = write.texts()?;
                // What is not given stays as it is.
                let now = session.client.json(&Request::get(&path(&write.name))).await?;
                for field in ["persona", "start_here"] {
                    if body.get(field).is_none() {
                        body[field] = now[field].clone();
                    }
                }
                done(session, Request::put(&path(&write.name)).body(&body)?, &write.name, "changed").await
            }
            Self::Delete { name, cascade } => {
                let request = Request::delete(&path(&name)).filter("cascade", cascade.then_some("true"));
                done(session, request, &name, "deleted").await
            }
        }
    }
}

/// The path of a persona: the slashes of its name are the path's own.
fn path(name: &str) -> Vec<&str> {
    std::iter::once("personas").chain(name.split('/')).collect()
}

async fn show(session: &Session, name: &str, text: Option<Text>) -> Result<(), Failure> {
    let request = Request::get(&path(name));
    let Some(text) = text else { return session.show(request).await };
    let persona = session.client.json(&request).await?;
    let field = if text == Text::Persona { "persona" } else { "start_here" };
    let text = persona[field].as_str().unwrap_or_default();
    // A file gets it as it is; a terminal must not obey it.
    let shown = if std::io::stdout().is_terminal() { table::printable(text) } else { text.to_owned() };
    session.output.text(&shown)
}

async fn done(session: &Session, request: Request, name: &str, done: &str) -> Result<(), Failure> {
    let persona = session.client.json(&request).await?;
    match session.output.format() {
        OutputFormat::Json if persona.is_null() => Ok(()),
        OutputFormat::Json => session.output.json(&persona),
        OutputFormat::Table => session.output.text(&table::one_line(&format!("{name}: {done}"))),
    }
}

impl PersonaTexts {
    /// The texts that are given.
    fn texts(&self) -> Result<Value, Failure> {
        let mut body = json!({});
        if let Some(from) = &self.from {
            if from.is_dir() {
                body["persona"] = json!(read_text_or_stdin(&from.join("PERSONA.md"))?);
                let start = from.join("AI_START_HERE.md");
                if start.exists() {
                    body["start_here"] = json!(read_text_or_stdin(&start)?);
                }
            } else {
                body["persona"] = json!(read_text_or_stdin(from)?);
            }
        }
        if let Some(start) = &self.start_here {
            body["start_here"] = json!(read_text_or_stdin(start)?);
        }
        Ok(body)
    }
}
