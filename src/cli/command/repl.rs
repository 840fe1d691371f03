//! `arbiter repl`: asks the console, once or line by line.

use crate::cli::client::connection::Connection;
use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::{self, OutputFormat};
use crate::cli::ui::table;
use clap::Args;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};
use serde_json::{Value, json};
use std::io::{self, BufRead, IsTerminal};

/// Earlier questions that the arrow keys bring back.
const HISTORY_LINES: usize = 200;

/// The arguments of `repl`.
#[derive(Debug, Args)]
pub struct Repl {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The provider to ask; else the best one
    #[arg(long, value_name = "ID")]
    provider: Option<String>,
    /// The project it is about; else all of them
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// The question; without one, questions are read line by line
    #[arg(value_name = "MESSAGE")]
    message: Vec<String>,
}

impl Repl {
    /// Asks what the arguments say, else what is typed.
    pub fn run(self) -> Result<(), Failure> {
        let connection = self.connection.clone();
        connection.with(async |session| {
            if !self.message.is_empty() {
                return self.ask(session, &self.message.join(" ")).await;
            }
            if io::stdin().is_terminal() {
                self.run_interactive(session).await
            } else {
                self.run_batch(session).await
            }
        })
    }

    async fn ask(&self, session: &Session, message: &str) -> Result<(), Failure> {
        let body = json!({"message": message, "provider_id": self.provider, "project_id": self.project});
        let answer =
            session.client.json(&Request::post(&["repl"]).body(&body)?.without_answer_limit()).await?;
        if session.output.format() == OutputFormat::Json {
            return session.output.json(&answer);
        }
        session.output.text(&table::printable(&table::word(table::at(&answer, "response"))))?;
        output::note(&table::one_line(&format!(
            "{}; {} tokens, {} ms, ${:.4}",
            table::word(table::at(&answer, "reason")),
            table::at(&answer, "tokens_used"),
            table::at(&answer, "latency_ms"),
            table::at(&answer, "cost_usd").as_f64().unwrap_or(0.0),
        )));
        Ok(())
    }

    /// Line by line from a pipe: the first failure ends it.
    async fn run_batch(&self, session: &Session) -> Result<(), Failure> {
        for line in io::stdin().lock().lines() {
            let line = line.map_err(|source| Failure::io("cannot read standard input", source))?;
            if !line.trim().is_empty() {
                self.ask(session, line.trim()).await?;
            }
        }
        Ok(())
    }

    /// Line by line from a terminal, with editing and the questions of earlier times.
    async fn run_interactive(&self, session: &Session) -> Result<(), Failure> {
        let failed = |error: ReadlineError| Failure::Failed(format!("cannot read the terminal: {error}"));
        let settings = Config::builder().max_history_size(HISTORY_LINES).map_err(failed)?.build();
        let mut editor: Editor<(), MemHistory> =
            Editor::with_history(settings, MemHistory::new()).map_err(failed)?;
        let (turns, _) = session.client.list(&Request::get(&["repl", "history"]), HISTORY_LINES).await?;
        for message in turns.iter().filter_map(|turn| turn.get("message").and_then(Value::as_str)) {
            editor.add_history_entry(message).map_err(failed)?;
        }
        output::note("ask about the company; Ctrl-D ends");
        loop {
            match editor.readline("arbiter> ") {
                Ok(line) if line.trim().is_empty() => {}
                Ok(line) => {
                    editor.add_history_entry(line.trim()).map_err(failed)?;
                    // A question that fails is no reason to end the conversation.
                    match self.ask(session, line.trim()).await {
                        Err(failure @ Failure::BrokenPipe) => return Err(failure),
                        Err(failure) => failure.report(),
                        Ok(()) => {}
                    }
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(failed(error)),
            }
        }
    }
}
