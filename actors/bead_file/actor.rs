//! The actor of one project's file of beads: reads it when it changes, writes it after changes here.
//!
//! Owns the watch of its directory, and what it knows of the file's state. Talks to the store. Restart: at once; the file
//! is looked at anew.

use crate::bead_file::disk::{self, Place, Stamp};
use crate::bead_file::export::Dialect;
use crate::bead_file::import::FileFormat;
use crate::bead_file::{ExportOutcome, ImportOutcome, ImportWish, read_in};
use crate::caller::Caller;
use crate::error::Fault;
use crate::event::bus::{BusHandle, LogLine};
use crate::runtime::cell::{Role, Scope};
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::kernel::refusal::Refusal;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// The name of the timer of the next writing.
const WRITE: &str = "write";
/// The name of the timer of the next reading.
const READ: &str = "read";
/// How long a file has to be left alone before it is read: whoever writes it may not be done.
const SETTLE: Duration = Duration::from_millis(200);

type Answer<T> = oneshot::Sender<Result<T, Fault>>;

/// What the actor of a file can be told.
pub(crate) enum Command {
    /// Something happened to a bead of the project.
    Changed,
    /// Something happened in the directory.
    Touched,
    /// The file may be elsewhere.
    Moved,
    /// It is time to write.
    Write,
    /// It is time to read.
    Read,
    Import {
        caller: Caller,
        wish: ImportWish,
        answer: Answer<ImportOutcome>,
    },
    Export {
        dialect: Dialect,
        answer: Answer<ExportOutcome>,
    },
}

/// The actor of one project's file.
pub(crate) struct BeadFilesActor {
    scope: Scope<Self>,
    project: ProjectId,
    place: Option<Place>,
    /// The state of the file that is known: read or written.
    known: Option<Stamp>,
    watcher: Option<RecommendedWatcher>,
    /// What was told last, so that it is not told again and again.
    complaint: Option<String>,
    is_write_planned: bool,
}

impl Role for BeadFilesActor {
    type Command = Command;
    const KIND: &'static str = "bead_files";

    fn new(scope: Scope<Self>) -> Self {
        let project = ProjectId::known(scope.id.clone());
        Self {
            scope,
            project,
            place: None,
            known: None,
            watcher: None,
            complaint: None,
            is_write_planned: false,
        }
    }

    async fn start(&mut self) {
        self.scope.pin.store(true, Ordering::Release);
        self.look().await;
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Changed => self.plan_write(),
            Command::Touched => self.scope.timers.set(READ, self.now_plus(SETTLE), Command::Read),
            Command::Moved => self.look().await,
            Command::Write => {
                self.is_write_planned = false;
                let outcome = self.write(Dialect::Bd).await.map(drop);
                self.tell(outcome).await;
            }
            Command::Read => self.read().await,
            Command::Import { caller, wish, answer } => {
                let outcome = self.import(&caller, wish).await;
                self.plan_write();
                // Whoever asked may have gone.
                let _ = answer.send(outcome);
            }
            Command::Export { dialect, answer } => {
                let _ = answer.send(self.write(dialect).await);
            }
        }
    }
}

impl BeadFilesActor {
    fn now_plus(&self, pause: Duration) -> arbiter_core::kernel::time::Timestamp {
        self.scope.shared.clock.now().plus(pause)
    }

    /// Many changes in a moment are written once.
    fn plan_write(&mut self) {
        if !std::mem::replace(&mut self.is_write_planned, true) {
            let pause = self.scope.shared.settings.bead_file_pause;
            self.scope.timers.set(WRITE, self.now_plus(pause), Command::Write);
        }
    }

    /// Finds out where the file is, watches it, and reads it if it is not as it was left.
    async fn look(&mut self) {
        let row = self.scope.shared.store.project(self.project.to_string()).await.ok().flatten();
        let place = row.and_then(|row| row.beads_path).map(|path| Place::of(Path::new(&path)));
        if place != self.place {
            if let Some(place) = &place {
                place.tidy(&self.project).await;
            }
            self.place = place;
            (self.known, self.watcher) = (None, None);
        }
        self.watch();
        self.read().await;
        self.plan_write();
    }

    fn watch(&mut self) {
        let Some(place) = self.place.as_ref().filter(|_| self.watcher.is_none()) else { return };
        let (shared, id) = (Arc::clone(&self.scope.shared), self.scope.id.clone());
        let hear = move |event: notify::Result<notify::Event>| {
            // What cannot be watched is read at the next start, or when somebody asks for it.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                shared.bead_files.tell(&shared, &id, Command::Touched);
            }
        };
        let watcher = notify::recommended_watcher(hear).and_then(|mut watcher| {
            watcher.watch(&place.directory, RecursiveMode::NonRecursive).map(|()| watcher)
        });
        self.watcher = watcher.ok();
    }

    /// Reads the file if it is not in the state that is known.
    async fn read(&mut self) {
        let Some(place) = self.place.clone() else { return };
        let stamp = disk::stamp(place.source.clone()).await;
        if stamp.is_none() && !disk::has_trees(place.directory.clone()).await
            || stamp.is_some() && stamp == self.known
        {
            return;
        }
        let digest = disk::digest(place.clone()).await;
        let last = self.scope.shared.store.bead_file_digest(self.project.to_string()).await.ok().flatten();
        if digest.is_some() && digest == last {
            self.known = stamp;
            return;
        }
        let outcome = self.import(&Caller::named("beads"), ImportWish::default()).await;
        if let Ok(done) = &outcome {
            let report = &done.report;
            if report.created + report.updated > 0 || !report.refused.is_empty() {
                tracing::info!(
                    target: "integration", project = %self.project, created = report.created, updated = report.updated,
                    refused = report.refused.len(), "a file of beads was read"
                );
            }
            for (line, why) in &report.refused {
                tracing::warn!(target: "integration", project = %self.project, line, why, "a line of a file of beads was not taken");
            }
        }
        self.tell(outcome.map(drop)).await;
        self.plan_write();
    }

    async fn import(&mut self, caller: &Caller, wish: ImportWish) -> Result<ImportOutcome, Fault> {
        let place = self.place.clone().ok_or_else(|| no_file(&self.project))?;
        let opened = disk::open(place.clone()).await.map_err(|error| unusable(&place.source, &error))?;
        let wish = ImportWish { format: opened.format, ..wish };
        let is_real = !wish.dry_run && wish.prefix.is_none();
        let name = place.source.display().to_string();
        let shared = &self.scope.shared;
        let outcome = read_in(shared, caller, &self.project, wish, opened.content, &name).await?;
        if is_real && outcome.report.refused.is_empty() {
            self.known = opened.stamp;
            if opened.format == FileFormat::Jsonl {
                shared.store.put_bead_file_digest(self.project.to_string(), opened.digest).await?;
            }
        }
        Ok(outcome)
    }

    async fn write(&mut self, dialect: Dialect) -> Result<ExportOutcome, Fault> {
        let place = self.place.clone().ok_or_else(|| no_file(&self.project))?;
        let shared = Arc::clone(&self.scope.shared);
        // What somebody else wrote meanwhile is read first, so that nothing of it is lost.
        let stamp = disk::stamp(place.target.clone()).await;
        if stamp.is_some() && stamp != self.known && place.target == place.source {
            self.import(&Caller::named("beads"), ImportWish::default()).await?;
        }
        let known = self.known.clone();
        let written = disk::write(&shared, &self.project, &place, dialect, known.as_ref()).await?;
        if self.watcher.is_none() {
            self.watch();
        }
        if place.target == place.source {
            self.known = written.stamp;
            shared.store.put_bead_file_digest(self.project.to_string(), written.digest).await?;
        }
        if !written.notes.is_empty() {
            shared.store.note_written(written.notes).await?;
        }
        Ok(written.outcome)
    }

    /// Says in the log of events that the file cannot be read or written, once.
    async fn tell(&mut self, outcome: Result<(), Fault>) {
        let complaint = outcome.err().map(|fault| fault.to_string());
        if complaint == self.complaint {
            return;
        }
        self.complaint.clone_from(&complaint);
        let Some(message) = complaint else { return };
        tracing::warn!(target: "integration", project = %self.project, message, "a file of beads");
        let line = LogLine {
            source: "beads",
            project_id: Some(self.project.to_string()),
            subject: self.project.to_string(),
            data: json!({"level": "WARN", "message": message}),
        };
        let bus = BusHandle(Arc::clone(&self.scope.shared));
        if let Err(fault) = bus.log(&Caller::named("beads"), line).await {
            tracing::warn!(%fault, "what happened to a file of beads could not be told");
        }
    }
}

fn no_file(project: &ProjectId) -> Fault {
    Refusal::conflict("no-bead-file", format!("project {project} has no beads_path: no file of its own"))
        .into()
}

fn unusable(path: &Path, error: &std::io::Error) -> Fault {
    Refusal::conflict("bead-file-unusable", format!("{}: {error}", path.display())).into()
}
