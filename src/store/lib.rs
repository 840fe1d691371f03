//! The store: one SQLite file, one writer thread with group commit, a few readers.
//!
//! Owns every line of SQL, the directory's lock, migrations and the event log with its hash chain. Knows
//! nothing of actors, HTTP or secrets. Every change goes through [`Store::commit`] as a [`Unit`]; the
//! answer comes after the fsync.

mod base;
mod read;
mod store;
mod tables;
mod write;

pub use base::directory_lock::{DirectoryLock, LockError};
pub use base::error::StoreError;
pub use base::page::{Page, PageRequest, UnreadableRow};
pub use base::rows::Comment;
pub use base::rows::ConsoleTurn;
pub use base::rows::Heartbeat;
pub use base::rows::{AdoptedMirror, ChangedEntity, SentMirror};
pub use base::rows::{IdempotencyKey, KeptAnswer};
pub use base::unit_of_work::{Change, Committed, Unit, Write};
pub use read::capacity::{SpawnDepth, WaitingGroup};
pub use read::export::{ExportSink, Exported, ExportedBead, ExportedComment, ExportedEdge};
pub use read::queries::Counts;
pub use read::ready::DueFilter;
pub use read::verify::{Verified, VerifyError};
pub use store::{Options, Store};
pub use tables::agents::AgentFilter;
pub use tables::bead_files::{BaseBead, FileBase, FileMark};
pub use tables::beads::{BeadDetail, BeadFilter, BeadSort, Links};
pub use tables::calls::{Granularity, GroupBy, Usage, UsageFilter};
pub use tables::decisions::DecisionFilter;
pub use tables::events::{EventPage, EventRange, TypeCount};
pub use tables::file_locks::FileLockFilter;
pub use tables::runs::RunFilter;
pub use tables::state::mirror_state::{DueMirror, MIRROR_CURSOR, MirrorState};
pub use write::import::{
    ImportOrder, ImportReport, Imported, ImportedBead, ImportedComment, ImportedEdge, LineBefore,
    MAX_REPORTED_LINES, SyncedLine,
};
pub use write::import_comments::NO_ID;
pub use write::import_edges::CYCLIC;
pub use write::writer::{FileNotes, Publish, WriterStats, WrittenBead};
