//! Calls to AI providers: one [`Client`] per endpoint, guarded against requests to places where
//! they must not go, limited in time and size, with one taxonomy of what can go wrong.
//!
//! Owns the wire formats and the guard. Must not know actors, the store, the vault or HTTP
//! routes: a key comes in with a call and is forgotten with it.

mod address;
mod anthropic;
mod body;
mod chat;
mod chunk;
mod client;
mod decoder;
mod endpoint;
mod error;
mod error_response;
mod openai;
mod protocol;
mod rate_headers;
mod redact;
mod resolver;
mod sse;
mod stream_assembler;
mod timeouts;
mod tls;
mod webhook;

pub use arbiter_core::provider::rate_limit::RateHints;
pub use body::ChatBody;
pub use chat::{ChatAnswer, ChatRequest, Message, ModelInfo, Speaker, Tool, ToolCall, Usage};
pub use chunk::ChatChunk;
pub use client::{ChatStream, Client, CompletedChat, MAX_ANSWER_BYTES};
pub use endpoint::{Endpoint, EndpointError, EndpointPolicy, HttpPolicy, SocketPolicy};
pub use error::{CallError, CallErrorKind};
pub use protocol::Protocol;
pub use sse::{MAX_EVENT_BYTES, MAX_EVENTS, MAX_STREAM_BYTES};
pub use timeouts::Timeouts;
pub use tls::{CertificateProblem, ClientIdentity, Tls, check_certificates};
pub use webhook::{Notice, Webhook, WebhookError};

/// Makes ring the cryptography of every TLS connection of this process; call it first in `main`.
///
/// Whoever installed a provider before keeps it. [`Client::new`] calls this too, so that no order
/// of start can leave a client without cryptography.
pub fn install_tls() {
    rustls::crypto::ring::default_provider().install_default().ok();
}
