//! Temporal: the workflows that mirror the server's entities, their activities, the payload codec, the worker and the
//! client.
//!
//! Owns everything that speaks Temporal. Knows nothing of actors, the store or HTTP: what workflows want of the server
//! is the trait [`control_plane::ControlPlane`], and what is mirrored comes in as records in JSON.

pub mod activities;
pub mod client;
pub mod codec;
pub mod control_plane;
pub mod worker;
pub mod workflows;
