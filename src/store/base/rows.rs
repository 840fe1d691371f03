//! Rows that a unit of work carries and their tables store.

use arbiter_core::kernel::time::Timestamp;

/// A comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// Its id.
    pub id: String,
    /// The bead or project it is on.
    pub subject: String,
    /// Who wrote it.
    pub author_id: String,
    /// What it says.
    pub text: String,
    /// When it was written.
    pub created_at: Timestamp,
}

/// A question to the console and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsoleTurn {
    /// Its id.
    pub id: String,
    /// When it was asked.
    pub at: Timestamp,
    /// Who asked.
    pub user: String,
    /// The project it was about, if one was named.
    pub project_id: Option<String>,
    /// The question.
    pub message: String,
    /// The answer.
    pub response: String,
    /// The provider that answered.
    pub provider_id: String,
    /// Its name then.
    pub provider_name: String,
    /// The model that answered.
    pub model: String,
    /// Why that provider.
    pub reason: String,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// What it cost, in US dollars.
    pub cost_usd: f64,
    /// How long the answer took, in milliseconds.
    pub latency_ms: u64,
    /// The workflow through which it came; none: the provider was called directly.
    pub workflow_id: Option<String>,
}

/// One beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// When.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
    /// What went wrong, if anything.
    pub error: Option<String>,
}

/// Which request it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// Whose.
    pub token_id: String,
    /// Method and path.
    pub route: String,
    /// What the client chose.
    pub key: String,
}

/// The answer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// To which request.
    pub request: IdempotencyKey,
    /// SHA-256 of its body, in hex.
    pub body_digest: String,
    /// The status code.
    pub status: u16,
    /// The Location header.
    pub location: Option<String>,
    /// The body.
    pub answer: String,
    /// When.
    pub created_at: Timestamp,
}

/// An entity that an event was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedEntity {
    /// Its kind, in the mirror's word.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// The event.
    pub seq: u64,
    /// Whether it began another life with it.
    pub begins: bool,
    /// What goes first: 0 live traffic, 1 what came in from a file.
    pub rank: u8,
}

/// A state that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMirror {
    /// The entity's kind.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// The event up to which it has arrived.
    pub seq: u64,
    /// The run that has it and which life of the entity that is.
    pub run: Option<(String, u64)>,
}

/// A workflow that was there before the store was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedMirror {
    /// The entity's kind.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// Which life of it.
    pub run_no: u64,
    /// The run that has it.
    pub run_id: String,
}
