//! Calls to AI providers: one [`Client`] per endpoint, protected against forbidden addresses, limited in time
//! and size, with one error taxonomy.
//!
//! Owns the wire formats and the address guard. Must not know actors, the store, the vault or HTTP routes: a
//! key is passed with each call and is not kept.

mod address;
mod answer_end;
mod anthropic;
mod body;
mod capability;
mod chat;
mod chunk;
mod client;
mod decoder;
mod endpoint;
mod error;
mod error_response;
mod one_piece;
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

pub use answer_end::AnswerEnd;
pub use arbiter_core::provider::rate_limit::RateHints;
pub use body::ChatBody;
pub use capability::Capability;
pub use chat::{ChatAnswer, ChatRequest, Message, ModelInfo, Speaker, Tool, ToolCall, Usage};
pub use chunk::ChatChunk;
pub use client::{ChatStream, Client, CompletedChat, MAX_ANSWER_BYTES};
pub use endpoint::{Endpoint, EndpointError, EndpointPolicy, HttpPolicy, SocketPolicy, is_same_address};
pub use error::{CallError, CallErrorKind};
pub use protocol::Protocol;
pub use sse::{MAX_EVENT_BYTES, MAX_EVENTS, MAX_STREAM_BYTES};
pub use timeouts::Timeouts;
pub use tls::{CertificateProblem, ClientIdentity, Tls, check_certificates};
pub use webhook::{Notice, Webhook, WebhookError};

/// Installs ring as the cryptography of every TLS connection of this process; call it first in `main`.
///
/// An earlier installed provider stays in place. [`Client::new`] calls this too, so that every client has
/// cryptography regardless of the start order.
pub fn install_tls() {
    rustls::crypto::ring::default_provider().install_default().ok();
}
