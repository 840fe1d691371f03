//! One request and its answer: adds the key, enforces the limits, classifies errors.

use super::block_buffer::BlockBuffer;
use super::{Client, MAX_ANSWER_BYTES};
use crate::anthropic;
use crate::error::{CallError, CallErrorKind};
use crate::error_response::{self, RequestContext};
use crate::protocol::Protocol;
use crate::rate_headers;
use crate::redact::{KeyForms, sanitize};
use crate::resolver::AddressRefused;
use crate::tls;
use arbiter_core::provider::rate_limit::RateHints;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::error::Error;
use tokio::time::timeout;

/// Most bytes read of an error response; an error keeps fewer.
pub(super) const MAX_ERROR_BODY_BYTES: usize = 64 * 1024;

pub(super) struct JsonResponse {
    pub bytes: Bytes,
    pub body: Value,
    pub rate_hints: RateHints,
}

impl Client {
    /// Sends a request and reads a successful JSON answer, all within the limits.
    pub(super) async fn exchange(
        &self,
        request: RequestBuilder,
        context: RequestContext<'_>,
    ) -> Result<JsonResponse, CallError> {
        let request = self.with_auth_headers(request, context)?;
        let answered = async {
            let mut response = self.send_for_success(request, context).await?;
            let rate_hints = rate_headers::read(response.headers());
            require_type(response.headers(), context, "json", |essence| {
                // Plain text that is JSON all the same is accepted.
                essence == "application/json" || essence.ends_with("+json") || essence == "text/plain"
            })?;
            let (bytes, body) = self.read_json(&mut response, context).await?;
            Ok(JsonResponse { bytes, body, rate_hints })
        };
        self.within_call_timeout(answered).await
    }

    /// Adds the protocol's headers to the request.
    pub(super) fn with_auth_headers(
        &self,
        mut request: RequestBuilder,
        context: RequestContext<'_>,
    ) -> Result<RequestBuilder, CallError> {
        if self.protocol == Protocol::Anthropic {
            request = request.header("anthropic-version", anthropic::VERSION);
        }
        let Some(key) = context.key else { return Ok(request) };
        Ok(match self.protocol {
            Protocol::OpenAi => {
                request.header(AUTHORIZATION, secret(&Zeroizing::new(format!("Bearer {key}")))?)
            }
            Protocol::Anthropic => request.header("x-api-key", secret(key)?),
        })
    }

    /// Sends a request and waits for the head of a successful response.
    pub(super) async fn send_for_success(
        &self,
        request: RequestBuilder,
        context: RequestContext<'_>,
    ) -> Result<Response, CallError> {
        let mut response = request.send().await.map_err(|error| transport_error(error, context))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let mut body = BlockBuffer::default();
        // The status is enough when the body is missing or too large.
        let _unread = self.read_body(&mut response, &mut body, MAX_ERROR_BODY_BYTES, context).await;
        Err(error_response::from_status(status, response.headers(), &body.whole(), context))
    }

    /// Bounds the wait for an answer by the limit of the whole call.
    pub(super) async fn within_call_timeout<T>(
        &self,
        answered: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let limit = self.timeouts.whole_call;
        timeout(limit, answered).await.unwrap_or_else(|_| {
            Err(CallError::new(CallErrorKind::TimedOut, format!("no whole answer within {limit:?}")))
        })
    }

    /// Reads a JSON answer and checks that it holds no error. An echoed key is removed; else it stays as it came.
    pub(super) async fn read_json(
        &self,
        response: &mut Response,
        context: RequestContext<'_>,
    ) -> Result<(Bytes, Value), CallError> {
        let mut buffer = BlockBuffer::default();
        self.read_body(response, &mut buffer, MAX_ANSWER_BYTES, context).await?;
        let bytes = buffer.whole();
        let text = std::str::from_utf8(&bytes).map_err(|error| broken_answer(&error.to_string(), context))?;
        let mut body: Value =
            serde_json::from_str(text).map_err(|error| broken_answer(&error.to_string(), context))?;
        match error_response::from_body(&body, context) {
            Some(error) => Err(error.with_rate_hints(rate_headers::read(response.headers()))),
            // A key may also stand in a member that a later one of the same name hides.
            None if KeyForms::for_answers(context.key)
                .is_some_and(|forms| forms.redact_json(&mut body) | forms.redact(text).is_some()) =>
            {
                Ok((body.to_string().into(), body))
            }
            None => Ok((bytes.into(), body)),
        }
    }

    /// Reads into `body` until the end; returns an error at the limit.
    pub(super) async fn read_body(
        &self,
        response: &mut Response,
        body: &mut BlockBuffer,
        limit: usize,
        context: RequestContext<'_>,
    ) -> Result<(), CallError> {
        let idle = self.timeouts.idle;
        loop {
            let chunk = timeout(idle, response.chunk()).await.map_err(|_| {
                CallError::new(CallErrorKind::TimedOut, format!("the answer stopped for {idle:?}"))
            })?;
            let Some(chunk) = chunk.map_err(|error| transport_error(error, context))? else {
                return Ok(());
            };
            let room = limit - body.count();
            body.add(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                return Err(CallError::new(CallErrorKind::TooLarge, format!("more than {limit} bytes")));
            }
        }
    }
}

pub(super) fn exposed_key(key: Option<&SecretString>) -> Option<&str> {
    key.map(ExposeSecret::expose_secret).filter(|key| !key.is_empty())
}

fn secret(text: &str) -> Result<HeaderValue, CallError> {
    match HeaderValue::from_str(text) {
        Ok(mut value) => {
            value.set_sensitive(true);
            Ok(value)
        }
        Err(_) => Err(CallError::new(
            CallErrorKind::Auth,
            "the key holds a character that no header may carry, such as a line end",
        )),
    }
}

/// Returns the content type without parameters and in lower case; `None` if it is missing.
pub(super) fn content_type(headers: &HeaderMap) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(CONTENT_TYPE)?.as_bytes());
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Checks the content type. A missing one is accepted; a different one comes from a login page or a proxy.
pub(super) fn require_type(
    headers: &HeaderMap,
    context: RequestContext<'_>,
    wanted: &str,
    is_wanted: impl FnOnce(&str) -> bool,
) -> Result<(), CallError> {
    match content_type(headers) {
        Some(essence) if !is_wanted(&essence) => {
            Err(broken_answer(&format!("the answer is {essence:?}, not {wanted}"), context))
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) fn broken_answer(wrong: &str, context: RequestContext<'_>) -> CallError {
    CallError::new(CallErrorKind::Broken, sanitize(wrong, context.key))
}

/// Builds the error of a request without a complete answer.
pub(super) fn transport_error(error: reqwest::Error, context: RequestContext<'_>) -> CallError {
    let error = error.without_url();
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if cause.is::<AddressRefused>() {
            return CallError::new(CallErrorKind::Refused, sanitize(&cause.to_string(), context.key));
        }
        source = cause.source();
    }
    let why = tls::explain(&error).unwrap_or_else(|| with_sources(&error));
    CallError::new(CallErrorKind::Unreachable, sanitize(&why, context.key))
}

pub(super) fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
