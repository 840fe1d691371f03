//! The commands, one file each.

pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod bead;
pub(crate) mod budget;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod decision;
pub(crate) mod demo;
pub(crate) mod events;
pub(crate) mod key;
pub(crate) mod lock;
pub(crate) mod openapi;
pub(crate) mod org_chart;
pub(crate) mod persona;
pub(crate) mod project;
pub(crate) mod provider;
pub(crate) mod repl;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod status;
#[cfg(feature = "temporal")]
pub(crate) mod temporal;
#[cfg(test)]
mod tests;
pub(crate) mod token;
pub(crate) mod usage;
pub(crate) mod vault;
#[cfg(feature = "temporal")]
pub(crate) mod worker;
