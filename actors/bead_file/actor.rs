//! The actor of one project's file of beads: reads it when it changes, writes it after changes here.
//!
//! Owns the watch of its directory, and what it knows of the file's state. Talks to the store. Restart: at once; the file
//! is looked at anew.

use crate::actor_kind::ActorKind;
use crate::bead_file::BeadFileContext;
use crate::bead_file::directory::BeadDirectory;
use crate::bead_file::disk::{self, BeadFile, DisplacedFile, FileSnapshot};
use crate::bead_file::export::FileDialect;
use crate::bead_file::import::FileFormat;
use crate::bead_file::whole_file::{self, unusable};
use crate::bead_file::{ExportOutcome, ImportOutcome, ImportRequest, import_file};
use crate::caller::Caller;
use crate::error::Error;
use crate::error::Reply;
use crate::event::bus::LogLine;
use crate::runtime::cell::{Behavior, BehaviorContext};
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_files::Stamp;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::json;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The name of the timer of the next writing.
const WRITE: &str = "write";
/// The name of the timer of the next reading.
const READ: &str = "read";
/// The name of the timer of the second reading of a displaced file.
const READ_DISPLACED: &str = "read-displaced";
/// Time without changes before a file is read: its writer may not be done.
const SETTLE_TIME: Duration = Duration::from_millis(200);

/// Commands of a bead file's actor.
pub(crate) enum Command {
    /// Something happened to a bead of the project.
    BeadsChanged,
    /// Something happened in the directory.
    DirectoryChanged,
    PathChanged,
    Write,
    Read,
    /// Time to read a displaced file once more.
    ReadDisplaced(Box<DisplacedFile>),
    Import {
        caller: Caller,
        request: ImportRequest,
        answer: Reply<ImportOutcome>,
    },
    Export {
        dialect: FileDialect,
        answer: Reply<ExportOutcome>,
    },
}

/// The actor of one project's file.
pub(crate) struct BeadFilesActor {
    context: BehaviorContext<Self>,
    project: ProjectId,
    directory: Option<BeadDirectory>,
    /// The state of the file that is known: read or written.
    known: Option<Stamp>,
    watcher: Option<RecommendedWatcher>,
    /// Last reported error, so that it is not reported repeatedly.
    last_error: Option<String>,
    is_write_planned: bool,
}

impl Behavior for BeadFilesActor {
    type Command = Command;
    type Host = BeadFileContext;
    const KIND: ActorKind = ActorKind::BeadFiles;

    fn new(context: BehaviorContext<Self>) -> Self {
        let project = ProjectId::from_trusted(context.id.clone());
        Self {
            context,
            project,
            directory: None,
            known: None,
            watcher: None,
            last_error: None,
            is_write_planned: false,
        }
    }

    async fn start(&mut self) {
        self.context.pin.store(true, Ordering::Release);
        self.reload().await;
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::BeadsChanged => self.plan_write(),
            Command::DirectoryChanged => {
                self.context.timers.set(READ, self.now_plus(SETTLE_TIME), Command::Read)
            }
            Command::PathChanged => self.reload().await,
            Command::Write => {
                self.is_write_planned = false;
                let outcome = self.write(FileDialect::Bd).await.map(drop);
                self.tell(outcome).await;
            }
            Command::Read => self.read().await,
            Command::ReadDisplaced(displaced) => self.read_displaced(*displaced).await,
            Command::Import { caller, request, answer } => {
                let outcome = self.import(&caller, request).await;
                self.plan_write();
                answer.send(outcome);
            }
            Command::Export { dialect, answer } => {
                answer.with(self.write(dialect)).await;
            }
        }
    }
}

impl BeadFilesActor {
    fn now_plus(&self, pause: Duration) -> arbiter_core::kernel::time::Timestamp {
        self.context.shared.clock.now().plus(pause)
    }

    /// Many changes in a moment are written once.
    fn plan_write(&mut self) {
        if !std::mem::replace(&mut self.is_write_planned, true) {
            let pause = self.context.shared.settings.bead_file_pause;
            self.context.timers.set(WRITE, self.now_plus(pause), Command::Write);
        }
    }

    /// Finds out where the file is, watches it, and reads it if it is not as it was left.
    async fn reload(&mut self) {
        let row = self.context.shared.store.project(self.project.to_string()).await.ok().flatten();
        let path = row.and_then(|row| row.beads_path).map(PathBuf::from);
        if path.as_deref() != self.directory.as_ref().map(BeadDirectory::path) {
            let roots = &self.context.shared.settings.bead_roots;
            self.directory = path.map(|path| BeadDirectory::new(&self.project, &path, roots));
            (self.known, self.watcher) = (None, None);
            self.import_leftovers().await;
        }
        self.watch().await;
        self.read().await;
        self.plan_write();
    }

    async fn watch(&mut self) {
        let Some(directory) = self.directory.clone().filter(|_| self.watcher.is_none()) else { return };
        let (shared, id) = (Arc::clone(&self.context.shared), self.context.id.clone());
        let on_change = move |event: notify::Result<notify::Event>| {
            // A file that cannot be watched is read at the next start, or on request.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                shared.bead_files.wake(&id, "directory", Command::DirectoryChanged);
            }
        };
        let watching = directory.access(move |directory| {
            let opened = directory.open().ok()?;
            let mut watcher = notify::recommended_watcher(on_change).ok()?;
            watcher.watch(opened.path(), RecursiveMode::NonRecursive).ok()?;
            Some(watcher)
        });
        self.watcher = watching.await.ok().flatten();
    }

    /// Reads the file if it is not in the state that is known.
    async fn read(&mut self) {
        let Some(directory) = self.directory.clone() else { return };
        let version = disk::stamp(&directory, BeadFile::Shared).await;
        if version.is_some() && version == self.known {
            return;
        }
        let digest = match whole_file::open(&directory).await {
            Ok(None) => return,
            Ok(Some(opened)) => Some(opened.digest),
            Err(error) => return self.tell(Err(error)).await,
        };
        let last = self.context.shared.store.bead_file_digest(self.project.to_string()).await.ok().flatten();
        if digest.is_some() && digest == last {
            self.known = version;
            return;
        }
        let outcome = self.import(&Caller::named("beads"), ImportRequest::default()).await;
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

    /// Reads what a server that was killed had displaced and not merged.
    async fn import_leftovers(&mut self) {
        let Some(directory) = self.directory.clone() else { return };
        match disk::leftovers(&directory).await {
            Ok(leftovers) => {
                for displaced in leftovers {
                    let outcome = self.import_snapshot(displaced.snapshot.clone()).await;
                    if outcome.is_ok() {
                        displaced.forget(&directory).await;
                    }
                    self.tell(outcome).await;
                }
            }
            Err(reason) => self.tell(Err(unusable(reason))).await,
        }
    }

    /// Reads what another program wrote to a file that it had open when the file was displaced.
    async fn read_displaced(&mut self, displaced: DisplacedFile) {
        let Some(directory) = self.directory.clone() else { return };
        let outcome = match displaced.read_again(&directory).await {
            Ok(None) => return,
            Ok(Some(late)) => self.import_snapshot(late).await,
            Err(reason) => Err(unusable(reason)),
        };
        self.tell(outcome).await;
        self.plan_write();
    }

    async fn import_snapshot(&self, snapshot: FileSnapshot) -> Result<(), Error> {
        let (shared, name) = (&self.context.shared, snapshot.path.display().to_string());
        let (caller, content) = (Caller::named("beads"), Box::new(Cursor::new(snapshot.bytes)));
        let request = ImportRequest::default();
        import_file(shared, &caller, &self.project, request, content, &name).await.map(drop)
    }

    async fn import(&mut self, caller: &Caller, request: ImportRequest) -> Result<ImportOutcome, Error> {
        let directory = self.directory.clone().ok_or_else(|| no_file(&self.project))?;
        let path = directory.path().join(BeadFile::Shared.name()).display().to_string();
        let opened = whole_file::open(&directory).await?;
        let opened = opened.ok_or_else(|| unusable(format!("{path} does not exist")))?;
        let request = ImportRequest { format: opened.format, ..request };
        let is_real = !request.dry_run && request.prefix.is_none();
        let shared = &self.context.shared;
        let outcome = import_file(shared, caller, &self.project, request, opened.content, &path).await?;
        if is_real && outcome.report.refused.is_empty() {
            self.known = opened.version;
            if opened.format == FileFormat::Jsonl {
                shared.store.put_bead_file_digest(self.project.to_string(), opened.digest).await?;
            }
        }
        Ok(outcome)
    }

    async fn write(&mut self, dialect: FileDialect) -> Result<ExportOutcome, Error> {
        let directory = self.directory.clone().ok_or_else(|| no_file(&self.project))?;
        let shared = Arc::clone(&self.context.shared);
        let target = disk::target(&directory).await.map_err(unusable)?;
        // Changes by another program are read first, so that none is lost.
        let version = disk::stamp(&directory, target).await;
        if version.is_some() && version != self.known && target == BeadFile::Shared {
            self.import(&Caller::named("beads"), ImportRequest::default()).await?;
        }
        let written =
            whole_file::write(&shared.store, &self.project, &directory, target, dialect, self.known).await?;
        if let Some(displaced) = written.displaced {
            let command = Command::ReadDisplaced(Box::new(displaced));
            self.context.timers.set(READ_DISPLACED, self.now_plus(disk::SECOND_READ_AFTER), command);
        }
        if self.watcher.is_none() {
            self.watch().await;
        }
        if target == BeadFile::Shared {
            self.known = written.version;
            shared.store.put_bead_file_digest(self.project.to_string(), written.digest).await?;
        }
        if !written.notes.is_empty() {
            shared.store.record_file_marks(written.notes).await?;
        }
        Ok(written.outcome)
    }

    /// Says in the log of events that the file cannot be read or written, once.
    async fn tell(&mut self, outcome: Result<(), Error>) {
        let last_error = outcome.err().map(|error| error.to_string());
        if last_error == self.last_error {
            return;
        }
        self.last_error.clone_from(&last_error);
        let Some(message) = last_error else { return };
        tracing::warn!(target: "integration", project = %self.project, message, "a file of beads");
        let line = LogLine {
            source: "beads",
            project_id: Some(self.project.to_string()),
            subject: self.project.to_string(),
            data: json!({"level": "WARN", "message": message}),
        };
        let bus = self.context.shared.bus.clone();
        if let Err(error) = bus.log(&Caller::named("beads"), line).await {
            tracing::warn!(%error, "what happened to a file of beads could not be told");
        }
    }
}

fn no_file(project: &ProjectId) -> Error {
    let detail = format!("project {project} has no beads_path: no file of its own");
    Refusal::conflict(ProblemCode::NoBeadFile, detail).into()
}
