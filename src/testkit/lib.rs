//! Tools for tests of Arbiter: a provider that follows a script, the server as a child process,
//! a plain HTTP client and a strict reader of event streams.
//!
//! Everything runs over real sockets on loopback with ports the system chooses, and waits for
//! signals, never for time to pass. Must not know any other package of Arbiter: it looks at the
//! product from outside.

// Support for tests: a broken expectation here is a failed test, and the message says which.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod certificates;
mod database;
mod generated_beads;
mod http_client;
mod load;
mod provider_faults;
mod provider_messages;
mod provider_wire;
mod report;
mod rng;
mod script;
mod script_fault;
mod scripted_provider;
mod server_process;
mod server_requests;
mod sse;
mod temporal_server;
mod tls_proxy;
mod webhook_receiver;

pub use certificates::{Issued, TestCa};
pub use database::Database;
pub use generated_beads::{GeneratedBead, GeneratedStatus, generated_beads, generated_id};
pub use http_client::{HttpBodyStream, HttpError, HttpResponse, send, send_streaming, send_text};
pub use load::{KeepAlive, LoadResult, request_bytes, run_load};
pub use report::{
    Report, median, ms, peak_bytes, percentile, processor_seconds, raise_open_file_limit, resident_bytes,
};
pub use rng::SplitMix64;
pub use script::{ChatInput, Reply, Script, TokenCount, ToolUse, WireProtocol};
pub use script_fault::Fault;
pub use scripted_provider::{RecordedRequest, ScriptedProvider};
pub use server_process::{ServerProcess, TEST_PASSWORD};
pub use sse::{SseClient, SseError, SseFrame};
pub use temporal_server::{TemporalOutput, TemporalServer, temporal_binary};
pub use tls_proxy::tls_proxy;
pub use webhook_receiver::{ResponseMode, WebhookReceiver};
