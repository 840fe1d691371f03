//! Faults of a provider's answer; `provider_faults.rs` produces them.

use std::time::Duration;

/// A fault of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Take the request and stay silent.
    Hang,
    /// Send half of the body and close the connection.
    CutInTheMiddle,
    /// Send half of the body and stay silent.
    StallInTheMiddle,
    /// Send the body byte by byte, with this pause before each.
    OneBytePer(Duration),
    /// Send a body that never ends.
    HugeBody,
    /// Send a body that is no UTF-8; of a stream, its first half and then an event that is none.
    InvalidUtf8,
    /// Send the headers and stay silent.
    HangAfterHeaders,
    CutAfterEvents(usize),
    /// Of a stream, send this many events and stay silent, the connection open.
    StallAfterEvents(usize),
    /// Of a stream, send this many events, then one that reports an error, and end.
    ErrorAfterEvents(usize),
    /// Send a single event of this many megabytes.
    LineOfMegabytes(usize),
    EndlessEvents,
}
