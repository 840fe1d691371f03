//! Files of beads: reading one in, writing one out, and the watch for changes.
//!
//! `bead_file/actor.rs` is the actor of one project's file. It writes the file a moment after beads changed, and reads
//! it when it was changed from outside. `disk` does the I/O, `import` and `export` translate.

pub(crate) mod actor;
pub(crate) mod directory;
pub(crate) mod disk;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod merge;
pub(crate) mod report;
pub(crate) mod sync;
pub(crate) mod warnings;
pub(crate) mod watch;
pub(crate) mod whole_file;

use crate::bead_file::actor::{BeadFilesActor, Command};
use crate::bead_file::export::{BeadWriter, FileDialect};
use crate::bead_file::import::{FileFormat, ReadOptions};
use crate::bead_file::report::BeadFileReport;
use crate::bead_file::warnings::Warnings;
use crate::caller::Caller;
use crate::error::Error;
use crate::event::bus::BusHandle;
use crate::event::subscription::Delivery;
use crate::runtime::registry::{Affinity, IdlePolicy, Registry};
use crate::services::{Services, deref_to_services};
use arbiter_core::kernel::event::EventFilter;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{ProjectId, is_valid_id};
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{Exported, ImportOrder, ImportReport, Store, StoreError};
use bytes::Bytes;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufWriter, ErrorKind, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

/// Size of a piece of an exported file, in bytes.
const CHUNK_BYTES: usize = 65_536;

/// The parts that bead files use.
pub(crate) struct BeadFileContext {
    pub(crate) services: Arc<Services>,
    pub(crate) bus: BusHandle,
    pub(crate) bead_files: Registry<BeadFilesActor>,
}

deref_to_services!(BeadFileContext);

impl BeadFileContext {
    pub(crate) fn new(services: Arc<Services>, bus: BusHandle) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            services,
            bus,
            bead_files: Registry::new(Weak::clone(own), Affinity::Entities, IdlePolicy::Keep),
        })
    }
}

/// Handle of the bead files' actors.
#[derive(Clone)]
pub struct BeadFilesHandle(pub(crate) Arc<BeadFileContext>);

/// Options of an import.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    pub format: FileFormat,
    /// True for a dry run: all changes are rolled back, and the result is reported.
    pub dry_run: bool,
    pub strict: bool,
    pub allow_stale: bool,
    pub prefix: Option<String>,
    pub any_project: bool,
}

impl ImportRequest {
    /// Returns whether the request asks for nothing but the import itself.
    pub(crate) fn is_plain(&self) -> bool {
        let has_flag = self.dry_run || self.strict || self.allow_stale || self.any_project;
        !has_flag && self.prefix.is_none()
    }
}

/// Result of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOutcome {
    pub source: String,
    pub report: ImportReport,
    /// Irregularities that did not prevent the import.
    pub warnings: Warnings,
    pub dry_run: bool,
}

/// Result of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportOutcome {
    pub path: String,
    pub beads: u64,
    pub is_written: bool,
    /// Beads that were in it and were deleted here. A tool that reads the file by merging it does not hear of that.
    pub deleted_ids: Vec<String>,
    /// Labels that beads lost since it was last written: of the same kind.
    pub removed_labels: Vec<(String, String)>,
}

impl BeadFilesHandle {
    /// Reads a file in.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown project, an unusable prefix, a file that cannot be read, and with `strict` for the
    /// first line that cannot be taken; nothing is stored then.
    pub async fn import(
        &self,
        caller: &Caller,
        project: &ProjectId,
        request: ImportRequest,
        source: Box<dyn BufRead + Send>,
        name: &str,
    ) -> Result<ImportOutcome, Error> {
        import_file(&self.0, caller, project, request, source, name).await
    }

    /// Reads a project's own file in.
    ///
    /// # Errors
    /// As [`BeadFilesHandle::import`], and for a project that has none.
    pub async fn import_project_file(
        &self,
        caller: &Caller,
        project: &ProjectId,
        request: ImportRequest,
    ) -> Result<ImportOutcome, Error> {
        let caller = caller.clone();
        self.require_bead_file(project).await?;
        let ask = |answer| Command::Import { caller, request, answer };
        self.0.bead_files.ask(project.as_str(), ask).await
    }

    /// Writes a project's own file now.
    ///
    /// # Errors
    /// [`Error::Refused`] for a project that has none, and when the file knows beads that are not here.
    pub async fn export_project_file(
        &self,
        project: &ProjectId,
        dialect: FileDialect,
    ) -> Result<ExportOutcome, Error> {
        self.require_bead_file(project).await?;
        let ask = |answer| Command::Export { dialect, answer };
        self.0.bead_files.ask(project.as_str(), ask).await
    }

    /// Returns the report on a project's file; `None` if it was never looked at.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn report(&self, project: &ProjectId) -> Result<Option<BeadFileReport>, Error> {
        let stored = self.0.store.bead_file_report(project.to_string()).await?;
        Ok(stored.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Returns the reports of all projects with files.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn reports(&self) -> Result<Vec<(String, BeadFileReport)>, Error> {
        let stored = self.0.store.bead_file_reports().await?;
        let parse = |(project, text): (String, String)| Some((project, serde_json::from_str(&text).ok()?));
        Ok(stored.into_iter().filter_map(parse).collect())
    }

    async fn require_bead_file(&self, project: &ProjectId) -> Result<(), Error> {
        let row = self.0.store.project(project.to_string()).await?;
        let row = row.ok_or_else(|| Refusal::not_found("project", project.as_str()))?;
        if row.beads_path.is_none() {
            let detail = format!("project {project} has no beads_path: no file of its own");
            return Err(Refusal::conflict(ProblemCode::NoBeadFile, detail).into());
        }
        Ok(())
    }

    /// Writes the content of a project's file to an unnamed file, which is read in pieces. So the time of a slow reader
    /// is not that of a transaction.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown project, [`Error::Store`] when the file cannot be written.
    pub async fn content(&self, project: &ProjectId, dialect: FileDialect) -> Result<SpooledFile, Error> {
        let store = &self.0.store;
        if store.project(project.to_string()).await?.is_none() {
            return Err(Refusal::not_found("project", project.as_str()).into());
        }
        let directory = store.path().parent().map(PathBuf::from).unwrap_or_default();
        let spooled = tokio::task::spawn_blocking(move || tempfile::tempfile_in(directory)).await;
        let file = spooled.map_err(std::io::Error::other).and_then(|file| file).map_err(spool_error)?;
        let mut output = file.try_clone().map(BufWriter::new).map_err(spool_error)?;
        let (failed, failure) = std::sync::mpsc::channel();
        let mut writer = BeadWriter::new(dialect);
        let sink = Box::new(move |item| {
            let is_end = item == Exported::End;
            let written = output.write_all(writer.lines(item).0.as_bytes());
            let written = if is_end { written.and_then(|()| output.flush()) } else { written };
            // The receiver outlives the export.
            written.map_err(|error| failed.send(error)).is_ok()
        });
        store.export(project.to_string(), sink).await?;
        if let Ok(error) = failure.try_recv() {
            return Err(spool_error(error));
        }
        let mut spooled = SpooledFile { file: Some(file) };
        spooled.rewind()?;
        Ok(spooled)
    }
}

fn spool_error(source: std::io::Error) -> Error {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full.into(),
        _ => StoreError::Io { operation: "write", path: "the exported beads".to_owned(), source }.into(),
    }
}

/// The content of a file of beads, in an unnamed file that ends with its reader.
pub struct SpooledFile {
    file: Option<File>,
}

impl SpooledFile {
    fn rewind(&mut self) -> Result<(), Error> {
        self.file.as_mut().map_or(Ok(()), |file| file.rewind().map_err(spool_error))
    }

    /// The next piece; none at the end and after an error.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        let mut file = self.file.take()?;
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; CHUNK_BYTES];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            Ok((file, piece))
        });
        match read.await.map_err(std::io::Error::other).and_then(|read| read) {
            Ok((_, piece)) if piece.is_empty() => None,
            Ok((file, piece)) => {
                self.file = Some(file);
                Some(Ok(piece.into()))
            }
            Err(error) => Some(Err(spool_error(error))),
        }
    }
}

/// Imports a file; returns the warnings beside the store's report.
pub(crate) async fn import_file(
    shared: &Services,
    caller: &Caller,
    project: &ProjectId,
    request: ImportRequest,
    source: Box<dyn BufRead + Send>,
    name: &str,
) -> Result<ImportOutcome, Error> {
    if request.prefix.as_deref().is_some_and(|prefix| !is_valid_id(prefix)) {
        return Err(Refusal::field("prefix", "must be the beginning of an id").into());
    }
    let options = read_options(shared, caller, project, &request).await?;
    let now = options.now;
    let (content, warnings) = import::spawn_reader(source, options).map_err(|source| StoreError::Io {
        operation: "start",
        path: "a reader of beads".to_owned(),
        source,
    })?;
    let order = ImportOrder {
        project_id: project.clone(),
        at: now,
        actor: caller.name.clone(),
        origin: caller.origin.clone(),
        allow_stale: request.allow_stale,
        dry_run: request.dry_run,
        strict: request.strict,
        content: Box::new(content.into_iter()),
    };
    let report = shared.store.import(order).await?;
    let warnings: Warnings =
        tokio::task::spawn_blocking(move || warnings.recv().unwrap_or_default()).await.unwrap_or_default();
    Ok(ImportOutcome { source: name.to_owned(), report, warnings, dry_run: request.dry_run })
}

/// Collects what the reader of a file has to know.
pub(crate) async fn read_options(
    shared: &Services,
    caller: &Caller,
    project: &ProjectId,
    request: &ImportRequest,
) -> Result<ReadOptions, Error> {
    let agents = shared.store.started_agents().await?;
    Ok(ReadOptions {
        format: request.format,
        project_id: project.clone(),
        agents: agents.iter().map(|agent| agent.id.to_string()).collect(),
        prefix: request.prefix.clone(),
        any_project: request.any_project,
        now: shared.clock.now(),
        by: caller.name.clone(),
    })
}

/// Tells the actors of files of what happens to their beads.
pub(crate) async fn watch_events(shared: &Arc<BeadFileContext>) -> Result<(), Error> {
    let mut events = shared.bus.subscribe(EventFilter::default(), None).await?;
    let task_context = Arc::clone(shared);
    let mut with_files = projects_with_files(&task_context.store).await?;
    for project in &with_files {
        task_context.bead_files.ensure_started(project);
    }
    shared.runtime.spawn(async move {
        while let Delivery::Event(event) = events.next().await {
            let kind = event.kind;
            if matches!(
                kind,
                EventType::ProjectCreated | EventType::ProjectUpdated | EventType::ProjectDeleted
            ) {
                match projects_with_files(&task_context.store).await {
                    Ok(now) => {
                        for gone in with_files.difference(&now) {
                            task_context.bead_files.remove(gone);
                        }
                        with_files = now;
                    }
                    Err(error) => tracing::warn!(%error, "the projects with files could not be read"),
                }
                if with_files.contains(&event.subject) {
                    task_context.bead_files.wake(&event.subject, "path", Command::PathChanged);
                }
                continue;
            }
            let word = kind.as_str();
            let is_work = word.starts_with("bead.") || word.starts_with("decision.");
            if let Some(project) = event.project_id.as_deref().filter(|_| is_work)
                && with_files.contains(project)
            {
                task_context.bead_files.wake(project, "beads", Command::BeadsChanged);
            }
        }
    });
    Ok(())
}

async fn projects_with_files(store: &Store) -> Result<HashSet<String>, Error> {
    Ok(store.projects_with_files().await?.into_iter().collect())
}
