//! The cast: every agent, bead, decision, provider, heartbeat, project and the vault is one supervised
//! actor; the event bus is their broker and the orchestrator their root.
//!
//! Owns who does what and in which order. Knows nothing of HTTP, the command line or Temporal: the
//! edges reach everything through [`Handles`].

mod agent;
mod bead;
mod bead_file;
mod call;
mod caller;
mod conflict_retry;
mod context;
mod decision;
mod dispatch;
mod error;
mod event;
mod gateway;
mod handles;
mod orchestrator;
mod persona;
mod project;
mod provider;
mod recovery;
mod retention;
mod run;
mod runtime;
mod settings;
mod start;
mod token;
mod vault;

pub use agent::AgentsHandle;
pub use agent::clone::{AgentClone, Original};
pub use bead::create::MAX_BULK;
pub use bead::status_change::BeadWay;
pub use bead::{BeadAction, BeadsHandle, Claimed, LeaseGrant};
pub use bead_file::export::Dialect;
pub use bead_file::import::FileFormat;
pub use bead_file::{BeadFilesHandle, ExportOutcome, ImportOutcome, ImportWish};
pub use call::budget::BudgetsHandle;
pub use call::remote_executor::{Carried, CarriedCall, Carrier, Freight};
pub use caller::{Caller, Cascade};
pub use decision::{DecisionsHandle, GivenAnswer};
pub use dispatch::dispatcher::DispatcherHandle;
pub use dispatch::pull::{MAX_WAIT_SEC, PullWish, PullsHandle};
pub use error::{FailedCall, Fault, VaultFault};
pub use event::bus::{BusHandle, LogLine};
pub use event::notifier::{NoticeState, NotifierHandle};
pub use event::subscription::{Delivery, Subscription};
pub use gateway::console::{ConsoleHandle, Question};
pub use gateway::stream::GatewayStream;
pub use gateway::{GatewayAnswer, GatewayCall, GatewayHandle, GatewayModel};
pub use handles::Handles;
pub use orchestrator::{ActorsStatus, OrchestratorHandle};
pub use persona::{KnownPersona, PersonaSummary, PersonasHandle};
pub use project::file_locks::{FileLocksHandle, LockWish};
pub use project::org_chart::{OrgChartsHandle, StaffedChart, Staffing};
pub use project::{Closing, ProjectsHandle, Rest};
pub use provider::ProvidersHandle;
pub use provider::worker::{KeySource, NotMade, OwnVault, RemoteCalls};
pub use run::ask_agent::{Prompt, WorkHandle};
pub use runtime::clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use runtime::fault_injection::Inject;
pub use settings::{Notify, NotifySecret, PublicHttp, Settings};
pub use start::{Cast, StartError, start};
pub use token::cache::Admission;
pub use token::{NewToken, TokensHandle};
pub use vault::open_vault::RolledBack;
pub use vault::transfer::Imported;
pub use vault::{Unlocked, VaultHandle, VaultView};
