//! Rows that a unit of work carries and their tables store.

use arbiter_core::kernel::time::Timestamp;

/// A comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    pub id: String,
    pub subject: String,
    pub author_id: String,
    pub text: String,
    pub created_at: Timestamp,
}

/// A question to the console and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsoleTurn {
    pub id: String,
    pub at: Timestamp,
    pub user: String,
    pub project_id: Option<String>,
    /// Projects that the asking token reached, whose facts the answer may hold; none: all of them, or not known.
    pub within: Option<Vec<String>>,
    pub message: String,
    pub response: String,
    pub provider_id: String,
    pub provider_name: String,
    pub model: String,
    pub reason: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Cost in US dollars.
    pub cost_usd: f64,
    /// Latency of the answer, in milliseconds.
    pub latency_ms: u64,
    /// The workflow through which it came; none: the provider was called directly.
    pub workflow_id: Option<String>,
}

/// One beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub at: Timestamp,
    /// Latency in milliseconds.
    pub latency_ms: u64,
    pub error: Option<String>,
}

/// Identity of an idempotent request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    pub token_id: String,
    pub route: String,
    pub key: String,
}

/// The answer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    pub request: IdempotencyKey,
    /// SHA-256 of its body, in hex.
    pub body_digest: String,
    pub status: u16,
    pub location: Option<String>,
    pub answer: String,
    pub created_at: Timestamp,
}

/// An entity that an event was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedEntity {
    pub kind: &'static str,
    pub id: String,
    pub seq: u64,
    pub begins: bool,
    /// Rank of the job, lowest first: 0 live traffic, 1 file imports.
    pub rank: u8,
}

/// A state that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMirror {
    pub kind: String,
    pub id: String,
    pub seq: u64,
    pub run: Option<(String, u64)>,
}

/// A workflow that was there before the store was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedMirror {
    pub kind: &'static str,
    pub id: String,
    pub run_no: u64,
    pub run_id: String,
}
