//! The actor of one project's file of beads: merges it with the project's beads when either changes.
//!
//! Owns the watch of its directory, and what it knows of the file's state. Talks to the store. Restart: at once; the file
//! is looked at anew. A pass over the file is `sync.rs`.

use crate::actor_kind::ActorKind;
use crate::bead_file::directory::BeadDirectory;
use crate::bead_file::disk::{self, BeadFile, DisplacedFile, YamlFile};
use crate::bead_file::export::FileDialect;
use crate::bead_file::merge::{LateLines, SetAside};
use crate::bead_file::report::{BeadFileReport, BeadFileState};
use crate::bead_file::watch::{self, Seen};
use crate::bead_file::whole_file::{self, unusable};
use crate::bead_file::{BeadFileContext, ExportOutcome, ImportOutcome, ImportRequest, import_file};
use crate::caller::Caller;
use crate::error::Error;
use crate::error::Reply;
use crate::event::bus::LogLine;
use crate::runtime::cell::{Behavior, BehaviorContext};
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::time::Timestamp;
use arbiter_files::{Directory, Stamp};
use arbiter_store::{FileNotes, ImportReport};
use notify::RecommendedWatcher;
use serde_json::json;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The name of the timer of the pass after changes here.
const WRITE: &str = "write";
/// The name of the timer of the pass after changes of the file.
const READ: &str = "read";
/// The name of the timer of the second reading of displaced files.
const READ_DISPLACED: &str = "read-displaced";
/// The name of the timer of the next attempt after a failure.
const RETRY: &str = "retry";
/// The name of the timer of the look at the file's state without an event.
const POLL: &str = "poll";
/// Time without changes before a file is read: its writer may not be done.
const SETTLE_TIME: Duration = Duration::from_millis(200);
/// Time between looks at the file's state: not every file system tells of changes.
const POLL_TIME: Duration = Duration::from_secs(30);
/// Pause after the first failure; it doubles with each one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// Name of this program in events about files.
const CALLER: &str = "beads";

/// Commands of a bead file's actor.
pub(crate) enum Command {
    /// Something happened to a bead of the project.
    BeadsChanged,
    /// Something happened in the directory, or to it.
    DirectoryChanged(Seen),
    PathChanged,
    Sync,
    /// Look whether the file is another one than is known.
    Poll,
    /// Time to read displaced files once more.
    ReadDisplaced,
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
    pub(super) context: BehaviorContext<Self>,
    pub(super) project: ProjectId,
    directory: Option<BeadDirectory>,
    /// The state of the file that is known: read or written.
    pub(super) known: Option<Stamp>,
    /// The state of the file of our own, in a workspace whose tool has a database.
    pub(super) known_own: Option<Stamp>,
    /// The digest that is stored.
    pub(super) digest: Option<String>,
    watcher: Option<RecommendedWatcher>,
    pub(super) report: BeadFileReport,
    is_report_stored: bool,
    is_write_planned: bool,
    failures: u32,
    pub(super) aside: SetAside,
    /// Beads whose lines wait for the end of a lease.
    pub(super) held: Vec<String>,
    /// Records of other types that the store has.
    pub(super) records: HashSet<String>,
    /// The YAML files that were imported last.
    pub(super) yaml: Vec<YamlFile>,
    /// Lines that others wrote to files that are not in place any more.
    pub(super) late: Vec<LateLines>,
    /// Displaced files whose names go when their content is merged.
    pub(super) merged: Vec<DisplacedFile>,
    /// Displaced files to be read once more, and when.
    displaced: Vec<(Timestamp, DisplacedFile)>,
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
            known_own: None,
            digest: None,
            watcher: None,
            report: BeadFileReport::default(),
            is_report_stored: false,
            is_write_planned: false,
            failures: 0,
            aside: SetAside::new(),
            held: Vec::new(),
            records: HashSet::new(),
            yaml: Vec::new(),
            late: Vec::new(),
            merged: Vec::new(),
            displaced: Vec::new(),
        }
    }

    async fn start(&mut self) {
        self.context.pin.store(true, Ordering::Release);
        self.reload().await;
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::BeadsChanged => self.plan_write(),
            Command::DirectoryChanged(seen) => {
                if seen == Seen::Directory {
                    self.watcher = None;
                }
                self.context.timers.set(READ, self.now_plus(SETTLE_TIME), Command::Sync);
            }
            Command::PathChanged => self.reload().await,
            Command::Sync => self.pass().await,
            Command::Poll => self.poll().await,
            Command::ReadDisplaced => self.read_displaced().await,
            Command::Import { caller, request, answer } => {
                let outcome = self.import(&caller, request).await;
                self.plan_write();
                answer.send(outcome);
            }
            Command::Export { dialect, answer } => {
                let outcome = self.sync(&Caller::named(CALLER), dialect, true).await;
                answer.send(outcome.map(|done| done.export));
            }
        }
    }
}

impl BeadFilesActor {
    fn now_plus(&self, pause: Duration) -> Timestamp {
        self.context.shared.clock.now().plus(pause)
    }

    /// Many changes in a moment are written once.
    fn plan_write(&mut self) {
        if !std::mem::replace(&mut self.is_write_planned, true) {
            let pause = self.context.shared.settings.bead_file_pause;
            self.context.timers.set(WRITE, self.now_plus(pause), Command::Sync);
        }
    }

    pub(super) fn require_directory(&self) -> Result<BeadDirectory, Error> {
        self.directory.clone().ok_or_else(|| {
            let detail = format!("project {} has no beads_path: no file of its own", self.project);
            Refusal::conflict(ProblemCode::NoBeadFile, detail).into()
        })
    }

    /// Finds out where the file is, watches it, and merges it.
    async fn reload(&mut self) {
        let row = self.context.shared.store.project(self.project.to_string()).await.ok().flatten();
        let path = row.and_then(|row| row.beads_path).map(PathBuf::from);
        if path.as_deref() != self.directory.as_ref().map(BeadDirectory::path) {
            let context = self.context.clone();
            let roots = &context.shared.settings.bead_roots;
            let directory = path.map(|path| BeadDirectory::new(&self.project, &path, roots));
            *self = Self { directory, ..Self::new(context.clone()) };
            self.load_report().await;
            self.find_leftovers().await;
        }
        self.pass().await;
        self.context.timers.set(POLL, self.now_plus(POLL_TIME), Command::Poll);
    }

    /// Loads the report of the last run, so that nothing is told twice.
    async fn load_report(&mut self) {
        let stored = self.context.shared.store.bead_file_report(self.project.to_string()).await;
        let stored = stored.ok().flatten().and_then(|text| serde_json::from_str(&text).ok());
        self.is_report_stored = stored.is_some();
        self.report = stored.unwrap_or_default();
    }

    /// A pass without a caller; its errors are in the report.
    async fn pass(&mut self) {
        self.is_write_planned = false;
        if self.directory.is_none() {
            return;
        }
        self.watch().await;
        if let Ok(done) = self.sync(&Caller::named(CALLER), FileDialect::Bd, false).await {
            let report = &done.import.report;
            if report.created + report.updated > 0 {
                tracing::info!(
                    target: "integration", project = %self.project, created = report.created, updated = report.updated,
                    "a file of beads was read"
                );
            }
        }
    }

    async fn watch(&mut self) {
        let Some(directory) = self.directory.clone().filter(|_| self.watcher.is_none()) else { return };
        let (shared, id) = (Arc::clone(&self.context.shared), self.context.id.clone());
        let tell = move |seen: Seen| {
            shared.bead_files.wake(&id, seen.as_str(), Command::DirectoryChanged(seen));
        };
        // A directory that cannot be watched is looked at from time to time.
        let watching = directory.access(move |directory| {
            let tree = directory.open_tree().ok()?;
            let own = directory.open().ok();
            watch::watch(tree.path(), own.as_ref().map(Directory::path), tell)
        });
        self.watcher = watching.await.ok().flatten();
    }

    async fn poll(&mut self) {
        self.context.timers.set(POLL, self.now_plus(POLL_TIME), Command::Poll);
        let Some(directory) = self.directory.clone() else { return };
        if disk::stamp(&directory, BeadFile::Shared).await != self.known {
            // What was watched may be another directory now.
            self.watcher = None;
            self.pass().await;
        }
    }

    /// Resets the pause between attempts.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.context.timers.cancel(RETRY);
    }

    /// Plans the next attempt. A file that stops is looked at when it changes.
    pub(super) fn failed(&mut self) {
        if self.report.state == BeadFileState::Stopped {
            return;
        }
        let pause = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(LONGEST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.context.timers.set(RETRY, self.now_plus(pause), Command::Sync);
    }

    /// Finds what a server that was killed had displaced and not merged.
    async fn find_leftovers(&mut self) {
        let Some(directory) = self.directory.clone() else { return };
        match disk::leftovers(&directory).await {
            Ok(leftovers) => {
                for displaced in leftovers {
                    let after = displaced.snapshot.bytes.to_vec();
                    self.late.push(LateLines { before: None, after });
                    self.merged.push(displaced);
                }
            }
            Err(reason) => {
                let report = BeadFileReport::new(BeadFileState::Failed, Some(reason), vec![]);
                self.publish(report).await;
            }
        }
    }

    /// Plans the second reading of a displaced file.
    pub(super) fn read_later(&mut self, displaced: Option<DisplacedFile>) {
        let at = self.now_plus(disk::SECOND_READ_AFTER);
        self.displaced.extend(displaced.map(|displaced| (at, displaced)));
        if self.displaced.len() == 1 {
            self.context.timers.set(READ_DISPLACED, at, Command::ReadDisplaced);
        }
    }

    /// Reads what other programs wrote to files that they had open when the files were displaced.
    async fn read_displaced(&mut self) {
        let Some(directory) = self.directory.clone() else { return };
        let now = self.context.shared.clock.now();
        let (due, later) = std::mem::take(&mut self.displaced).into_iter().partition(|(at, _)| *at <= now);
        self.displaced = later;
        if let Some((at, _)) = self.displaced.first() {
            self.context.timers.set(READ_DISPLACED, *at, Command::ReadDisplaced);
        }
        let due: Vec<(Timestamp, DisplacedFile)> = due;
        for (_, displaced) in due {
            let before = displaced.snapshot.bytes.to_vec();
            match displaced.read_again(&directory).await {
                Ok(None) => {}
                Ok(Some(late)) => {
                    self.late.push(LateLines { before: Some(before), after: late.bytes.to_vec() });
                }
                Err(reason) => {
                    tracing::warn!(target: "integration", project = %self.project, reason, "could not read a displaced bead file");
                }
            }
        }
        if !self.late.is_empty() {
            self.pass().await;
        }
    }

    /// Removes the names of displaced files: their content is in the file.
    pub(super) async fn forget_merged(&mut self) {
        let Some(directory) = self.directory.clone() else { return };
        for displaced in std::mem::take(&mut self.merged) {
            displaced.forget(&directory).await;
        }
    }

    /// Imports the file on request. Without options that is a pass.
    async fn import(&mut self, caller: &Caller, request: ImportRequest) -> Result<ImportOutcome, Error> {
        let directory = self.require_directory()?;
        let path = directory.path().join(BeadFile::Shared.name()).display().to_string();
        let opened = whole_file::open(&directory).await?;
        let opened = opened.ok_or_else(|| unusable(format!("{path} does not exist")))?;
        if request.is_plain() {
            return self.sync(caller, FileDialect::Bd, false).await.map(|done| done.import);
        }
        let request = ImportRequest { format: opened.format, ..request };
        let shared = &self.context.shared;
        import_file(shared, caller, &self.project, request, opened.content, &path).await
    }

    /// Stores a report, and tells in the log of events what is new in it.
    pub(super) async fn publish(&mut self, report: BeadFileReport) {
        if report == self.report && self.is_report_stored {
            return;
        }
        let was_clean = self.report.is_clean();
        self.report = report;
        let report = &self.report;
        let notes = FileNotes {
            project: self.project.to_string(),
            report: serde_json::to_string(report).ok(),
            ..FileNotes::default()
        };
        match self.context.shared.store.note_bead_file(notes).await {
            Ok(()) => self.is_report_stored = true,
            Err(error) => {
                tracing::warn!(target: "integration", %error, "could not store the report on a bead file");
            }
        }
        if was_clean && report.is_clean() {
            return;
        }
        let level = if report.is_clean() { "INFO" } else { "WARN" };
        let data = json!({
            "level": level, "message": report.message(), "state": report.state, "lines": report.lines,
            "lines_total": report.lines_total,
        });
        self.tell(data).await;
    }

    /// Tells which fields were changed here and in the file.
    pub(super) async fn tell_conflicts(&self, report: &ImportReport) {
        if report.conflicts.is_empty() {
            return;
        }
        let fields: Vec<String> =
            report.conflicts.iter().map(|(bead, field)| format!("{field} of {bead}")).collect();
        let message = format!(
            "changed here and in the bead file: {}; the value that does not count is kept as a comment",
            fields.join(", ")
        );
        self.tell(json!({"level": "WARN", "message": message})).await;
    }

    async fn tell(&self, data: serde_json::Value) {
        // A warning would be a second event: warnings are mirrored to the log of events.
        tracing::info!(target: "integration", project = %self.project, message = %data["message"], "a file of beads");
        let line = LogLine {
            source: "beads",
            project_id: Some(self.project.to_string()),
            subject: self.project.to_string(),
            data,
        };
        let bus = self.context.shared.bus.clone();
        if let Err(error) = bus.log(&Caller::named(CALLER), line).await {
            tracing::warn!(%error, "what happened to a file of beads could not be told");
        }
    }
}
