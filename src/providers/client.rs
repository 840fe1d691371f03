//! One provider endpoint: sends a call, reads the answer within its limits, names what went wrong.
//!
//! Owns the connections to that endpoint. Must not retry, choose providers, keep keys or measure
//! latency: its callers do.

use crate::chat::{ChatAnswer, ChatRequest, ModelInfo};
use crate::endpoint::Endpoint;
use crate::error::{CallError, CallErrorKind};
use crate::redact::presentable;
use crate::refusal::{self, Asked};
use crate::resolver::{AddressRefused, GuardedResolver, Lookup, system_lookup};
use crate::tls::{self, Tls};
use crate::{install_tls, openai};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The largest answer that is read, in bytes.
pub const MAX_ANSWER_BYTES: usize = 10 * 1024 * 1024;
/// The most that is read of an answer that is no success, in bytes; less of it is kept.
const MAX_ERROR_BODY_BYTES: usize = 64 * 1024;
/// How long an unused connection is kept open.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);

/// How long the steps of a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From a name to an open connection, TLS included; 5 s by default.
    pub connect: Duration,
    /// The whole call, from the request to the last byte of the answer; 120 s by default. The first
    /// byte has no limit of its own, for a model that does not stream is silent while it thinks.
    pub whole_call: Duration,
    /// The longest silence within an answer that has begun; 30 s by default.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            whole_call: Duration::from_secs(120),
            idle: Duration::from_secs(30),
        }
    }
}

/// A client of one endpoint; clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
    http: reqwest::Client,
    timeouts: Timeouts,
}

impl Client {
    /// A client that connects nowhere but to `endpoint`: it follows no redirect and asks no proxy.
    ///
    /// # Errors
    /// [`CallErrorKind::Unreachable`] when this machine has no root certificates to check an `https`
    /// endpoint with.
    pub fn new(endpoint: Endpoint, timeouts: Timeouts) -> Result<Self, CallError> {
        Self::with_tls(endpoint, timeouts, &Tls::default())
    }

    /// The same, with TLS of its own kind.
    ///
    /// # Errors
    /// As [`Client::new`], and [`CallErrorKind::Refused`] when a certificate or key cannot be used.
    pub fn with_tls(endpoint: Endpoint, timeouts: Timeouts, tls: &Tls) -> Result<Self, CallError> {
        Self::with_lookup(endpoint, timeouts, tls, system_lookup)
    }

    fn with_lookup(
        endpoint: Endpoint,
        timeouts: Timeouts,
        tls: &Tls,
        lookup: fn(String) -> Lookup,
    ) -> Result<Self, CallError> {
        install_tls();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("arbiter/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(timeouts.connect)
            .pool_idle_timeout(IDLE_CONNECTION)
            .dns_resolver(Arc::new(GuardedResolver::new(endpoint.rule(), lookup)));
        builder = if endpoint.is_encrypted() {
            tls.apply(builder)?
        } else {
            // A bare container has no root certificates, and plain http needs none.
            builder.tls_certs_only([])
        };
        match builder.build() {
            Ok(http) => Ok(Self { endpoint, http, timeouts }),
            Err(error) => {
                Err(CallError::new(CallErrorKind::Unreachable, presentable(&with_sources(&error), None)))
            }
        }
    }

    /// The models the provider offers: `GET {base}/models`.
    ///
    /// # Errors
    /// [`CallError`] with any kind but `NotFound`, `ContextTooLong` and `Cancelled`.
    pub async fn list_models(&self, key: Option<&SecretString>) -> Result<Vec<ModelInfo>, CallError> {
        let request = self.http.request(Method::GET, self.endpoint.below(&["models"]));
        let asked = Asked { model: None, key: usable(key) };
        let body = self.exchange(request, asked).await?;
        openai::read_models(&body).map_err(|wrong| broken(&wrong, asked))
    }

    /// One answer of a model: `POST {base}/chat/completions`, not streamed. Dropping the future
    /// cancels the call and closes its connection.
    ///
    /// # Errors
    /// [`CallError`]; its kind says whether the key, the model, the request, the provider or the way
    /// to it is at fault.
    pub async fn chat(
        &self,
        key: Option<&SecretString>,
        request: &ChatRequest,
    ) -> Result<ChatAnswer, CallError> {
        let asked = Asked { model: Some(&request.model), key: usable(key) };
        let call = self
            .http
            .request(Method::POST, self.endpoint.below(&["chat", "completions"]))
            .header(CONTENT_TYPE, "application/json")
            .body(openai::chat_body(request).to_string());
        let body = self.exchange(call, asked).await?;
        openai::read_chat(body, &request.model).map_err(|wrong| broken(&wrong, asked))
    }

    /// Sends a request and reads a successful JSON answer, all within the limits.
    async fn exchange(&self, mut request: RequestBuilder, asked: Asked<'_>) -> Result<Value, CallError> {
        if let Some(key) = asked.key {
            request = request.header(AUTHORIZATION, bearer(key)?);
        }
        let answered = async {
            let response = request.send().await.map_err(|error| unanswered(error, asked))?;
            self.read(response, asked).await
        };
        timeout(self.timeouts.whole_call, answered).await.unwrap_or_else(|_| {
            let limit = self.timeouts.whole_call;
            Err(CallError::new(CallErrorKind::TimedOut, format!("no whole answer within {limit:?}")))
        })
    }

    async fn read(&self, mut response: Response, asked: Asked<'_>) -> Result<Value, CallError> {
        let status = response.status();
        if !status.is_success() {
            let mut body = Vec::new();
            // The status alone says enough when the rest does not come or is too much.
            let _unread = self.read_body(&mut response, &mut body, MAX_ERROR_BODY_BYTES, asked).await;
            return Err(refusal::from_status(status, response.headers(), &body, asked));
        }
        require_json(response.headers(), asked)?;
        let mut body = Vec::new();
        self.read_body(&mut response, &mut body, MAX_ANSWER_BYTES, asked).await?;
        let text = std::str::from_utf8(&body).map_err(|error| broken(&error.to_string(), asked))?;
        let body: Value = serde_json::from_str(text).map_err(|error| broken(&error.to_string(), asked))?;
        refusal::from_body(&body, asked).map_or(Ok(body), Err)
    }

    /// Reads into `body` until the end or, with an error, until the limit.
    async fn read_body(
        &self,
        response: &mut Response,
        body: &mut Vec<u8>,
        limit: usize,
        asked: Asked<'_>,
    ) -> Result<(), CallError> {
        let idle = self.timeouts.idle;
        loop {
            let chunk = timeout(idle, response.chunk()).await.map_err(|_| {
                CallError::new(CallErrorKind::TimedOut, format!("the answer stopped for {idle:?}"))
            })?;
            let Some(chunk) = chunk.map_err(|error| unanswered(error, asked))? else {
                return Ok(());
            };
            let room = limit - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                return Err(CallError::new(CallErrorKind::TooLarge, format!("more than {limit} bytes")));
            }
        }
    }
}

fn usable(key: Option<&SecretString>) -> Option<&str> {
    key.map(ExposeSecret::expose_secret).filter(|key| !key.is_empty())
}

fn bearer(key: &str) -> Result<HeaderValue, CallError> {
    let text = Zeroizing::new(format!("Bearer {key}"));
    match HeaderValue::from_str(&text) {
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

/// A missing content type is let pass; another one is not, for it is a login page or a proxy's word.
fn require_json(headers: &HeaderMap, asked: Asked<'_>) -> Result<(), CallError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || essence.ends_with("+json") {
        Ok(())
    } else {
        Err(broken(&format!("the answer is {essence:?}, not json"), asked))
    }
}

fn broken(wrong: &str, asked: Asked<'_>) -> CallError {
    CallError::new(CallErrorKind::Broken, presentable(wrong, asked.key))
}

/// The error of a request that got no answer, or no whole one.
fn unanswered(error: reqwest::Error, asked: Asked<'_>) -> CallError {
    let error = error.without_url();
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if cause.is::<AddressRefused>() {
            return CallError::new(CallErrorKind::Refused, presentable(&cause.to_string(), asked.key));
        }
        source = cause.source();
    }
    let why = tls::explain(&error).unwrap_or_else(|| with_sources(&error));
    CallError::new(CallErrorKind::Unreachable, presentable(&why, asked.key))
}

fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
