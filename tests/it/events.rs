//! The event stream through the running program.

pub mod stream;
pub mod stream_crowd;
