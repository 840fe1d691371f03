//! Official clients and proxies of other authors against the running program.

pub mod anthropic;
pub mod examples;
pub mod litellm;
pub mod openai;
