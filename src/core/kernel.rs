//! Ground that every noun stands on: ids, time, money, state machines, refusals, events, leases.

#[macro_use]
pub(crate) mod string_enum;

pub mod authority;
pub mod backoff;
pub mod call;
pub mod display;
pub mod event;
pub mod event_type;
pub mod ids;
pub mod initial_status;
pub mod key_text;
pub mod lease;
pub mod limits;
pub mod money;
pub mod objects_only;
pub mod problem_code;
pub mod record;
pub mod refusal;
pub mod restart;
pub mod run;
pub mod state_machine;
pub mod time;
pub mod token;
pub mod vault;
