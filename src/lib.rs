//! Arbiter

pub mod config;
