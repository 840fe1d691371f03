//! A few threads with a read-only connection each.

use crate::base::connection::open_reader;
use crate::base::error::StoreError;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::Connection;
use std::path::Path;
use tokio::sync::oneshot;

type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

/// Number of reads that may wait.
const QUEUE_CAPACITY: usize = 4096;

#[derive(Clone)]
pub(crate) struct Readers {
    work: Sender<ReadJob>,
}

impl Readers {
    pub(crate) fn start(path: &Path, count: usize) -> Result<Self, StoreError> {
        let (work, queue) = bounded::<ReadJob>(QUEUE_CAPACITY);
        for number in 0..count.max(1) {
            let connection = open_reader(path)?;
            let queue: Receiver<ReadJob> = queue.clone();
            std::thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(move || serve(&connection, &queue))
                .map_err(|source| StoreError::Io { operation: "start", path: "a reader".into(), source })?;
        }
        Ok(Self { work })
    }

    /// Runs a read on one of the threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, wait) = oneshot::channel();
        let work: ReadJob = Box::new(move |connection| {
            // A caller that no longer waits does not need the answer.
            let _ = answer.send(read(connection));
        });
        self.work.try_send(work).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Failed,
        })?;
        wait.await.map_err(|_| StoreError::Failed)?
    }
}

fn serve(connection: &Connection, queue: &Receiver<ReadJob>) {
    while let Ok(work) = queue.recv() {
        // A read that panics drops its answer; the thread and its connection go on.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(connection)));
    }
}
