//! The store: one SQLite file, one writer thread with group commit, a few readers.
//!
//! Owns every line of SQL, the directory's lock, migrations and the event log with its hash chain. Knows
//! nothing of actors, HTTP or secrets. Every change goes through [`Store::commit`] as a [`Unit`]; the
//! answer comes after the fsync.

mod agents;
mod apply;
mod bead_files;
mod beads;
mod budgets;
mod calls;
mod checkpoints;
mod comments;
mod connection;
mod console;
mod cursors;
mod decisions;
mod dependencies;
mod due;
mod error;
mod events;
mod export;
mod file_locks;
mod handle;
mod heartbeats;
mod idempotency;
mod import;
mod import_edges;
mod leases;
mod load;
mod lock;
mod migrate;
mod offers;
mod operation;
mod org_charts;
mod page;
mod projects;
mod providers;
mod queries;
mod readers;
mod readiness;
mod rules;
mod runs;
mod search;
mod table;
mod tokens;
mod unit;
mod vault_seen;
mod verify;
mod wal;
mod writer;

pub use agents::AgentFilter;
pub use bead_files::FileMark;
pub use beads::{BeadDetail, BeadFilter, BeadSort, Links};
pub use calls::{GroupBy, Per, Usage, UsageFilter};
pub use comments::Comment;
pub use console::ConsoleTurn;
pub use decisions::DecisionFilter;
pub use due::DueFilter;
pub use error::StoreError;
pub use events::{EventPage, EventRange, TypeCount};
pub use export::{Exported, ExportedBead, ExportedComment, ExportedEdge, Sink};
pub use file_locks::FileLockFilter;
pub use handle::{Options, Store};
pub use heartbeats::Heartbeat;
pub use idempotency::{IdempotencyKey, KeptAnswer};
pub use import::{ImportOrder, ImportReport, Imported, ImportedBead, ImportedComment, ImportedEdge};
pub use import_edges::CYCLIC;
pub use load::{Alike, Lineage};
pub use lock::{DirectoryLock, LockError};
pub use page::{Page, PageRequest};
pub use queries::Counts;
pub use runs::RunFilter;
pub use unit::{Change, Committed, Unit, Write};
pub use verify::{Verified, VerifyError};
pub use writer::{Publish, WriterStats};
