//! Model calls: from a request to a provider's answer and its line in the ledger.
//!
//! Owns admission (budget, rate limit, breaker), attempts, failover and accounting of every call.

pub(crate) mod attempt;
pub(crate) mod budget;
pub(crate) mod budget_guard;
pub(crate) mod chat;
pub(crate) mod estimate;
pub(crate) mod execute;
pub(crate) mod failover;
pub(crate) mod in_flight;
pub(crate) mod ledger_entry;
pub(crate) mod rate_limiter;
pub(crate) mod remote_executor;
