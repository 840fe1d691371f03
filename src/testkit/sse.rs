//! A strict reader of `text/event-stream`: what a lenient browser would swallow is an error here.
//!
//! Owns one connection. Must not reconnect: tests of resumption do that themselves, with the id
//! they want.

use crate::http_client::{HttpError, HttpResponse, send_request};
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use std::time::Duration;
use tokio::time::Instant;

/// How long the head of the answer may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseFrame {
    /// The `id` field.
    pub id: Option<String>,
    /// The `event` field; `message` when the frame has none.
    pub event: String,
    /// The `data` lines, joined by line ends.
    pub data: String,
    /// The `retry` field, in milliseconds.
    pub retry_ms: Option<u64>,
}

/// Why there is no next frame.
#[derive(Debug)]
pub enum SseError {
    /// The server answered with another status than 200.
    Refused(Box<HttpResponse>),
    /// No frame came in the time given.
    TimedOut,
    Ended,
    /// The connection went in the middle of a frame, or could not be made.
    Lost(HttpError),
    Malformed(String),
}

impl std::fmt::Display for SseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(answer) => write!(f, "the stream was refused: {} {}", answer.status, answer.json()),
            Self::TimedOut => f.write_str("no event came in time"),
            Self::Ended => f.write_str("the stream ended"),
            Self::Lost(cause) => write!(f, "the stream was lost: {cause}"),
            Self::Malformed(what) => write!(f, "the stream is malformed: {what}"),
        }
    }
}

impl std::error::Error for SseError {}

/// A connection to an event stream.
pub struct SseClient {
    body: Incoming,
    unread: BytesMut,
    comments: usize,
}

impl SseClient {
    /// Opens the stream at `url` with a bearer token, from after `last_event_id`.
    ///
    /// # Errors
    /// [`SseError::Refused`] with the whole answer for any status but 200, [`SseError::Malformed`] for
    /// another content type, [`SseError::Lost`] without a connection, [`SseError::TimedOut`] after 30 s.
    pub async fn connect(
        url: &str,
        token: Option<&str>,
        last_event_id: Option<&str>,
    ) -> Result<Self, SseError> {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        let opening =
            tokio::time::timeout(CONNECT_TIMEOUT, send_request("GET", url, &headers, String::new()));
        let response = opening.await.map_err(|_| SseError::TimedOut)?.map_err(SseError::Lost)?;
        let (head, body) = response.into_parts();
        if head.status != 200 {
            let body = body.collect().await.map_err(|error| SseError::Lost(error.into()))?.to_bytes();
            let answer = HttpResponse { status: head.status.as_u16(), headers: head.headers, body };
            return Err(SseError::Refused(Box::new(answer)));
        }
        let content_type =
            head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if content_type.split(';').next() != Some("text/event-stream") {
            return Err(SseError::Malformed(format!("content type {content_type:?}")));
        }
        Ok(Self { body, unread: BytesMut::new(), comments: 0 })
    }

    /// The next event; comments are counted and passed over.
    ///
    /// # Errors
    /// [`SseError::TimedOut`] when none came within `timeout`: the stream can still be read on.
    /// All other errors are the end of it.
    pub async fn next(&mut self, timeout: Duration) -> Result<SseFrame, SseError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(frame) = self.take_buffered()? {
                return Ok(frame);
            }
            self.read_more(deadline).await?;
        }
    }

    /// Waits until this many comments came in all; events that come meanwhile are passed over.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn wait_for_comments(&mut self, count: usize, timeout: Duration) -> Result<(), SseError> {
        let deadline = Instant::now() + timeout;
        loop {
            while self.take_buffered()?.is_some() {}
            if self.comments >= count {
                return Ok(());
            }
            self.read_more(deadline).await?;
        }
    }

    async fn read_more(&mut self, deadline: Instant) -> Result<(), SseError> {
        let frame =
            tokio::time::timeout_at(deadline, self.body.frame()).await.map_err(|_| SseError::TimedOut)?;
        match frame {
            Some(Ok(frame)) => self.unread.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Some(Err(error)) => return Err(SseError::Lost(error.into())),
            None if self.unread.is_empty() => return Err(SseError::Ended),
            None => return Err(SseError::Lost("the stream ended within a frame".into())),
        }
        Ok(())
    }

    /// The next event of this type; others are passed over.
    ///
    /// # Errors
    /// As [`Self::next`]; `timeout` counts for all events together.
    pub async fn next_of_type(&mut self, event: &str, timeout: Duration) -> Result<SseFrame, SseError> {
        let deadline = Instant::now() + timeout;
        loop {
            let frame = self.next(deadline.saturating_duration_since(Instant::now())).await?;
            if frame.event == event {
                return Ok(frame);
            }
        }
    }

    /// How many comments (heartbeats) came so far.
    pub fn comments(&self) -> usize {
        self.comments
    }

    fn take_buffered(&mut self) -> Result<Option<SseFrame>, SseError> {
        while let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
            let block = self.unread.split_to(end + 2);
            let block = std::str::from_utf8(&block[..end])
                .map_err(|error| SseError::Malformed(format!("no utf-8: {error}")))?;
            if let Some(frame) = parse(block, &mut self.comments).map_err(SseError::Malformed)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

/// Reads the lines up to an empty one; `None` when they were comments only.
fn parse(block: &str, comments: &mut usize) -> Result<Option<SseFrame>, String> {
    let mut frame = SseFrame::default();
    let (mut data, mut has_fields): (Vec<&str>, bool) = (Vec::new(), false);
    for line in block.lines() {
        if line.starts_with(':') {
            *comments += 1;
            continue;
        }
        has_fields = true;
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("not \"field: value\": {line:?}"))?;
        match name {
            "id" if frame.id.is_none() => frame.id = Some(value.to_owned()),
            "event" if frame.event.is_empty() => value.clone_into(&mut frame.event),
            "data" => data.push(value),
            "retry" if frame.retry_ms.is_none() => {
                frame.retry_ms = Some(value.parse().map_err(|_| format!("retry is no number: {value:?}"))?);
            }
            _ => return Err(format!("a field that is unknown or comes twice: {line:?}")),
        }
    }
    if !has_fields {
        return Ok(None);
    }
    if data.is_empty() {
        return Err(format!("a frame without data: {block:?}"));
    }
    if frame.event.is_empty() {
        "message".clone_into(&mut frame.event);
    }
    frame.data = data.join("\n");
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reply, Script, ScriptedProvider};

    const TIMEOUT: Duration = Duration::from_secs(60);

    async fn reading(text: &str) -> (ScriptedProvider, SseClient) {
        let reply = Reply::raw(text).with_header("content-type", "text/event-stream; charset=utf-8");
        let provider = ScriptedProvider::start(Script::default().with_models_reply(reply));
        let client =
            SseClient::connect(&format!("{}/models", provider.url()), Some("t"), Some("e-7")).await.unwrap();
        (provider, client)
    }

    #[tokio::test]
    async fn events_are_read_in_order_and_comments_counted() {
        let text = "retry: 2000\nevent: hello\ndata: {}\n\n: beat\n\nid: e-1\ndata: a\ndata: b\n\n";
        let (provider, mut client) = reading(text).await;
        let hello = client.next(TIMEOUT).await.unwrap();
        assert_eq!((hello.event.as_str(), hello.retry_ms, hello.id), ("hello", Some(2000), None));
        let message = client.next_of_type("message", TIMEOUT).await.unwrap();
        assert_eq!((message.id.as_deref(), message.data.as_str()), (Some("e-1"), "a\nb"));
        client.wait_for_comments(1, TIMEOUT).await.unwrap();
        assert_eq!(client.comments(), 1);
        assert!(matches!(client.next(TIMEOUT).await, Err(SseError::Ended)));
        assert_eq!(provider.requests()[0].authorization.as_deref(), Some("Bearer t"));
    }

    #[tokio::test]
    async fn malformed_stream_is_an_error() {
        for text in [
            "data: a",
            "date: a\n\n",
            "id: 1\n\n",
            "data\n\n",
            "retry: x\ndata: a\n\n",
            "id: 1\nid: 2\ndata: a\n\n",
        ] {
            let (_provider, mut client) = reading(text).await;
            let error = client.next(TIMEOUT).await.unwrap_err();
            assert!(matches!(error, SseError::Malformed(_) | SseError::Lost(_)), "{text:?}: {error}");
        }
    }

    #[tokio::test]
    async fn refused_stream_has_its_status() {
        let provider = ScriptedProvider::start(Script::default().requiring_key("right"));
        let url = format!("{}/models", provider.url());
        let Err(SseError::Refused(answer)) = SseClient::connect(&url, Some("wrong"), None).await else {
            panic!("the stream was not refused");
        };
        assert_eq!(answer.status, 401);
        let wrong_type = SseClient::connect(&url, Some("right"), None).await;
        assert!(matches!(wrong_type, Err(SseError::Malformed(_))));
    }
}
