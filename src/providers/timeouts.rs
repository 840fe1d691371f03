//! Time limits of a provider call; `client.rs` enforces them.

use std::time::Duration;

/// Time limits of the steps of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From a name to an open connection, TLS included; 5 s by default.
    pub connect: Duration,
    /// The whole call, from the request to the last byte of the answer; 120 s by default. The first byte has no
    /// limit of its own, because a model that does not stream is silent while it thinks.
    pub whole_call: Duration,
    /// Longest silence within an answer that has begun; 30 s by default.
    pub idle: Duration,
    /// The whole stream, from the request to its end; no limit by default, because a stream shows its progress.
    /// Its first byte must arrive within the limit of a whole call.
    pub whole_stream: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            whole_call: Duration::from_secs(120),
            idle: Duration::from_secs(30),
            whole_stream: None,
        }
    }
}
