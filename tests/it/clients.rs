//! Official clients and proxies of others against the running program.

pub mod anthropic;
pub mod examples;
pub mod litellm;
pub mod openai;
