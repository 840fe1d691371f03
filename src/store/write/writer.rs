//! The one thread that writes: group commit with a savepoint for each unit, answers after the fsync.

use crate::base::connection::{CACHE_KIB, IMPORT_CACHE_KIB, set_cache_size};
use crate::base::error::{StoreError, clone_error, is_fatal, is_full};
use crate::base::presence::Presence;
use crate::base::unit_of_work::{Committed, Unit};
use crate::base::wal::WalWatch;
use crate::tables::bead_files::{self, FileBase};
use crate::tables::checkpoints::{self, Checkpoint};
use crate::tables::events;
use crate::write::apply;
use crate::write::import::{self, ImportEvent, ImportOrder, ImportReport};
use arbiter_core::bead::merge::MergeBase;
use arbiter_core::kernel::event::{Event, NewEvent, Origin, StoredEvent, chain_hash};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{EventId, base36};
use arbiter_core::kernel::time::Timestamp;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use sha2::{Digest, Sha256};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Instant;
use tokio::sync::oneshot;

/// Observer of committed events, in order, before the callers of the commit are answered.
pub type Publish = Box<dyn Fn(Vec<Arc<Event>>) + Send>;
/// Observer of a failure after which the store stops.
pub(crate) type OnFailure = Box<dyn Fn(&StoreError) + Send>;

/// A unit that waits for its commit.
pub(crate) struct CommitJob {
    pub(crate) unit: Unit,
    pub(crate) answer: oneshot::Sender<Result<Committed, StoreError>>,
}

/// An import that waits for its turn.
pub(crate) struct ImportJob {
    pub(crate) order: ImportOrder,
    pub(crate) answer: oneshot::Sender<Result<ImportReport, StoreError>>,
}

/// Fields of a bead as written to its file: id, time of change by the file, revision, lists.
pub type WrittenBead = (String, Timestamp, u64, MergeBase);

/// Notes about a project's file after it was read or written.
#[derive(Debug, Default)]
pub struct FileNotes {
    pub project: String,
    /// Marks of written beads.
    pub beads: Vec<WrittenBead>,
    /// Bases that were changed, or removed, by id.
    pub bases: Vec<(String, Option<FileBase>)>,
    /// Digest of the file.
    pub digest: Option<String>,
    /// Report on the file, as JSON.
    pub report: Option<String>,
}

/// Notes that wait for their turn.
pub(crate) struct FileMarksJob {
    pub(crate) notes: FileNotes,
    pub(crate) answer: oneshot::Sender<Result<(), StoreError>>,
}

/// Message to the writer.
pub(crate) enum WriterMessage {
    Commit(CommitJob),
    /// Read a file in, in a transaction of its own.
    Import(ImportJob),
    /// Take note of what was written of beads to their files.
    Written(FileMarksJob),
    /// Finish what waits and end.
    Stop,
}

/// Statistics of the writer since the start.
#[derive(Debug, Default)]
pub struct WriterStats {
    pub commits: AtomicU64,
    /// Units committed in them.
    pub units: AtomicU64,
    /// Events committed in them.
    pub events: AtomicU64,
    /// Time spent in COMMIT, in microseconds.
    pub commit_us: AtomicU64,
    pub last_seq: AtomicU64,
    /// True if the last commit found the disk full.
    pub is_full: AtomicBool,
}

pub(crate) struct Writer {
    connection: Connection,
    wal: WalWatch,
    presence: Presence,
    tail: Checkpoint,
    stats: Arc<WriterStats>,
    publish: Publish,
    on_failure: OnFailure,
    group_max: usize,
    failed: bool,
}

impl Writer {
    pub(crate) fn new(
        mut connection: Connection,
        presence: Presence,
        stats: Arc<WriterStats>,
        publish: Publish,
        on_failure: OnFailure,
        group_max: usize,
    ) -> Result<Self, StoreError> {
        let tail = checkpoints::tail(&connection)?;
        let wal = WalWatch::start(&mut connection)?;
        stats.last_seq.store(tail.seq, Ordering::Release);
        Ok(Self { connection, wal, presence, tail, stats, publish, on_failure, group_max, failed: false })
    }

    /// Serves until it is told to stop or every sender is gone, then moves the write-ahead log into the
    /// database.
    pub(crate) fn run(mut self, messages: &Receiver<WriterMessage>) {
        let mut stopping = false;
        while !stopping {
            let mut exclusive = None;
            let mut group = match messages.recv() {
                Ok(WriterMessage::Commit(first)) => vec![first],
                Ok(WriterMessage::Stop) | Err(_) => break,
                Ok(other) => {
                    exclusive = Some(other);
                    vec![]
                }
            };
            while exclusive.is_none() && group.len() < self.group_max && !stopping {
                match messages.try_recv() {
                    Ok(WriterMessage::Commit(next)) => group.push(next),
                    Ok(WriterMessage::Stop) => stopping = true,
                    Ok(other) => exclusive = Some(other),
                    Err(_) => break,
                }
            }
            // A listener that panics, or a fault of ours: what was committed is there, who waits is answered
            // by the drop of the group, and the connection is left as it is.
            let served = catch_unwind(AssertUnwindSafe(|| {
                if !group.is_empty() {
                    self.serve(group);
                }
                match exclusive {
                    Some(WriterMessage::Import(job)) => self.import(job),
                    Some(WriterMessage::Written(job)) => self.record_file_marks(job),
                    Some(WriterMessage::Commit(_) | WriterMessage::Stop) | None => {}
                }
            }));
            if served.is_err() {
                self.fail(&StoreError::Failed);
            }
        }
        if !self.failed {
            self.close_in_order();
        }
    }

    /// Moves the whole write-ahead log into the database, which is then recorded as closed. If that is not
    /// possible the log stays, and the next start replays it.
    fn close_in_order(&self) {
        let moved = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        let is_moved = moved.is_ok_and(|busy: i64| busy == 0);
        if !is_moved || self.presence.record_closed().is_err() {
            let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }

    fn serve(&mut self, group: Vec<CommitJob>) {
        if self.failed {
            for job in group {
                let _ = job.answer.send(Err(StoreError::Failed));
            }
            return;
        }
        let before = self.tail;
        let mut appended = Vec::new();
        match self.commit_group(&group, &mut appended) {
            Ok(outcomes) => {
                self.stats.is_full.store(false, Ordering::Relaxed);
                let last = self.tail.seq;
                self.stats.last_seq.store(last, Ordering::Release);
                if !appended.is_empty() {
                    (self.publish)(appended);
                }
                for (job, outcome) in group.into_iter().zip(outcomes) {
                    // A caller that no longer waits finds the change in the store.
                    let _ = job.answer.send(outcome);
                }
                match self.wal.checkpoint_if_large(&self.connection) {
                    Err(source) if is_fatal(&source) => {
                        self.fail(&StoreError::Sqlite { operation: "move the write-ahead log", source });
                    }
                    // A reader or a full disk is in the way: the log grows until it is not.
                    Ok(()) | Err(_) => {}
                }
            }
            Err(error) => {
                self.tail = before;
                self.fail_group(group, &error);
            }
        }
    }

    fn fail_group(&mut self, group: Vec<CommitJob>, error: &rusqlite::Error) {
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        // A transaction that does not end would swallow every later one.
        let fatal = is_fatal(error) || !self.connection.is_autocommit();
        if fatal {
            self.fail(&StoreError::Sqlite { operation: "commit a group", source: clone_error(error) });
        }
        for job in group {
            let answer = if fatal {
                StoreError::Failed
            } else if is_full(error) {
                self.stats.is_full.store(true, Ordering::Relaxed);
                StoreError::Full
            } else {
                StoreError::Sqlite { operation: "commit a group", source: clone_error(error) }
            };
            let _ = job.answer.send(Err(answer));
        }
    }

    /// Ends all writing: nothing more is tried on this connection, not even moving the log when it closes,
    /// since after a failed fsync a second one that succeeds proves nothing.
    fn fail(&mut self, error: &StoreError) {
        self.failed = true;
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        (self.on_failure)(error);
    }

    /// One transaction for the whole group. An error of a single unit is its own outcome; an error that
    /// ends the transaction is the group's.
    fn commit_group(
        &mut self,
        group: &[CommitJob],
        appended: &mut Vec<Arc<Event>>,
    ) -> Result<Vec<Result<Committed, StoreError>>, rusqlite::Error> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut outcomes = Vec::with_capacity(group.len());
        let mut done = 0;
        for job in group {
            let (tail, told) = (self.tail, appended.len());
            self.connection.prepare_cached("SAVEPOINT unit")?.execute([])?;
            let outcome = self.write_unit(&job.unit, appended);
            if let Err(error) = &outcome {
                self.tail = tail;
                appended.truncate(told);
                if let StoreError::Sqlite { source, .. } = error
                    && (is_fatal(source) || self.connection.is_autocommit())
                {
                    return Err(clone_error(source));
                }
                if matches!(error, StoreError::Full) {
                    let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
                    return Err(rusqlite::Error::SqliteFailure(full, None));
                }
                self.connection.prepare_cached("ROLLBACK TO unit")?.execute([])?;
            } else {
                done += 1;
            }
            self.connection.prepare_cached("RELEASE unit")?.execute([])?;
            outcomes.push(outcome);
        }
        let started = Instant::now();
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.stats.commits.fetch_add(1, Ordering::Relaxed);
        self.stats.units.fetch_add(done, Ordering::Relaxed);
        self.stats.events.fetch_add(u64::try_from(appended.len()).unwrap_or(0), Ordering::Relaxed);
        self.stats.commit_us.fetch_add(took, Ordering::Relaxed);
        Ok(outcomes)
    }

    fn write_unit(&mut self, unit: &Unit, appended: &mut Vec<Arc<Event>>) -> Result<Committed, StoreError> {
        let newly_ready = apply::apply(&self.connection, unit)?;
        let mut committed = Committed::default();
        for event in &unit.events {
            committed.last_seq = self.append(unit, event.clone(), appended)?;
        }
        for one in newly_ready {
            let data = serde_json::json!({});
            let event = NewEvent {
                kind: EventType::BeadReady,
                project_id: Some(one.project_id),
                subject: one.id.to_string(),
                data,
            };
            committed.last_seq = self.append(unit, event, appended)?;
            committed.became_ready.push(one.id);
        }
        Ok(committed)
    }

    fn append(
        &mut self,
        unit: &Unit,
        event: NewEvent,
        appended: &mut Vec<Arc<Event>>,
    ) -> Result<u64, StoreError> {
        let provenance =
            Provenance { at: unit.at, source: unit.source, actor: &unit.actor, origin: unit.origin.as_ref() };
        let event = append(&self.connection, &mut self.tail, provenance, event)?;
        appended.push(event);
        Ok(self.tail.seq)
    }

    /// Imports in one transaction of any size. Only the newest of its events is published. Subscribers detect the gap
    /// and read the missing events from the log.
    fn import(&mut self, job: ImportJob) {
        let ImportJob { mut order, answer } = job;
        if self.failed {
            let _ = answer.send(Err(StoreError::Failed));
            return;
        }
        let before = self.tail;
        let mut newest = None;
        // With less memory it is only slower.
        let _ = set_cache_size(&self.connection, IMPORT_CACHE_KIB);
        let dry_run = order.dry_run;
        let outcome = self.in_transaction(|connection, tail| {
            let (at, actor, origin) = (order.at, order.actor.clone(), order.origin.clone());
            let mut emit = |told: ImportEvent| {
                let provenance = Provenance { at, source: "beads", actor: &actor, origin: origin.as_ref() };
                let (event, text) = match told {
                    ImportEvent::Written(event, text) => (event, text),
                    ImportEvent::Event(event) => {
                        let text = serde_json::to_string(&event.data).unwrap_or_default();
                        (event, text)
                    }
                };
                let event = append_written(connection, tail, provenance, event, &text)?;
                let seq = event.seq;
                newest = Some((event, text));
                Ok(seq)
            };
            let report = import::run(connection, &mut order, &mut emit)?;
            Ok((report, dry_run))
        });
        match &outcome {
            Ok(_) if !dry_run => {
                self.stats.last_seq.store(self.tail.seq, Ordering::Release);
                self.stats.commits.fetch_add(1, Ordering::Relaxed);
                self.stats.events.fetch_add(self.tail.seq - before.seq, Ordering::Relaxed);
                let whole = newest.map(|(event, text)| {
                    let data = serde_json::from_str(&text).unwrap_or_default();
                    Arc::new(Event { data, ..event })
                });
                (self.publish)(whole.into_iter().collect());
            }
            _ => self.tail = before,
        }
        let _ = answer.send(outcome);
        let _ = set_cache_size(&self.connection, CACHE_KIB);
        // A log that a large transaction has grown is moved now rather than with the next small one.
        let _ = self.wal.checkpoint_if_large(&self.connection);
    }

    fn record_file_marks(&mut self, job: FileMarksJob) {
        let FileMarksJob { notes, answer } = job;
        if self.failed {
            let _ = answer.send(Err(StoreError::Failed));
            return;
        }
        let outcome = self.in_transaction(|connection, _| {
            for (id, at, revision, seen) in &notes.beads {
                bead_files::written(connection, id, *at, *revision, seen)?;
            }
            for (id, base) in &notes.bases {
                bead_files::put_base(connection, &notes.project, id, base.as_ref())?;
            }
            if let Some(digest) = &notes.digest {
                bead_files::put_digest(connection, &notes.project, digest)?;
            }
            if let Some(report) = &notes.report {
                bead_files::put_report(connection, &notes.project, report)?;
            }
            Ok(((), false))
        });
        let _ = answer.send(outcome);
    }

    /// Runs `work` in a transaction, and takes everything back when it says so or fails.
    fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection, &mut Checkpoint) -> Result<(T, bool), StoreError>,
    ) -> Result<T, StoreError> {
        let outcome = self
            .connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(StoreError::from)
            .and_then(|()| work(&self.connection, &mut self.tail))
            .and_then(|(value, roll_back)| {
                self.connection.execute_batch(if roll_back { "ROLLBACK" } else { "COMMIT" })?;
                Ok(value)
            });
        let Err(error) = outcome else { return outcome };
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let is_fatal = matches!(&error, StoreError::Sqlite { source, .. } if is_fatal(source));
        if is_fatal || !self.connection.is_autocommit() {
            self.fail(&error);
            return Err(StoreError::Failed);
        }
        Err(error)
    }
}

/// Actor and time of an event.
#[derive(Clone, Copy)]
struct Provenance<'a> {
    at: Timestamp,
    source: &'static str,
    actor: &'a str,
    origin: Option<&'a Origin>,
}

/// Puts an event at the end of the chain.
fn append(
    connection: &Connection,
    tail: &mut Checkpoint,
    provenance: Provenance<'_>,
    event: NewEvent,
) -> Result<Arc<Event>, StoreError> {
    let text = serde_json::to_string(&event.data).unwrap_or_default();
    Ok(Arc::new(append_written(connection, tail, provenance, event, &text)?))
}

/// Appends an event whose data is already text; the event's own data may be empty.
fn append_written(
    connection: &Connection,
    tail: &mut Checkpoint,
    provenance: Provenance<'_>,
    event: NewEvent,
    text: &str,
) -> Result<Event, StoreError> {
    let seq = tail.seq + 1;
    // The id follows from the place in the chain: unique, and no source of randomness is needed.
    let digest = Sha256::digest([&tail.hash[..], &seq.to_be_bytes()].concat());
    let mut random = [0; 16];
    random.copy_from_slice(&digest[..16]);
    let event = Event {
        id: EventId::from_trusted(format!("evt-{}", base36(random, 20))).as_str().to_owned(),
        kind: event.kind,
        timestamp: provenance.at,
        source: provenance.source.to_owned(),
        project_id: event.project_id,
        subject: event.subject,
        actor: provenance.actor.to_owned(),
        origin: provenance.origin.cloned(),
        data: event.data,
        seq,
    };
    let hash = hash_of(&tail.hash, &event, text);
    events::append(connection, &event, text, &tail.hash, &hash)?;
    *tail = Checkpoint { seq, hash };
    Ok(event)
}

/// Returns the hash of an event whose data are this text.
fn hash_of(previous: &[u8; 32], event: &Event, text: &str) -> [u8; 32] {
    let timestamp = event.timestamp.to_string();
    let stored = StoredEvent {
        seq: event.seq,
        id: &event.id,
        kind: event.kind.as_str(),
        timestamp: &timestamp,
        source: &event.source,
        project_id: event.project_id.as_deref(),
        subject: &event.subject,
        actor: &event.actor,
        data: text,
        origin: event.origin.as_ref().map(|origin| (origin.address.as_str(), origin.token_id.as_deref())),
    };
    chain_hash(previous, &stored)
}
