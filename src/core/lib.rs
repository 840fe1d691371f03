//! The functional core: what may happen in Arbiter, as pure types and tables.
//!
//! Owns every entity's states and transitions, the rules that decide a command, and the policies
//! (readiness, back-off, restart budget, matching). Knows no clock, no randomness, no I/O: time, ids
//! and random bytes come in as arguments.

#[macro_use]
mod words;

pub mod agent;
pub mod agent_change;
pub mod agent_config;
pub mod autonomy;
pub mod backoff;
pub mod bead;
pub mod bead_change;
pub mod bead_import;
mod bead_types;
pub mod breaker;
pub mod briefing;
pub mod budget;
pub mod call;
pub mod catalogue;
pub mod choice;
pub mod decision;
pub mod decision_change;
pub mod decision_effect;
pub mod decision_time;
pub mod dispatch;
pub mod dispatch_why;
pub mod event;
pub mod event_type;
pub mod file_lock;
pub mod gateway_model;
pub mod handing_on;
pub mod ids;
pub mod lease;
pub mod machine;
pub mod meter;
pub mod model_name;
pub mod money;
pub mod notice;
pub mod org_chart;
pub mod pace;
pub mod persona;
pub mod project;
pub mod project_change;
pub mod prompt;
pub mod protocol;
pub mod provider;
pub mod provider_change;
pub mod provider_health;
pub mod pull;
pub mod readiness;
pub mod record;
pub mod refusal;
pub mod restart;
pub mod retry;
pub mod run;
pub mod spawning;
pub mod subject;
pub mod thoughts;
pub mod time;
pub mod token;
pub mod vault;
