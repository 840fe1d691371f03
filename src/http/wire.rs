//! Wire format of requests and answers; knows no resource.

pub(crate) mod body;
pub(crate) mod error_mapping;
pub(crate) mod openai_error;
pub(crate) mod page;
pub(crate) mod problem;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod schema;
pub(crate) mod serde_fields;
pub(crate) mod sse_frames;
