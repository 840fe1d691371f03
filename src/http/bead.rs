//! Bead routes.

pub(crate) mod actions;
pub(crate) mod claim_next;
pub(crate) mod comments;
pub(crate) mod dto;
pub(crate) mod files;
pub(crate) mod handlers;
pub(crate) mod insight;
pub(crate) mod work_graph;
pub(crate) mod work_graph_text;
