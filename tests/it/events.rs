//! The event stream through the running program.

pub mod bounds;
pub mod stream;
pub mod stream_crowd;
