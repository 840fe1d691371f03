//! Agent, persona, run and work routes.

pub(crate) mod dto;
pub(crate) mod handlers;
pub(crate) mod personas;
pub(crate) mod runs;
pub(crate) mod work;
