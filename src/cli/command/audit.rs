//! `arbiter audit …`: whether the event log is what was written.

use crate::app;
use crate::cli::client::connection::Connection;
use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::Output;
use clap::Subcommand;
use serde_json::{Value, json};

/// Subcommands of `arbiter audit`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Verify the hash chain of the whole log; detects one changed byte
    Verify,
}

impl Command {
    /// Asks the server; without one, looks into the data directory.
    pub fn run(self, connection: &Connection) -> Result<(), Failure> {
        let verdict = match connection.has_server_url() {
            true => None,
            false => verify_directory(connection)?,
        };
        match verdict {
            Some(verdict) => print_verdict(&Output::new(connection.format()), &verdict),
            None => connection.with(async |session: &Session| {
                let verdict = session.client.json(&Request::get(&["audit", "verify"])).await?;
                print_verdict(&session.output, &verdict)
            }),
        }
    }
}

/// The verdict on the log of a directory; none when a server holds it.
fn verify_directory(connection: &Connection) -> Result<Option<Value>, Failure> {
    let directory = connection.data_directory()?;
    let checked = crate::cli::block_on(app::verify_audit(&directory))?;
    match checked {
        Ok(Ok(whole)) => Ok(Some(json!({
            "ok": true, "events": whole.events, "first_seq": whole.first_seq, "last_seq": whole.last_seq,
        }))),
        Ok(Err(wrong)) => Ok(Some(json!({"ok": false, "detail": wrong.to_string()}))),
        Err(error) if error.is_held() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn print_verdict(output: &Output, verdict: &Value) -> Result<(), Failure> {
    output.record(verdict)?;
    if verdict["ok"] == true {
        return Ok(());
    }
    let detail = verdict["detail"].as_str().unwrap_or("it says not why");
    Err(Failure::Failed(format!("the event log is not what was written: {detail}")))
}
