//! Terminal output and input: tables, prompts, secrets, failures.

pub(crate) mod event_line;
pub(crate) mod failure;
pub(crate) mod input_file;
pub(crate) mod output;
pub(crate) mod password;
pub(crate) mod secret;
pub(crate) mod table;
