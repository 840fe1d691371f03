//! A few threads with a read-only connection each.

use crate::base::connection::open_reader;
use crate::base::error::{StoreError, is_damaged};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;

type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

/// Number of reads that may wait.
const QUEUE_CAPACITY: usize = 4096;

#[derive(Clone)]
pub(crate) struct Readers {
    work: Sender<ReadJob>,
    on_failure: SharedOnFailure,
}

/// Observer of a failure after which the store stops, shared by the writer and the readers.
pub(crate) type SharedOnFailure = Arc<dyn Fn(&StoreError) + Send + Sync>;

impl Readers {
    pub(crate) fn start(path: &Path, count: usize, on_failure: SharedOnFailure) -> Result<Self, StoreError> {
        let (work, queue) = bounded::<ReadJob>(QUEUE_CAPACITY);
        for number in 0..count.max(1) {
            let connection = open_reader(path)?;
            let queue: Receiver<ReadJob> = queue.clone();
            std::thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(move || serve(&connection, &queue))
                .map_err(|source| StoreError::Io { operation: "start", path: "a reader".into(), source })?;
        }
        Ok(Self { work, on_failure })
    }

    /// Runs a read on one of the threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, wait) = oneshot::channel();
        let on_failure = Arc::clone(&self.on_failure);
        self.start_read(move |connection| {
            let outcome = read(connection);
            if let Err(error) = &outcome {
                report_fatal(error, &on_failure);
            }
            // A caller that no longer waits does not need the answer.
            let _ = answer.send(outcome);
        })?;
        wait.await.map_err(|_| StoreError::Failed)?
    }

    /// The observer of failures.
    pub(crate) fn on_failure(&self) -> SharedOnFailure {
        Arc::clone(&self.on_failure)
    }

    /// Hands a read to one of the threads; returns at once.
    pub(crate) fn start_read(
        &self,
        read: impl FnOnce(&Connection) + Send + 'static,
    ) -> Result<(), StoreError> {
        self.work.try_send(Box::new(read)).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Failed,
        })
    }
}

/// Reports an error that makes the file or the disk doubtful: what one reader cannot read, no later change may rest on.
pub(crate) fn report_fatal(error: &StoreError, on_failure: &SharedOnFailure) {
    if let StoreError::Sqlite { source, .. } = error
        && is_damaged(source)
    {
        on_failure(error);
    }
}

fn serve(connection: &Connection, queue: &Receiver<ReadJob>) {
    while let Ok(work) = queue.recv() {
        // A read that panics drops its answer; the thread and its connection go on.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(connection)));
    }
}
