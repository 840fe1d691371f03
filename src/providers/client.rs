//! Client of one provider endpoint: sends a call, reads the answer within its limits, classifies errors.
//!
//! Owns the connections to that endpoint. Must not retry, choose providers, keep keys or measure latency: its
//! callers do.

mod block_buffer;
mod exchange;
mod stream;

pub use stream::ChatStream;

use crate::answer_end::AnswerEnd;
use crate::anthropic::{self, DeliveryMode, StreamTranslator};
use crate::body::ChatBody;
use crate::chat::{ChatAnswer, ChatRequest, ModelInfo, Usage};
use crate::decoder::{Decoder, StreamFormat};
use crate::endpoint::Endpoint;
use crate::error::{CallError, CallErrorKind};
use crate::error_response::RequestContext;
use crate::protocol::Protocol;
use crate::redact::sanitize;
use crate::resolver::{GuardedResolver, LookupFuture, system_lookup};
use crate::stream_assembler::StreamAssembler;
use crate::timeouts::Timeouts;
use crate::tls::Tls;
use crate::{install_tls, one_piece, openai, rate_headers};
use arbiter_core::provider::rate_limit::RateHints;
use bytes::Bytes;
use exchange::{JsonResponse, broken_answer, content_type, exposed_key, require_type, with_sources};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::SecretString;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Largest answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 10 * 1024 * 1024;
/// Time for which an unused connection stays open.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);

/// An answer to a chat that the gateway passes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedChat {
    /// OpenAI's `chat.completion` as JSON.
    pub body: Bytes,
    /// Model that answered, as the provider reports it; the requested model otherwise.
    pub model: String,
    pub usage: Option<Usage>,
    pub finish_reason: Option<String>,
    /// Reason why the answer ended; of several choices, that of a defective one.
    pub end: AnswerEnd,
    pub rate_hints: RateHints,
}

/// A client of one endpoint; clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
    http: reqwest::Client,
    timeouts: Timeouts,
    protocol: Protocol,
}

impl Client {
    /// Creates a client that connects only to `endpoint`: it follows no redirect and uses no proxy.
    ///
    /// # Errors
    /// [`CallErrorKind::Unreachable`] if this machine has no root certificates to verify an `https` endpoint.
    pub fn new(endpoint: Endpoint, timeouts: Timeouts) -> Result<Self, CallError> {
        Self::with_tls(endpoint, timeouts, &Tls::default())
    }

    /// Creates a client with its own TLS settings.
    ///
    /// # Errors
    /// The same as [`Client::new`], and [`CallErrorKind::Refused`] if a certificate or key cannot be used.
    pub fn with_tls(endpoint: Endpoint, timeouts: Timeouts, tls: &Tls) -> Result<Self, CallError> {
        Self::with_protocol(endpoint, timeouts, tls, Protocol::OpenAi)
    }

    /// Creates a client for a provider with this protocol; the other constructors use OpenAI's.
    ///
    /// # Errors
    /// The same as [`Client::with_tls`].
    pub fn with_protocol(
        endpoint: Endpoint,
        timeouts: Timeouts,
        tls: &Tls,
        protocol: Protocol,
    ) -> Result<Self, CallError> {
        Ok(Self { protocol, ..Self::with_lookup(endpoint, timeouts, tls, system_lookup)? })
    }

    fn with_lookup(
        endpoint: Endpoint,
        timeouts: Timeouts,
        tls: &Tls,
        lookup: fn(String) -> LookupFuture,
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
        if let Some(socket) = endpoint.socket() {
            builder = builder.unix_socket(socket);
        }
        builder = if endpoint.is_encrypted() {
            tls.apply(builder)?
        } else {
            // A bare container has no root certificates, and plain http needs none.
            builder.tls_certs_only([])
        };
        match builder.build() {
            Ok(http) => Ok(Self { endpoint, http, timeouts, protocol: Protocol::OpenAi }),
            Err(error) => {
                Err(CallError::new(CallErrorKind::Unreachable, sanitize(&with_sources(&error), None)))
            }
        }
    }

    /// Lists the provider's models with `GET {base}/models`.
    ///
    /// # Errors
    /// [`CallError`] with any kind but `NotFound`, `ContextTooLong`, `Unsupported` and `Cancelled`.
    pub async fn list_models(&self, key: Option<&SecretString>) -> Result<Vec<ModelInfo>, CallError> {
        let mut url = self.endpoint.below(&["models"]);
        if self.protocol == Protocol::Anthropic {
            // A page holds 20 models by default and at most 1000.
            url.query_pairs_mut().append_pair("limit", "1000");
        }
        let context = RequestContext { model: None, key: exposed_key(key) };
        let answer = self.exchange(self.http.request(Method::GET, url), context).await?;
        openai::read_models(&answer.body).map_err(|wrong| broken_answer(&wrong, context))
    }

    /// Requests one answer that is not streamed. Dropping the future cancels the call and closes its
    /// connection.
    ///
    /// # Errors
    /// [`CallError`]; its kind tells whether the key, the model, the request, the provider or the connection
    /// caused it.
    pub async fn chat(
        &self,
        key: Option<&SecretString>,
        request: &ChatRequest,
    ) -> Result<ChatAnswer, CallError> {
        let context = RequestContext { model: Some(&request.model), key: exposed_key(key) };
        let answer = self.completion(&request.into(), context).await?;
        let read = openai::read_chat(answer.body, &request.model);
        let read = read.map_err(|wrong| broken_answer(&wrong, context))?;
        Ok(ChatAnswer { rate_hints: answer.rate_hints, ..read })
    }

    /// Requests one streamed answer and returns it whole. `on_text` receives the text as it arrives.
    ///
    /// # Errors
    /// The same as [`Client::stream`]; text received before an error is not an answer.
    pub async fn chat_streamed(
        &self,
        key: Option<&SecretString>,
        request: &ChatRequest,
        mut on_text: impl FnMut(&str),
    ) -> Result<ChatAnswer, CallError> {
        let mut stream = self.stream(key, &request.into()).await?;
        let mut assembler = StreamAssembler::default();
        while let Some(chunk) = stream.next_chunk().await {
            let chunk = chunk?;
            if let Some(text) = &chunk.chat_chunk.content {
                on_text(text);
            }
            assembler.add(chunk);
        }
        let context = RequestContext { model: Some(&request.model), key: exposed_key(key) };
        assembler.finish(&request.model, *stream.rate_hints()).map_err(|wrong| broken_answer(&wrong, context))
    }

    /// Requests one answer to a chat that the gateway passes on, not streamed. The body is the provider's own
    /// if the provider uses OpenAI's protocol.
    ///
    /// # Errors
    /// The same as [`Client::chat`], and [`CallErrorKind::Unsupported`] if a field cannot be translated.
    pub async fn complete(
        &self,
        key: Option<&SecretString>,
        body: &ChatBody,
    ) -> Result<CompletedChat, CallError> {
        let context = RequestContext { model: Some(body.model()), key: exposed_key(key) };
        let answer = self.completion(body, context).await?;
        let Some(choice) = answer.body["choices"].get(0) else {
            return Err(broken_answer("the answer holds no choice", context));
        };
        Ok(CompletedChat {
            model: answer.body["model"].as_str().unwrap_or(body.model()).to_owned(),
            usage: openai::read_usage(&answer.body["usage"]),
            finish_reason: choice["finish_reason"].as_str().map(str::to_owned),
            end: end_of(&answer.body["choices"]),
            body: answer.bytes,
            rate_hints: answer.rate_hints,
        })
    }

    /// Requests a streamed answer to a chat that the gateway passes on. Returns when a successful answer has
    /// begun. The usage is always requested.
    ///
    /// # Errors
    /// The same as [`Client::complete`]. The limit of the whole call applies to the stream's first byte.
    pub async fn stream(&self, key: Option<&SecretString>, body: &ChatBody) -> Result<ChatStream, CallError> {
        let context = RequestContext { model: Some(body.model()), key: exposed_key(key) };
        let started = Instant::now();
        if self.protocol == Protocol::Anthropic {
            let request = anthropic::translate(body, DeliveryMode::Streamed)?;
            let translator = StreamTranslator::new(request.shape, seconds_since_1970());
            let call = self.post(&["messages"], request.body.to_string().into_bytes());
            return match self.within_call_timeout(self.open(call, context)).await? {
                OpenedAnswer::Stream(response) => {
                    let decoder = Decoder::new(StreamFormat::Anthropic(translator), 1).redacting(context.key);
                    Ok(ChatStream::new(self, started, response, decoder, context))
                }
                OpenedAnswer::Whole(answer) => {
                    let body = anthropic::completion(&answer.body, request.shape, seconds_since_1970())
                        .map_err(|wrong| broken_answer(&wrong, context))?;
                    self.stream_of_one_piece(started, body, answer.rate_hints, context)
                }
            };
        }
        let path = ["chat", "completions"];
        let opened = async {
            match self.open(self.post(&path, body.streamed_with_usage()), context).await {
                // Not a retry of the same call: the provider does not know the field and did no work.
                Err(error) if is_stream_options_refusal(&error) => {
                    self.open(self.post(&path, body.streamed()), context).await
                }
                first => first,
            }
        };
        match self.within_call_timeout(opened).await? {
            OpenedAnswer::Stream(response) => {
                let decoder = Decoder::new(StreamFormat::OpenAi, body.choices()).redacting(context.key);
                Ok(ChatStream::new(self, started, response, decoder, context))
            }
            OpenedAnswer::Whole(answer) => {
                self.stream_of_one_piece(started, answer.body, answer.rate_hints, context)
            }
        }
    }

    /// Makes a stream of an answer that came whole although a stream was requested.
    fn stream_of_one_piece(
        &self,
        started: Instant,
        completion: Value,
        rate_hints: RateHints,
        context: RequestContext<'_>,
    ) -> Result<ChatStream, CallError> {
        let none = || broken_answer("the answer is no stream of events and holds no choice", context);
        let events = one_piece::events(completion).ok_or_else(none)?;
        Ok(ChatStream::of_events(self, started, events, rate_hints, context))
    }

    /// Returns a whole answer in OpenAI's format.
    async fn completion(
        &self,
        body: &ChatBody,
        context: RequestContext<'_>,
    ) -> Result<JsonResponse, CallError> {
        if self.protocol == Protocol::OpenAi {
            return self.exchange(self.post(&["chat", "completions"], body.whole()), context).await;
        }
        let request = anthropic::translate(body, DeliveryMode::Whole)?;
        let call = self.post(&["messages"], request.body.to_string().into_bytes());
        let answer = self.exchange(call, context).await?;
        let body = anthropic::completion(&answer.body, request.shape, seconds_since_1970())
            .map_err(|wrong| broken_answer(&wrong, context))?;
        Ok(JsonResponse { bytes: body.to_string().into(), body, ..answer })
    }

    fn post(&self, path: &[&str], body: Vec<u8>) -> RequestBuilder {
        let request = self.http.request(Method::POST, self.endpoint.below(path));
        request.header(CONTENT_TYPE, "application/json").body(body)
    }

    /// Sends a request for a stream and waits for the head of a successful answer.
    async fn open(
        &self,
        request: RequestBuilder,
        context: RequestContext<'_>,
    ) -> Result<OpenedAnswer, CallError> {
        let request = self.with_auth_headers(request, context)?.header(ACCEPT, "text/event-stream");
        let mut response = self.send_for_success(request, context).await?;
        if matches!(content_type(response.headers()).as_deref(), Some("application/json" | "text/plain")) {
            // Some gateways report an error as a JSON body with a success status, and some servers do not stream.
            let rate_hints = rate_headers::read(response.headers());
            let (bytes, body) = self.read_json(&mut response, context).await?;
            return Ok(OpenedAnswer::Whole(JsonResponse { bytes, body, rate_hints }));
        }
        require_type(response.headers(), context, "a stream of events", |essence| {
            essence == "text/event-stream"
        })?;
        Ok(OpenedAnswer::Stream(response))
    }
}

/// An answer to a request for a stream.
enum OpenedAnswer {
    Stream(Response),
    Whole(JsonResponse),
}

fn end_of(choices: &Value) -> AnswerEnd {
    let ends = choices.as_array().into_iter().flatten().map(AnswerEnd::of_choice);
    ends.fold(AnswerEnd::Unknown, AnswerEnd::followed_by)
}

/// Returns whether a provider refused a request because of `stream_options`.
fn is_stream_options_refusal(error: &CallError) -> bool {
    *error.kind() == CallErrorKind::Refused
        && ["stream_options", "include_usage"].iter().any(|name| error.detail().contains(name))
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
