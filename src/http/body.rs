//! Request bodies: read with a limit, parsed as JSON, and told what is wrong with them by pointer.

use crate::http::endpoint::Secrecy;
use crate::http::problem::ApiError;
use arbiter_core::refusal::FieldProblem;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};
use std::pin::Pin;
use std::time::Duration;
use warp::http::HeaderMap;
use warp::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use zeroize::Zeroizing;

/// A body on its way in.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send + Sync>>;

/// The largest body of a route whose body may hold a secret, in bytes.
const SECRET_MAX: usize = 65_536;
/// The longest silence within a body.
const IDLE: Duration = Duration::from_secs(10);

/// How much of a body is read, and what becomes of it afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    max: usize,
    secrecy: Secrecy,
    idle: Duration,
}

impl Limit {
    /// `configured` is the largest body of most routes, in bytes.
    pub fn new(configured: u64, secrecy: Secrecy) -> Self {
        let configured = usize::try_from(configured).unwrap_or(usize::MAX);
        let max = if secrecy == Secrecy::Secret { configured.min(SECRET_MAX) } else { configured };
        Self { max, secrecy, idle: IDLE }
    }

    fn exceeded(self) -> ApiError {
        ApiError::new("too-large", format!("the body is larger than {} bytes", self.max))
    }
}

/// Reads a body to its end. The buffer is wiped when it is dropped.
pub async fn read(
    mut stream: BodyStream,
    headers: &HeaderMap,
    limit: Limit,
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
    loop {
        let next = tokio::time::timeout(limit.idle, stream.next()).await;
        match next.map_err(|_| ApiError::new("body-timeout", "the body did not arrive in time"))? {
            Some(Ok(piece)) if piece.len() > limit.max - buffer.len() => return Err(limit.exceeded()),
            Some(Ok(piece)) => buffer.extend_from_slice(&piece),
            Some(Err(error)) => {
                return Err(ApiError::new("bad-body", format!("the body broke off: {error}")));
            }
            None => return Ok(buffer),
        }
    }
}

/// Whether a body that is there calls itself JSON.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let found = if given.is_empty() { "none".to_owned() } else { format!("{given:?}") };
    Err(ApiError::new("media-type", format!("the body's content type is {found}, not application/json")))
}

/// Parses a body. What is no JSON at all is 400; what does not fit is 422 with the field's pointer.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().clone();
        describe(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::new("malformed-json", format!("the body is no JSON: {error}"))
}

fn describe(path: &Path, error: &serde_json::Error) -> ApiError {
    if error.classify() != Category::Data {
        return malformed(error);
    }
    let text = error.to_string();
    // The place in the text is of no use beside the pointer.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let mut pointer = pointer(path);
    let mut detail = text.to_owned();
    if let Some(name) = quoted_after(text, "missing field `") {
        pointer.push_str(&format!("/{}", escape(name)));
        "is required".clone_into(&mut detail);
    } else if let Some(known) = text.strip_prefix("unknown field `") {
        detail = match known.split_once("expected ") {
            Some((_, expected)) => format!("is not a field that can be set here; expected {expected}"),
            None => "is not a field that can be set here".to_owned(),
        };
    }
    ApiError::fields(vec![FieldProblem { pointer, detail }])
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
#[path = "body_tests.rs"]
mod tests;
