//! `arbiter events …`: what happened, and what happens.
//!
//! Owns the client's side of the event stream: it reconnects by itself, says so, and goes on behind
//! the last event it printed.

use crate::cli::client::Client;
use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::client::sse::{SseFrame, SseParser};
use crate::cli::ui::event_line::event_line;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::{self, OutputFormat};
use crate::cli::ui::table::{at, one_line, word};
use arbiter_core::kernel::backoff::Backoff;
use clap::{Args, Subcommand};
use serde_json::Value;
use std::time::Duration;

/// The timing of reconnects.
#[derive(Clone, Copy, Debug)]
struct ReconnectPolicy {
    /// The longest silence before a stream is taken for dead; the server writes every 15 s.
    silence: Duration,
    /// The waits before reconnecting.
    backoff: Backoff,
}

const RECONNECT_POLICY: ReconnectPolicy = ReconnectPolicy {
    silence: Duration::from_secs(60),
    backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(10)),
};

/// Subcommands of `arbiter events`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List events of the log, oldest first
    List(List),
    /// Print events as they happen, until interrupted
    Tail(Tail),
}

/// Which events.
#[derive(Clone, Debug, Args)]
pub struct Filter {
    /// Only those of this project
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Only these types, as bead.created,agent.* ; may be repeated
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Only those behind this one
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
}

/// The arguments of `events list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    /// Only those before this one
    #[arg(long, value_name = "SEQ")]
    before: Option<u64>,
    /// Only those about this entity
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// The most events to show
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// The arguments of `events tail`.
#[derive(Debug, Args)]
pub struct Tail {
    #[command(flatten)]
    filter: Filter,
    /// End after this many events
    #[arg(long, value_name = "EVENTS")]
    limit: Option<u64>,
}

impl Filter {
    fn on(&self, request: Request) -> Request {
        let types = (!self.types.is_empty()).then(|| self.types.join(","));
        request.filter("project_id", self.project.as_deref()).filter("type", types)
    }
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(session).await,
            Self::Tail(tail) => Follower::new(tail, session, RECONNECT_POLICY).run().await,
        }
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let request = self
            .filter
            .on(Request::get(&["events"]))
            .filter("after", self.filter.after)
            .filter("before", self.before)
            .filter("subject", self.subject);
        let (events, _) = session.client.list(&request, self.limit).await?;
        if session.output.format() == OutputFormat::Json {
            return session.output.json(&Value::Array(events));
        }
        events.iter().try_for_each(|event| session.output.text(&event_line(event)))
    }
}

/// The state of a follower after a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    GoesOn,
    Done,
}

/// Follows the stream across reconnections.
struct Follower<'a> {
    session: &'a Session,
    request: Request,
    last: Option<String>,
    remaining: Option<u64>,
    failures: u32,
    policy: ReconnectPolicy,
}

impl<'a> Follower<'a> {
    fn new(tail: Tail, session: &'a Session, policy: ReconnectPolicy) -> Self {
        Self {
            session,
            request: tail.filter.on(Request::get(&["events", "stream"])),
            last: tail.filter.after.map(|seq| seq.to_string()),
            remaining: tail.limit,
            failures: 0,
            policy,
        }
    }

    async fn run(mut self) -> Result<(), Failure> {
        if self.remaining == Some(0) {
            return Ok(());
        }
        let mut client = self.session.client.clone();
        let mut connected_once = false;
        loop {
            let why = match client.stream(&self.request, self.last.as_deref()).await {
                Ok(response) => {
                    connected_once = true;
                    match self.read(response).await? {
                        (Progress::Done, _) => return Ok(()),
                        (Progress::GoesOn, why) => why,
                    }
                }
                Err(failure) if !connected_once || !is_transient(&failure) => return Err(failure),
                Err(failure) => failure.to_string(),
            };
            self.failures = self.failures.saturating_add(1);
            let wait = self.policy.backoff.delay(self.failures);
            let seconds = wait.as_secs_f32();
            output::note(&format!("{}; reconnecting in {seconds} s", one_line(&why)));
            tokio::time::sleep(wait).await;
            // A server that was started again may listen elsewhere.
            if let Ok(target) = self.session.connection.target() {
                client = Client::new(&target)?;
            }
        }
    }

    /// Reads one connection to its end and returns the reason.
    async fn read(&mut self, mut response: reqwest::Response) -> Result<(Progress, String), Failure> {
        let mut parser = SseParser::default();
        loop {
            let chunk = match tokio::time::timeout(self.policy.silence, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok((Progress::GoesOn, "the stream ended".to_owned())),
                Ok(Err(error)) => return Ok((Progress::GoesOn, format!("the stream broke: {error}"))),
                Err(_) => return Ok((Progress::GoesOn, "the stream fell silent".to_owned())),
            };
            for frame in parser.feed(&chunk) {
                if self.take(&frame)? == Progress::Done {
                    return Ok((Progress::Done, String::new()));
                }
            }
        }
    }

    fn take(&mut self, frame: &SseFrame) -> Result<Progress, Failure> {
        self.failures = 0;
        let Ok(data) = serde_json::from_str::<Value>(&frame.data) else {
            output::note("an event that is no JSON was left out");
            return Ok(Progress::GoesOn);
        };
        match frame.event.as_str() {
            "connected" => {
                // A reconnect continues from here, even before the first event.
                if self.last.is_none() {
                    self.last = data.get("last_seq").and_then(Value::as_u64).map(|n| n.to_string());
                }
                output::note(&format!("connected; the log ends at {}", word(at(&data, "last_seq"))));
            }
            "stream.gap" => {
                let available = at(&data, "available_from");
                output::note(&format!(
                    "events {} to {} are no longer kept; going on at {}",
                    word(at(&data, "from")),
                    word(at(&data, "to")),
                    word(available)
                ));
                self.last = available.as_u64().map(|seq| seq.saturating_sub(1).to_string());
            }
            "stream.closing" => output::note("the server is going down"),
            _ => return self.print(frame, &data),
        }
        Ok(Progress::GoesOn)
    }

    fn print(&mut self, frame: &SseFrame, event: &Value) -> Result<Progress, Failure> {
        match self.session.output.format() {
            OutputFormat::Json => self.session.output.text(&event.to_string())?,
            OutputFormat::Table => self.session.output.text(&event_line(event))?,
        }
        if frame.id.is_some() {
            self.last.clone_from(&frame.id);
        }
        self.remaining = self.remaining.map(|count| count - 1);
        Ok(if self.remaining == Some(0) { Progress::Done } else { Progress::GoesOn })
    }
}

/// Returns whether a retry may help: the server is away, starting or stopping.
fn is_transient(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable(_) => true,
        Failure::Server(problem) => matches!(problem.status, 429 | 500..),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
