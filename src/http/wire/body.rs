//! Request bodies: read with a limit, parsed as JSON, and told what is wrong with them by pointer.

use crate::config;
use crate::http::wire::problem::ApiError;
use arbiter_core::kernel::limits;
use arbiter_core::kernel::objects_only::ObjectsOnly;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::FieldProblem;
use arbiter_vault::{Scrubbed, on_scrubbed_stack};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};
use std::pin::Pin;
use std::time::{Duration, Instant};
use warp::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use warp::http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

/// The care that the body of a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// No secret is expected in it.
    Plain,
    /// May hold a password or a key: bounded tightly, and wiped after use.
    Secret,
    /// Holds a password beside a whole document: bounded as usual, and wiped after use.
    SecretDocument,
}

impl Secrecy {
    /// Returns whether the body may hold a secret.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::SecretDocument)
    }
}

/// The upper bound of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLimit {
    /// The configured bound.
    Standard,
    /// A whole conversation with its images.
    Conversation,
    /// A file of any size, which the handler reads as it comes.
    File,
}

/// A body on its way in.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send + Sync>>;

/// Size limit of a body, and its treatment after use.
#[derive(Clone, Copy, Debug)]
pub struct BodyPolicy {
    max: usize,
    secrecy: Secrecy,
    idle: Duration,
    /// The longest time for all of it.
    total: Duration,
}

impl BodyPolicy {
    /// The configured limits of a route with such a body.
    pub fn new(settings: &config::Http, secrecy: Secrecy, body_limit: BodyLimit) -> Self {
        let most = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let max = match secrecy {
            Secrecy::Plain if body_limit == BodyLimit::Conversation => most(settings.max_conversation_bytes),
            Secrecy::Plain | Secrecy::SecretDocument => most(settings.max_body_bytes),
            Secrecy::Secret => most(settings.max_body_bytes.min(settings.max_secret_body_bytes)),
        };
        Self {
            max,
            secrecy,
            idle: Duration::from_millis(settings.body_idle_timeout_ms),
            total: Duration::from_millis(settings.request_timeout_ms),
        }
    }

    /// Parses a body. What is no JSON at all is 400; what does not fit is 422 with the field's pointer.
    pub fn parse<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, ApiError> {
        // What a parser had in its hands when it found a mistake stays on the stack otherwise.
        if self.secrecy.is_secret() {
            on_scrubbed_stack(|| parse(bytes, self.secrecy))
        } else {
            parse(bytes, self.secrecy)
        }
    }

    fn exceeded(self) -> ApiError {
        ApiError::new(ProblemCode::TooLarge, format!("the body is larger than {} bytes", self.max))
    }
}

/// Reads a body to its end. The buffer is wiped when it is dropped, and what passed by on the stack is
/// overwritten after each step.
pub async fn read(
    stream: BodyStream,
    headers: &HeaderMap,
    limit: BodyPolicy,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let read = gather(stream, headers, limit);
    if limit.secrecy.is_secret() { Scrubbed::new(read).await } else { read.await }
}

async fn gather(
    mut stream: BodyStream,
    headers: &HeaderMap,
    limit: BodyPolicy,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit.max) {
        return Err(limit.exceeded());
    }
    // A buffer that grows leaves copies behind; that of a secret never does.
    let capacity = match limit.secrecy {
        Secrecy::Plain => announced.unwrap_or(0),
        Secrecy::Secret => limit.max,
        // What is announced is not exceeded: the connection delivers no more than that.
        Secrecy::SecretDocument => announced.unwrap_or(limit.max),
    };
    let mut buffer = Zeroizing::new(Vec::with_capacity(capacity));
    let begun = Instant::now();
    loop {
        let wait = limit.idle.min(limit.total.saturating_sub(begun.elapsed()));
        let next = tokio::time::timeout(wait, stream.next()).await;
        match next.map_err(|_| timed_out())? {
            Some(Ok(piece)) if piece.len() > limit.max - buffer.len() => return Err(limit.exceeded()),
            Some(Ok(piece)) => buffer.extend_from_slice(&piece),
            Some(Err(error)) => return Err(interrupted(&error)),
            None => return Ok(buffer),
        }
    }
}

/// A body that did not come in time.
pub fn timed_out() -> ApiError {
    ApiError::new(ProblemCode::BodyTimeout, "the body did not arrive in time")
}

/// A body whose end never came.
pub fn interrupted(error: &warp::Error) -> ApiError {
    ApiError::new(ProblemCode::BadBody, format!("the body broke off: {error}"))
}

/// Closes the connection after the answer if it carried a secret, because its buffers keep their last contents.
pub fn close_after_secret(answer: &mut HeaderMap, secrecy: Secrecy) {
    if secrecy.is_secret() {
        answer.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Returns whether a body that is there calls itself JSON.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let found = if given.is_empty() { "none".to_owned() } else { format!("{given:?}") };
    Err(ApiError::new(
        ProblemCode::MediaType,
        format!("the body's content type is {found}, not application/json"),
    ))
}

fn parse<T: DeserializeOwned>(bytes: &[u8], secrecy: Secrecy) -> Result<T, ApiError> {
    // A list in the place of an object would be taken for its fields in order.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let detail = "must be an object, not a list".to_owned();
        return Err(ApiError::fields(vec![FieldProblem { pointer: String::new(), detail }]));
    }
    if limits::text_depth(bytes) > limits::MAX_DOCUMENT_DEPTH {
        let detail = limits::must_be_nested_at_most(limits::MAX_DOCUMENT_DEPTH);
        return Err(ApiError::fields(vec![FieldProblem { pointer: String::new(), detail }]));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(ObjectsOnly(&mut deserializer)).map_err(|error| {
        let path = error.path().clone();
        describe(&path, error.inner(), secrecy)
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::new(ProblemCode::MalformedJson, format!("the body is no JSON: {error}"))
}

fn describe(path: &Path, error: &serde_json::Error, secrecy: Secrecy) -> ApiError {
    if error.classify() != Category::Data {
        return malformed(error);
    }
    let text = error.to_string();
    // The place in the text is of no use beside the pointer.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let mut pointer = pointer(path);
    let mut detail = if secrecy.is_secret() { without_value(text) } else { text.to_owned() };
    if let Some(name) = quoted_after(text, "missing field `") {
        pointer.push_str(&format!("/{}", escape(name)));
        "must be given".clone_into(&mut detail);
    } else if let Some(known) = text.strip_prefix("unknown field `") {
        detail = match known.split_once("expected ") {
            Some((_, expected)) => format!("is not a field that can be set here; expected {expected}"),
            None => "is not a field that can be set here".to_owned(),
        };
    }
    ApiError::fields(vec![FieldProblem { pointer, detail }])
}

/// Removes the value from an error text: it may be a key in a wrong field.
fn without_value(text: &str) -> String {
    match text.rsplit_once(", expected ") {
        Some((_, expected)) => format!("does not fit; expected {expected}"),
        None => "does not fit".to_owned(),
    }
}

fn quoted_after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.strip_prefix(start)?.split('`').next()
}

fn pointer(path: &Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", escape(key)),
            Segment::Enum { variant } => format!("/{}", escape(variant)),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// A name as a reference token of a JSON pointer.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests;
