//! The actor of one project's file of beads: reads it when it changes, writes it after changes here.
//!
//! Owns the watch of its directory, and what it knows of the file's state. Talks to the store. Restart: at once; the file
//! is looked at anew.

use crate::actor_kind::ActorKind;
use crate::bead_file::BeadFileContext;
use crate::bead_file::disk::{self, BeadFilePaths, FileVersion};
use crate::bead_file::export::FileDialect;
use crate::bead_file::import::FileFormat;
use crate::bead_file::{ExportOutcome, ImportOutcome, ImportRequest, import_file};
use crate::caller::Caller;
use crate::error::Error;
use crate::error::Reply;
use crate::event::bus::LogLine;
use crate::runtime::cell::{Behavior, BehaviorContext};
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The name of the timer of the next writing.
const WRITE: &str = "write";
/// The name of the timer of the next reading.
const READ: &str = "read";
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
    paths: Option<BeadFilePaths>,
    /// The state of the file that is known: read or written.
    known: Option<FileVersion>,
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
            paths: None,
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
        let paths = row.and_then(|row| row.beads_path).map(|path| BeadFilePaths::of(Path::new(&path)));
        if paths != self.paths {
            if let Some(paths) = &paths {
                paths.tidy(&self.project).await;
            }
            self.paths = paths;
            (self.known, self.watcher) = (None, None);
        }
        self.watch();
        self.read().await;
        self.plan_write();
    }

    fn watch(&mut self) {
        let Some(paths) = self.paths.as_ref().filter(|_| self.watcher.is_none()) else { return };
        let (shared, id) = (Arc::clone(&self.context.shared), self.context.id.clone());
        let hear = move |event: notify::Result<notify::Event>| {
            // A file that cannot be watched is read at the next start, or on request.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                shared.bead_files.wake(&id, "directory", Command::DirectoryChanged);
            }
        };
        let watcher = notify::recommended_watcher(hear).and_then(|mut watcher| {
            watcher.watch(&paths.directory, RecursiveMode::NonRecursive).map(|()| watcher)
        });
        self.watcher = watcher.ok();
    }

    /// Reads the file if it is not in the state that is known.
    async fn read(&mut self) {
        let Some(paths) = self.paths.clone() else { return };
        let version = disk::version(paths.source.clone()).await;
        if version.is_none() && !disk::has_yaml_files(paths.directory.clone()).await
            || version.is_some() && version == self.known
        {
            return;
        }
        let digest = disk::digest(paths.clone()).await;
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

    async fn import(&mut self, caller: &Caller, request: ImportRequest) -> Result<ImportOutcome, Error> {
        let paths = self.paths.clone().ok_or_else(|| no_file(&self.project))?;
        let opened = disk::open(paths.clone()).await.map_err(|error| unusable(&paths.source, &error))?;
        let request = ImportRequest { format: opened.format, ..request };
        let is_real = !request.dry_run && request.prefix.is_none();
        let name = paths.source.display().to_string();
        let shared = &self.context.shared;
        let outcome = import_file(shared, caller, &self.project, request, opened.content, &name).await?;
        if is_real && outcome.report.refused.is_empty() {
            self.known = opened.version;
            if opened.format == FileFormat::Jsonl {
                shared.store.put_bead_file_digest(self.project.to_string(), opened.digest).await?;
            }
        }
        Ok(outcome)
    }

    async fn write(&mut self, dialect: FileDialect) -> Result<ExportOutcome, Error> {
        let paths = self.paths.clone().ok_or_else(|| no_file(&self.project))?;
        let shared = Arc::clone(&self.context.shared);
        // Changes by another program are read first, so that none is lost.
        let version = disk::version(paths.target.clone()).await;
        if version.is_some() && version != self.known && paths.target == paths.source {
            self.import(&Caller::named("beads"), ImportRequest::default()).await?;
        }
        let known = self.known.clone();
        let written = disk::write(&shared.store, &self.project, &paths, dialect, known.as_ref()).await?;
        if self.watcher.is_none() {
            self.watch();
        }
        if paths.target == paths.source {
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
    Refusal::conflict(
        ProblemCode::NoBeadFile,
        format!("project {project} has no beads_path: no file of its own"),
    )
    .into()
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    Refusal::conflict(ProblemCode::BeadFileUnusable, format!("{}: {error}", path.display())).into()
}
