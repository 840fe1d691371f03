//! The context of a client command: an HTTP client and an output.

use crate::cli::client::connection::Connection;
use crate::cli::client::request::Request;
use crate::cli::client::{Client, Remainder};
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::{self, Output, OutputFormat};
use crate::cli::ui::table::Column;
use serde_json::Value;

/// The context of a client command.
#[derive(Debug)]
pub struct Session {
    pub client: Client,
    /// The output for data.
    pub output: Output,
    /// The connection options, which a stream reads again to reconnect.
    pub connection: Connection,
}

impl Session {
    /// Opens a session with the server that `connection` names. Sends nothing yet.
    pub fn open(connection: &Connection) -> Result<Self, Failure> {
        Ok(Self {
            client: Client::new(&connection.target()?)?,
            output: Output::new(connection.format()),
            connection: connection.clone(),
        })
    }

    /// Prints up to `limit` entries of a list, and a note when there are more.
    pub async fn list(&self, request: Request, limit: usize, columns: &[Column]) -> Result<(), Failure> {
        let (rows, rest) = self.client.list(&request, limit).await?;
        self.output.list(&rows, columns)?;
        if rest == Remainder::More {
            output::note(&format!("the first {} are shown; --limit shows more", rows.len()));
        }
        Ok(())
    }

    /// Prints the entity of the answer.
    pub async fn show(&self, request: Request) -> Result<(), Failure> {
        let record = self.client.json(&request).await?;
        self.output.record(&record)
    }

    /// Does something and says so: the entity as JSON for programs, `done` and the entity's id and
    /// status for people.
    pub async fn act(&self, request: Request, done: &str) -> Result<(), Failure> {
        let record = self.client.json(&request).await?;
        if self.output.format() == OutputFormat::Json {
            return if record.is_null() { Ok(()) } else { self.output.json(&record) };
        }
        let text = |field: &str| record.get(field).and_then(Value::as_str);
        let line = match (text("id"), text("status")) {
            (Some(id), Some(status)) => format!("{id}: {done} ({status})"),
            (Some(id), None) => format!("{id}: {done}"),
            _ => done.to_owned(),
        };
        self.output.text(&crate::cli::ui::table::one_line(&line))
    }
}
