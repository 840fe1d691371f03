//! The one thread that writes: group commit with a savepoint for each unit, answers after the fsync.

use crate::apply;
use crate::checkpoints::{self, Checkpoint};
use crate::error::{StoreError, again, is_fatal, is_full};
use crate::events;
use crate::unit::{Committed, Unit};
use crate::wal::WalWatch;
use arbiter_core::event::{Event, NewEvent, chain_hash};
use arbiter_core::event_type::EventType;
use arbiter_core::ids::{EventId, base36};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use sha2::{Digest, Sha256};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Instant;
use tokio::sync::oneshot;

/// Hears of committed events, in order, before those who wait for the commit are answered.
pub type Publish = Box<dyn Fn(Vec<Arc<Event>>) + Send>;
/// Hears that the store cannot go on.
pub(crate) type OnFailure = Box<dyn Fn(&StoreError) + Send>;

/// A unit that waits for its commit.
pub(crate) struct Job {
    pub(crate) unit: Unit,
    pub(crate) answer: oneshot::Sender<Result<Committed, StoreError>>,
}

/// What the writer is told.
pub(crate) enum Order {
    /// Commit a unit.
    Commit(Job),
    /// Finish what waits and end.
    Stop,
}

/// What the writer has done since the start.
#[derive(Debug, Default)]
pub struct WriterStats {
    /// Transactions committed.
    pub commits: AtomicU64,
    /// Units committed in them.
    pub units: AtomicU64,
    /// Events committed in them.
    pub events: AtomicU64,
    /// Time spent in COMMIT, in microseconds.
    pub commit_us: AtomicU64,
    /// The number of the newest committed event.
    pub last_seq: AtomicU64,
}

pub(crate) struct Writer {
    connection: Connection,
    wal: WalWatch,
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
        stats: Arc<WriterStats>,
        publish: Publish,
        on_failure: OnFailure,
        group_max: usize,
    ) -> Result<Self, StoreError> {
        let tail = checkpoints::tail(&connection)?;
        let wal = WalWatch::start(&mut connection)?;
        stats.last_seq.store(tail.seq, Ordering::Release);
        Ok(Self { connection, wal, tail, stats, publish, on_failure, group_max, failed: false })
    }

    /// Serves until it is told to stop or every sender is gone, then moves the write-ahead log into the
    /// database.
    pub(crate) fn run(mut self, orders: &Receiver<Order>) {
        let mut stopping = false;
        while !stopping {
            let mut group = match orders.recv() {
                Ok(Order::Commit(first)) => vec![first],
                Ok(Order::Stop) | Err(_) => break,
            };
            while group.len() < self.group_max && !stopping {
                match orders.try_recv() {
                    Ok(Order::Commit(next)) => group.push(next),
                    Ok(Order::Stop) => stopping = true,
                    Err(_) => break,
                }
            }
            // A listener that panics, or a fault of ours: what was committed is there, who waits is answered
            // by the drop of the group, and the connection is left as it is.
            if catch_unwind(AssertUnwindSafe(|| self.serve(group))).is_err() {
                self.fail(&StoreError::Failed);
            }
        }
        if !self.failed {
            // An optimisation for the next start: a log that stays behind is replayed then.
            let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }

    fn serve(&mut self, group: Vec<Job>) {
        if self.failed {
            for job in group {
                let _ = job.answer.send(Err(StoreError::Failed));
            }
            return;
        }
        let before = self.tail;
        let mut fresh = Vec::new();
        match self.commit_group(&group, &mut fresh) {
            Ok(outcomes) => {
                let last = self.tail.seq;
                self.stats.last_seq.store(last, Ordering::Release);
                if !fresh.is_empty() {
                    (self.publish)(fresh);
                }
                for (job, outcome) in group.into_iter().zip(outcomes) {
                    // Whoever no longer waits for the answer finds the change in the store.
                    let _ = job.answer.send(outcome);
                }
                match self.wal.move_when_grown(&self.connection) {
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

    fn fail_group(&mut self, group: Vec<Job>, error: &rusqlite::Error) {
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        // A transaction that does not end would swallow every later one.
        let fatal = is_fatal(error) || !self.connection.is_autocommit();
        if fatal {
            self.fail(&StoreError::Sqlite { operation: "commit a group", source: again(error) });
        }
        for job in group {
            let answer = if fatal {
                StoreError::Failed
            } else if is_full(error) {
                StoreError::Full
            } else {
                StoreError::Sqlite { operation: "commit a group", source: again(error) }
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
        group: &[Job],
        fresh: &mut Vec<Arc<Event>>,
    ) -> Result<Vec<Result<Committed, StoreError>>, rusqlite::Error> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut outcomes = Vec::with_capacity(group.len());
        let mut done = 0;
        for job in group {
            let (tail, told) = (self.tail, fresh.len());
            self.connection.prepare_cached("SAVEPOINT unit")?.execute([])?;
            let outcome = self.write_unit(&job.unit, fresh);
            if let Err(error) = &outcome {
                self.tail = tail;
                fresh.truncate(told);
                if let StoreError::Sqlite { source, .. } = error
                    && (is_fatal(source) || self.connection.is_autocommit())
                {
                    return Err(again(source));
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
        self.stats.events.fetch_add(u64::try_from(fresh.len()).unwrap_or(0), Ordering::Relaxed);
        self.stats.commit_us.fetch_add(took, Ordering::Relaxed);
        Ok(outcomes)
    }

    fn write_unit(&mut self, unit: &Unit, fresh: &mut Vec<Arc<Event>>) -> Result<Committed, StoreError> {
        let woken = apply::apply(&self.connection, unit)?;
        let mut committed = Committed::default();
        for event in &unit.events {
            committed.last_seq = self.append(unit, event.clone(), fresh)?;
        }
        for one in woken {
            let data = serde_json::json!({});
            let event = NewEvent {
                kind: EventType::BeadReady,
                project_id: Some(one.project_id),
                subject: one.id.to_string(),
                data,
            };
            committed.last_seq = self.append(unit, event, fresh)?;
            committed.became_ready.push(one.id);
        }
        Ok(committed)
    }

    fn append(
        &mut self,
        unit: &Unit,
        event: NewEvent,
        fresh: &mut Vec<Arc<Event>>,
    ) -> Result<u64, StoreError> {
        let seq = self.tail.seq + 1;
        // The id follows from the place in the chain: unique, and no source of randomness is needed.
        let digest = Sha256::digest([&self.tail.hash[..], &seq.to_be_bytes()].concat());
        let mut random = [0; 16];
        random.copy_from_slice(&digest[..16]);
        let event = Event {
            id: EventId::known(format!("evt-{}", base36(random, 20))).as_str().to_owned(),
            kind: event.kind,
            timestamp: unit.at,
            source: unit.source.to_owned(),
            project_id: event.project_id,
            subject: event.subject,
            actor: unit.actor.clone(),
            origin: unit.origin.clone(),
            data: event.data,
            seq,
        };
        let text = serde_json::to_string(&event.data).unwrap_or_default();
        let hash = chain_hash(&self.tail.hash, &event, &text);
        events::append(&self.connection, &event, &text, &self.tail.hash, &hash)?;
        self.tail = Checkpoint { seq, hash };
        fresh.push(Arc::new(event));
        Ok(seq)
    }
}
