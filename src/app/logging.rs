//! The log: to stderr for people or programs, and its warnings and errors as events.

use crate::config::{Log, LogFormat};
use crate::http::ANONYMOUS;
use arbiter_actors::{Caller, Handles, LogLine};
use arbiter_core::kernel::display::push_escaped;
use serde_json::json;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// Lines that may wait to become events; more are only in the log.
const QUEUE_LIMIT: usize = 64;
/// The field of a line that names its project.
const PROJECT: &str = "project";
/// The least time between two lines that become events.
const MIN_EVENT_INTERVAL: Duration = Duration::from_millis(200);

struct QueuedLine {
    level: Level,
    target: String,
    /// The project of the field `project`, so that only its readers see the line.
    project: Option<String>,
    message: String,
}

static LINES: OnceLock<mpsc::Sender<QueuedLine>> = OnceLock::new();

/// Starts the log of this process; a second call changes nothing.
pub fn start(settings: &Log) {
    let mut directives = settings.level.as_str().to_owned();
    let targets = &settings.targets;
    for (name, level) in [
        ("workflow", targets.workflow),
        ("activity", targets.activity),
        ("event_bus", targets.event_bus),
        ("integration", targets.integration),
    ] {
        // Writing to a String does not fail.
        let _ = write!(directives, ",{name}={}", level.as_str());
    }
    let base = tracing_subscriber::registry().with(EnvFilter::new(directives)).with(EventLayer);
    let (to_stderr, escaped) =
        (fmt::layer().with_writer(std::io::stderr), fmt::layer().with_writer(|| EscapedStderr));
    // A log that is there already (in a test) is kept.
    let _ = match settings.format {
        LogFormat::Text => base.with(escaped.with_ansi(false)).try_init(),
        LogFormat::Json => base.with(to_stderr.json()).try_init(),
    };
}

/// From now on warnings and errors become `log.message` events as well, at a bounded pace.
pub fn publish(handles: Handles) {
    let (lines, mut queue) = mpsc::channel::<QueuedLine>(QUEUE_LIMIT);
    if LINES.set(lines).is_err() {
        return;
    }
    tokio::spawn(async move {
        while let Some(line) = queue.recv().await {
            let data = json!({"level": line.level.as_str().to_lowercase(), "message": line.message});
            let line = LogLine { source: "log", project_id: line.project, subject: line.target, data };
            // The line is in the log already; a store that fails has louder voices.
            let _ = handles.bus.log(&Caller::system(), line).await;
            tokio::time::sleep(MIN_EVENT_INTERVAL).await;
        }
    });
}

/// Standard error, on which a line of the log stays one line and no terminal obeys it.
struct EscapedStderr;

impl Write for EscapedStderr {
    /// Takes a whole line, as the formatter hands it over.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(escaped(line).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

fn escaped(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
    let mut shown = String::with_capacity(line.len());
    push_escaped(&mut shown, text);
    shown + end
}

/// Hands warnings and errors on.
struct EventLayer;

impl<S: Subscriber> Layer<S> for EventLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        // Nothing that a client without a token can cause is written into the database.
        if *about.level() > Level::WARN || about.target() == ANONYMOUS {
            return;
        }
        if let Some(lines) = LINES.get() {
            let mut text = MessageText::default();
            event.record(&mut text);
            let message = redacted(&text.text);
            // A message that finds the queue full is in the log only.
            let _ = lines.try_send(QueuedLine {
                level: *about.level(),
                target: about.target().to_owned(),
                project: text.project,
                message,
            });
        }
    }
}

#[derive(Default)]
struct MessageText {
    text: String,
    project: Option<String>,
}

impl Visit for MessageText {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &value);
        if field.name() == PROJECT {
            self.project = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == PROJECT {
            self.project = Some(format!("{value:?}"));
        }
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        let _ = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            name => write!(self.text, "{name}={value:?}"),
        };
    }
}

/// Replaces words that look like credentials by `[redacted]`. Arbiter logs none; error texts of third
/// parties may.
fn redacted(text: &str) -> String {
    let secret = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        ["sk-", "arb_", "key-", "ghp_", "xox"].iter().any(|head| word.starts_with(head)) && word.len() > 12
    };
    let words = text.split(' ').map(|word| if secret(word) { "[redacted]" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_line_stays_one_line_without_escape_sequences() {
        assert_eq!(escaped(b"INFO /a\nERROR forged\x1b[2J\n"), "INFO /a\\nERROR forged\\u{1b}[2J\n");
        assert_eq!(escaped(b"INFO plain"), "INFO plain");
    }

    #[test]
    fn log_text_that_looks_like_a_credential_is_redacted() {
        assert_eq!(redacted("got sk-1234567890abcdef. bad"), "got [redacted] bad");
        assert_eq!(redacted("the key of provider-1 is bad"), "the key of provider-1 is bad");
    }
}
