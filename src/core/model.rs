//! Models: the catalog, names as providers write them, and model selection.

pub mod catalog;
pub mod name;
pub mod selector;
