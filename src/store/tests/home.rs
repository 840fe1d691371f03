//! A data directory of a test's own, and what the store in it has told.

use arbiter_core::kernel::event::Event;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{BeadDetail, BeadFilter, EventRange, Options, PageRequest, Store};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Recorder of the store's two callbacks.
#[derive(Clone, Default)]
pub struct Recorder {
    published: Arc<Mutex<Vec<Arc<Event>>>>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    /// Published events, in the order of their publication.
    pub fn events(&self) -> Vec<Event> {
        self.published.lock().unwrap().iter().map(|event| event.as_ref().clone()).collect()
    }

    /// Failures that were reported.
    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }
}

/// A directory that goes when the test ends.
pub struct Home {
    directory: tempfile::TempDir,
    pub recorder: Recorder,
}

impl Home {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), recorder: Recorder::default() }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn database(&self) -> PathBuf {
        self.path().join("arbiter.db")
    }

    pub fn open(&self) -> Store {
        Store::open(options(self.path(), &self.recorder)).unwrap()
    }

    /// A connection past the store, for looking and for doing harm.
    pub fn raw(&self) -> Connection {
        let raw = Connection::open(self.database()).unwrap();
        raw.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF").unwrap();
        raw
    }
}

/// Returns the options of a test store.
pub fn options(directory: &Path, recorder: &Recorder) -> Options {
    let (published, failures) = (Arc::clone(&recorder.published), Arc::clone(&recorder.failures));
    Options {
        directory: directory.to_owned(),
        readers: 2,
        group_max: 256,
        queue_max: 4096,
        now: Timestamp::from_millis(0),
        publish: Box::new(move |events| published.lock().unwrap().extend(events)),
        on_failure: Box::new(move |error| failures.lock().unwrap().push(error.to_string())),
    }
}

/// Every bead, by age.
pub async fn all_beads(store: &Store) -> Vec<BeadDetail> {
    let (mut beads, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageRequest { limit: 100_000, cursor };
        let page = store.beads(BeadFilter::default(), page).await.unwrap();
        beads.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return beads;
        }
    }
}

/// The whole log.
pub async fn all_events(store: &Store) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map(|event| event.seq);
        let page =
            store.events(EventRange { after, limit: 1_000_000, ..EventRange::default() }).await.unwrap();
        let is_cut = page.is_cut;
        events.extend(page.events);
        if !is_cut {
            return events;
        }
    }
}
