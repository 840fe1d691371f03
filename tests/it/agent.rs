//! Agents through the running program: personas, org charts, prompts, the console.

pub mod console;
pub mod org_charts;
pub mod personas;
pub mod work;
