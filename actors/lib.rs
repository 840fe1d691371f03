//! The cast: every agent, bead, decision, provider, heartbeat, project and the vault is one supervised
//! actor; the event bus is their broker and the orchestrator their root.
//!
//! Owns who does what and in which order. Knows nothing of HTTP, the command line or Temporal: the
//! edges reach everything through [`Handles`].

mod account;
mod agent;
mod agent_actor;
mod bead;
mod bead_actor;
mod bead_run;
mod budget;
mod call_loop;
mod caller;
mod clock;
mod commit;
mod console;
mod decision;
mod directory;
mod dispatcher;
mod entropy;
mod event_bus;
mod fault;
mod gateway;
mod gateway_stream;
mod handles;
mod heartbeat;
mod hold;
mod inject;
mod orchestrator;
mod paid_call;
mod pool;
mod project;
mod provider;
mod provider_actor;
mod provider_cache;
mod provider_link;
mod purse;
mod recovery;
mod retention;
mod run;
mod runs;
mod settings;
mod shared;
mod shell;
mod start;
mod subscription;
mod surroundings;
mod timer;
mod token_cache;
mod tokens;
mod vault;
mod vault_actor;
mod vault_keys;
mod vault_passwords;
mod vault_place;
mod vault_throttle;
mod vault_transfer;

pub use agent::AgentsHandle;
pub use bead::{BeadAction, BeadsHandle, Claimed, LeaseGrant};
pub use budget::BudgetsHandle;
pub use caller::{Caller, Cascade};

pub use clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use console::{ConsoleHandle, Question};
pub use decision::DecisionsHandle;
pub use dispatcher::DispatcherHandle;
pub use event_bus::{BusHandle, LogLine};
pub use fault::{FailedCall, Fault, VaultFault};
pub use gateway::{GatewayAnswer, GatewayCall, GatewayHandle, GatewayModel};
pub use gateway_stream::GatewayStream;
pub use handles::Handles;
pub use inject::Inject;
pub use orchestrator::{ActorsStatus, OrchestratorHandle};
pub use project::ProjectsHandle;
pub use provider::ProvidersHandle;
pub use settings::{PublicHttp, Settings};
pub use start::{Cast, StartError, start};
pub use subscription::{Delivery, Subscription};
pub use token_cache::Admission;
pub use tokens::{NewToken, TokensHandle};
pub use vault::{Unlocked, VaultHandle, VaultView};
pub use vault_place::RolledBack;
pub use vault_transfer::Imported;
