//! The actors of Arbiter: every agent, bead, decision, provider, heartbeat, project and the vault is one
//! supervised actor.
//!
//! The event bus is their broker, and the orchestrator is their root.
//! Actors decide by the rules of `arbiter_core`, and keep nothing in memory that the store does not hold.
//! The edges (HTTP, command line, Temporal) reach them only through [`Handles`].
//!
//! A folder is a noun; its face, such as `bead.rs`, is the handle by which others reach it, and `actor.rs` is the
//! actor. A noun's context holds its registry and the parts and handles that it uses; all contexts share `services`.
//! The graph of folders has no cycle. `runtime` knows no noun. Three things are forwarded by the composition, because
//! a direct call would close a cycle: a bead tells its agent to begin a run, the vault tells providers and heartbeats
//! that keys changed, and changed budgets wake the dispatcher. The files beside the folders compose: `start` and
//! `recovery` begin, `context` builds the contexts, `orchestrator` hears of failures, `handles` is the public face.

mod actor_kind;
mod agent;
mod bead;
mod bead_file;
mod bead_unit;
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
mod services;
mod settings;
mod start;
mod token;
mod vault;

pub use agent::AgentsHandle;
pub use agent::clone::{AgentClone, CloneMode};
pub use bead::create::MAX_BULK;
pub use bead::status_change::StatusChange;
pub use bead::{BeadAction, BeadEdit, BeadsHandle, ClaimedBead, LeaseGrant};
pub use bead_file::export::FileDialect;
pub use bead_file::import::FileFormat;
pub use bead_file::report::{BeadFileLine, BeadFileReport, BeadFileState};
pub use bead_file::warnings::Warnings;
pub use bead_file::{BeadFilesHandle, ExportOutcome, ImportOutcome, ImportRequest, SpooledFile};
pub use call::budget::BudgetsHandle;
pub use call::remote_executor::{RemoteCall, RemoteExecutor, RemoteOutcome, RemoteScope};
pub use caller::{Caller, Cascade};
pub use decision::{DecisionAnswer, DecisionsHandle};
pub use dispatch::dispatcher::DispatcherHandle;
pub use dispatch::pull::{MAX_WAIT_SEC, PullRequest, PullsHandle};
pub use error::{Error, FailedCall, VaultAccessError};
pub use event::bus::{BusHandle, LogLine};
pub use event::notifier::{NoticeState, NotifierHandle};
pub use event::subscription::{Delivery, Subscription};
pub use gateway::console::{ConsoleHandle, ConsoleQuestion};
pub use gateway::stream::GatewayStream;
pub use gateway::{GatewayAnswer, GatewayCall, GatewayHandle, GatewayModel};
pub use handles::Handles;
pub use orchestrator::{ActorsStatus, OrchestratorHandle};
pub use persona::{PersonaEntry, PersonaSummary, PersonasHandle};
pub use project::file_locks::{FileLocksHandle, LockRequest};
pub use project::org_chart::{OrgChartsHandle, StaffedChart, Staffing};
pub use project::{CloseOutcome, Parking, ProjectsHandle};
pub use provider::ProvidersHandle;
pub use provider::worker::{NotAttempted, ProviderWorker, WorkerVault};
pub use run::ask_agent::{AgentPrompt, WorkHandle};
pub use runtime::clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use runtime::fault_injection::FaultInjection;
pub use settings::{Notify, NotifySecret, PublicHttp, Settings};
pub use start::{ActorSystem, StartError, start};
pub use token::cache::AuthenticatedToken;
pub use token::{NewToken, TokensHandle};
pub use vault::key_source::KeySource;
pub use vault::open_vault::RolledBack;
pub use vault::transfer::ImportedKeys;
pub use vault::{Unlocked, VaultHandle, VaultView};
