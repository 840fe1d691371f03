//! How long a provider may take; data, the clock is `client.rs`'s.

use std::time::Duration;

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
    /// The whole of a stream, from the request to its end; no limit by default, for a stream shows that it
    /// goes on. Its first byte must come within the limit of a whole call.
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
