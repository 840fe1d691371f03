//! A streamed answer while it arrives.
//!
//! Owns the stream's connection. Dropping the stream before its end closes the connection, and the provider
//! stops.

use super::exchange::transport_error;
use super::{Client, Timeouts};
use crate::chunk::{ChatChunk, ParsedChunk};
use crate::decoder::{Decoder, StreamFormat};
use crate::error::{CallError, CallErrorKind};
use crate::error_response::RequestContext;
use crate::rate_headers;
use crate::redact::sanitize;
use arbiter_core::provider::rate_limit::RateHints;
use bytes::Bytes;
use reqwest::Response;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Time allowed for the usage and the end of the stream once the answer is complete.
const USAGE_GRACE: Duration = Duration::from_secs(5);
/// Time allowed for the end of the connection's data after a finished stream, so that the connection can be
/// reused.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct ChatStream {
    /// `None` once the stream has ended, and for an answer that came whole.
    response: Option<Response>,
    is_over: bool,
    bytes: Bytes,
    decoder: Decoder,
    timeouts: Timeouts,
    started: Instant,
    has_begun: bool,
    complete_since: Option<Instant>,
    model: String,
    key: Option<SecretString>,
    rate_hints: RateHints,
}

impl ChatStream {
    pub(super) fn new(
        client: &Client,
        started: Instant,
        response: Response,
        decoder: Decoder,
        context: RequestContext<'_>,
    ) -> Self {
        let rate_hints = rate_headers::read(response.headers());
        let empty = Self::of_events(client, started, Bytes::new(), rate_hints, context);
        Self { response: Some(response), decoder, ..empty }
    }

    /// Creates a stream of events that have all arrived.
    pub(super) fn of_events(
        client: &Client,
        started: Instant,
        events: Bytes,
        rate_hints: RateHints,
        context: RequestContext<'_>,
    ) -> Self {
        Self {
            rate_hints,
            response: None,
            is_over: false,
            bytes: events,
            decoder: Decoder::new(StreamFormat::OpenAi, 1),
            timeouts: client.timeouts,
            started,
            has_begun: false,
            complete_since: None,
            model: context.model.unwrap_or_default().to_owned(),
            key: context.key.map(SecretString::from),
        }
    }

    /// Returns the provider's rate-limit headers.
    pub fn rate_hints(&self) -> &RateHints {
        &self.rate_hints
    }

    /// Returns the next chunk; `None` after the last one or after an error. Cancel safe.
    ///
    /// # Errors
    /// [`CallError`]; an answer that is cut off is [`CallErrorKind::Unreachable`].
    pub async fn next(&mut self) -> Option<Result<ChatChunk, CallError>> {
        Some(self.next_chunk().await?.map(|chunk| chunk.chat_chunk))
    }

    pub(super) async fn next_chunk(&mut self) -> Option<Result<ParsedChunk, CallError>> {
        let outcome = self.advance().await;
        if !matches!(outcome, Ok(Some(_))) {
            (self.response, self.is_over) = (None, true);
        }
        outcome.transpose()
    }

    async fn advance(&mut self) -> Result<Option<ParsedChunk>, CallError> {
        let key = self.key.as_ref().map(ExposeSecret::expose_secret);
        let context = RequestContext { model: Some(&self.model), key };
        while !self.is_over {
            match self.decoder.read(&mut self.bytes, context) {
                Ok(Some(chunk)) => {
                    // What follows the announced end belongs to the answer, so the wait for the end begins anew.
                    if chunk.chat_chunk.has_answer {
                        self.complete_since = None;
                    }
                    return Ok(Some(chunk));
                }
                Ok(None) => {}
                // The answer is complete: an error after it loses nothing.
                Err(_) if self.decoder.is_whole() => return Ok(self.decoder.close()),
                Err(error) => return Err(error),
            }
            if self.decoder.is_done() {
                drain_in_background(self.response.take());
                return Ok(None);
            }
            let Some(response) = &mut self.response else { return self.decoder.end(context) };
            let (mut limit, late, full) = wait(&self.timeouts, self.started, self.has_begun);
            let is_whole = self.decoder.is_whole();
            if is_whole {
                let since = self.complete_since.get_or_insert_with(Instant::now);
                limit = limit.min(USAGE_GRACE.saturating_sub(since.elapsed()));
            }
            let arrived = match limit.is_zero() {
                // Data without a pause would never reach the timeout check.
                true => None,
                false => timeout(limit, response.chunk()).await.ok(),
            };
            match arrived {
                Some(Ok(Some(bytes))) => {
                    self.has_begun = true;
                    self.bytes = bytes;
                }
                Some(Ok(None)) => return self.decoder.end(context),
                Some(Err(_)) | None if is_whole => return Ok(self.decoder.close()),
                Some(Err(error)) => {
                    let lost = transport_error(error, context);
                    let detail = format!("the stream was cut in the middle: {}", lost.detail());
                    return Err(CallError::new(lost.kind().clone(), sanitize(&detail, context.key)));
                }
                None => {
                    return Err(CallError::new(CallErrorKind::TimedOut, format!("{late} {full:?}")));
                }
            }
        }
        Ok(None)
    }
}

/// Returns the wait for the next bytes, and the limit behind it as text and as a duration.
fn wait(timeouts: &Timeouts, started: Instant, has_begun: bool) -> (Duration, &'static str, Duration) {
    let Timeouts { whole_call, idle, whole_stream, .. } = *timeouts;
    let (limit, late, full) = match has_begun {
        true => (idle, "the stream stopped for", idle),
        // A model is silent while it reads a long prompt, even after it has sent its headers.
        false => (whole_call.saturating_sub(started.elapsed()), "no stream began within", whole_call),
    };
    match whole_stream.map(|whole| (whole, whole.saturating_sub(started.elapsed()))) {
        Some((whole, left)) if left < limit => (left, "the stream did not end within", whole),
        Some(_) | None => (limit, late, full),
    }
}

/// Reads the empty rest of a finished stream in the background, because only a connection read to its end can
/// be reused. Any other data is discarded with the connection.
fn drain_in_background(response: Option<Response>) {
    let Some(mut response) = response else { return };
    tokio::spawn(async move {
        let _end = timeout(DRAIN_TIMEOUT, response.chunk()).await;
    });
}
