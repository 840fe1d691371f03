//! Arbiter
