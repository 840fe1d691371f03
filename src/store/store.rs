//! Handle through which all other code uses the store.

use crate::base::connection::open_writer;
use crate::base::error::StoreError;
use crate::base::migrate::{MIGRATIONS, migrate};
use crate::base::presence::Presence;
use crate::base::unit_of_work::{Committed, Unit};
use crate::read::readers::{Readers, SharedOnFailure};
use crate::read::verify::Verification;
use crate::tables::events;
use crate::write::import::{ImportOrder, ImportReport};
use crate::write::writer::{
    CommitJob, FileMarksJob, FileNotes, ImportJob, Publish, Writer, WriterMessage, WriterStats,
};
use arbiter_core::kernel::time::Timestamp;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Options for opening a store.
pub struct Options {
    /// The data directory; the file in it is `arbiter.db`.
    pub directory: PathBuf,
    pub readers: usize,
    pub group_max: usize,
    pub queue_max: usize,
    pub now: Timestamp,
    /// Observer of committed events.
    pub publish: Publish,
    /// Observer of a failure after which the store stops.
    pub on_failure: Box<dyn Fn(&StoreError) + Send>,
}

/// The store. Clones share it.
#[derive(Clone)]
pub struct Store {
    // Not crossbeam's: std drops queued messages when the writer ends, which answers their senders.
    sender: SyncSender<WriterMessage>,
    pub(crate) readers: Readers,
    pub(crate) verification: Verification,
    stats: Arc<WriterStats>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    path: PathBuf,
    /// The time of the opening by the given clock, and that of the newest event at that moment.
    opened: (Timestamp, Option<Timestamp>),
}

impl Store {
    /// Opens the database, brings its schema up to date and starts the threads.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when the database or its write-ahead log has been there and is gone.
    pub fn open(options: Options) -> Result<Self, StoreError> {
        let path = options.directory.join("arbiter.db");
        let presence = Presence::check(&options.directory)?;
        make_private(&path)?;
        let mut connection = open_writer(&path)?;
        migrate(&mut connection, MIGRATIONS, options.now)?;
        let newest = events::newest_timestamp(&connection)?;
        let stats = Arc::new(WriterStats::default());
        let on_failure = Mutex::new(options.on_failure);
        let on_failure: SharedOnFailure = Arc::new(move |error: &StoreError| {
            let on_failure = on_failure.lock();
            on_failure(error);
        });
        let writers = Arc::clone(&on_failure);
        let writer = Writer::new(
            connection,
            presence.clone(),
            Arc::clone(&stats),
            options.publish,
            Box::new(move |error| writers(error)),
            options.group_max.max(1),
        )?;
        sync_directory(&options.directory)?;
        // After the log's own name lasts, and before any unit is acknowledged.
        presence.record_open()?;
        let readers = Readers::start(&path, options.readers, on_failure)?;
        let (sender, jobs) = sync_channel(options.queue_max.max(1));
        let thread = std::thread::Builder::new()
            .name("store-write".into())
            .spawn(move || writer.run(&jobs))
            .map_err(|source| StoreError::Io { operation: "start", path: "the writer".into(), source })?;
        Ok(Self {
            sender,
            readers,
            verification: Verification::default(),
            stats,
            thread: Arc::new(Mutex::new(Some(thread))),
            path,
            opened: (options.now, newest),
        })
    }

    /// Commits a unit of work; the answer comes after the fsync.
    pub async fn commit(&self, unit: Unit) -> Result<Committed, StoreError> {
        let (answer, wait) = oneshot::channel();
        self.send(WriterMessage::Commit(CommitJob { unit, answer }))?;
        wait.await.map_err(|_| StoreError::Failed)?
    }

    /// Reads beads in from a file, all of them or none, and says what became of each line.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the file or, if that is wanted, one of its lines cannot be taken.
    pub async fn import(&self, order: ImportOrder) -> Result<ImportReport, StoreError> {
        let (answer, wait) = oneshot::channel();
        self.send(WriterMessage::Import(ImportJob { order, answer }))?;
        wait.await.map_err(|_| StoreError::Failed)?
    }

    /// Takes note of what was read from or written to a project's file, in one transaction.
    pub async fn note_bead_file(&self, notes: FileNotes) -> Result<(), StoreError> {
        let (answer, wait) = oneshot::channel();
        self.send(WriterMessage::Written(FileMarksJob { notes, answer }))?;
        wait.await.map_err(|_| StoreError::Failed)?
    }

    fn send(&self, order: WriterMessage) -> Result<(), StoreError> {
        self.sender.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Failed,
        })
    }

    /// Ends the writer: what waits is committed first, later units are refused, and the write-ahead log is
    /// moved into the database. Blocks until that is done.
    pub fn close(&self) {
        // A writer that is gone already needs no order to stop.
        let _ = self.sender.send(WriterMessage::Stop);
        let mut thread = self.thread.lock();
        if let Some(thread) = thread.take() {
            let _ = thread.join();
        }
    }

    /// Returns the writer's statistics since the start.
    pub fn stats(&self) -> &WriterStats {
        &self.stats
    }

    /// Returns whether the last commit found the disk full.
    pub fn is_full(&self) -> bool {
        self.stats.is_full.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Returns the time up to which the log proves that time has passed: that of the newest event when the store was
    /// opened, and the time since. A clock that was set ahead before the start does not make old rows older.
    pub fn proven_time(&self, now: Timestamp) -> Timestamp {
        let (opened, newest) = self.opened;
        newest.map_or(now, |newest| now.min(newest.plus(now.since(opened))))
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the names of the database and its log last. SQLite does the same at the first commit, but goes on
/// when it fails.
fn sync_directory(path: &Path) -> Result<(), StoreError> {
    std::fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| StoreError::Io {
        operation: "sync",
        path: path.display().to_string(),
        source,
    })
}

/// Makes the file with mode 0600 before SQLite would make it with another.
fn make_private(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map(drop).map_err(|source| StoreError::Io {
        operation: "open",
        path: path.display().to_string(),
        source,
    })
}
