//! One pass over a project's file: read, merge what others changed, write what changed here.
//!
//! Owns the order of these steps. The rules of the merge are in `merge.rs` and in the store; the exchange of the file
//! is in `disk.rs`.

use crate::bead_file::actor::BeadFilesActor;
use crate::bead_file::disk::{self, BeadFile, DisplacedFile, FileRead, FileSnapshot, ReplaceOutcome};
use crate::bead_file::export::FileDialect;
use crate::bead_file::import::{FileFormat, RowBuilder};
use crate::bead_file::merge::{
    Bases, LateLines, WritePlan, WriteWish, gate_bases, late_lines, lines_to_merge, lines_to_write,
};
use crate::bead_file::report::{BeadFileReport, BeadFileState};
use crate::bead_file::whole_file::{self, unusable, yaml_text};
use crate::bead_file::{ExportOutcome, ImportOutcome, ImportRequest, import_file, read_options};
use crate::caller::Caller;
use crate::error::Error;
use arbiter_beadfiles::{Document, EntryContent, LineNote, read_document};
use arbiter_store::{Exported, FileNotes, ImportOrder, ImportReport, Imported, MAX_REPORTED_LINES};
use bytes::Bytes;
use std::collections::HashSet;
use std::io::Cursor;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// The most times that a pass begins again because others write at the same time.
const MAX_ROUNDS: usize = 20;

/// Result of a pass.
#[derive(Debug, Default)]
pub(crate) struct SyncOutcome {
    pub(crate) import: ImportOutcome,
    pub(crate) export: ExportOutcome,
}

/// One look at the file.
struct Look {
    /// The file as it was read; `None` for a missing file.
    snapshot: Option<FileSnapshot>,
    document: Document,
    bases: Bases,
    /// True if the file was read or written with this content by an older version of this program.
    is_base: bool,
}

/// Returns the id of an imported bead.
fn bead_of(item: &Imported) -> Option<String> {
    match item {
        Imported::Bead(row) => Some(row.bead.id.to_string()),
        _ => None,
    }
}

/// The outcome of writing.
enum Written {
    Done(ExportOutcome),
    /// Others wrote meanwhile: begin again with this.
    Again(FileRead),
}

impl BeadFilesActor {
    /// Merges the file and the project's beads.
    ///
    /// # Errors
    /// [`Error::Refused`] when the file stops, or cannot be read or written.
    pub(crate) async fn sync(
        &mut self,
        caller: &Caller,
        dialect: FileDialect,
        is_full: bool,
    ) -> Result<SyncOutcome, Error> {
        let outcome = self.sync_rounds(caller, dialect, is_full).await;
        match &outcome {
            Ok(_) => self.succeeded(),
            Err(error) => {
                if self.report.state == BeadFileState::InSync {
                    let report = BeadFileReport::new(BeadFileState::Failed, Some(error.to_string()), vec![]);
                    self.publish(report).await;
                }
                self.failed();
            }
        }
        outcome
    }

    async fn sync_rounds(
        &mut self,
        caller: &Caller,
        dialect: FileDialect,
        is_full: bool,
    ) -> Result<SyncOutcome, Error> {
        let directory = self.require_directory()?;
        let mut read = disk::read(&directory, BeadFile::Shared).await;
        let mut outcome = SyncOutcome::default();
        for round in 0..MAX_ROUNDS {
            let mut look = self.look(read).await?;
            let import = self.merge(caller, &mut look).await?;
            if round == 0 {
                outcome.import = import;
            }
            match self.write(look, dialect, is_full).await? {
                Written::Done(export) => {
                    outcome.export = export;
                    return Ok(outcome);
                }
                Written::Again(now) => read = now,
            }
        }
        self.fail(BeadFileState::Failed, "other programs write the file faster than it can be merged", vec![])
            .await
    }

    /// Reports that nothing is written, and returns that as an error.
    async fn fail<T>(
        &mut self,
        state: BeadFileState,
        reason: &str,
        lines: Vec<LineNote>,
    ) -> Result<T, Error> {
        let report = BeadFileReport::new(state, Some(reason.to_owned()), lines);
        let message = report.message();
        self.publish(report).await;
        Err(unusable(message))
    }

    /// Parses what was read, and loads what both sides were when they last agreed.
    async fn look(&mut self, read: FileRead) -> Result<Look, Error> {
        let snapshot = match read {
            FileRead::Present(snapshot) => Some(snapshot),
            FileRead::Absent => None,
            FileRead::Refused(reason) => return self.fail(BeadFileState::Failed, &reason, vec![]).await,
        };
        let bytes = snapshot.as_ref().map(|snapshot| snapshot.bytes.clone()).unwrap_or_default();
        let document = match parse(bytes).await? {
            Ok(document) => document,
            Err(stops) => {
                let path = snapshot.as_ref().map(|snapshot| snapshot.path.display().to_string());
                let reason = format!(
                    "{} is in the middle of a change; nothing is written until it changes",
                    path.unwrap_or_default()
                );
                return self.fail(BeadFileState::Stopped, &reason, stops).await;
            }
        };
        let store = &self.context.shared.store;
        let bases: Bases = store.bead_file_bases(self.project.to_string()).await?.into_iter().collect();
        let last = store.bead_file_digest(self.project.to_string()).await?;
        let is_base =
            bases.is_empty() && last.is_some() && last == snapshot.as_ref().map(|now| now.digest.clone());
        Ok(Look { snapshot, document, bases, is_base })
    }

    /// Merges changed lines into the store, and reloads the bases.
    async fn merge(&mut self, caller: &Caller, look: &mut Look) -> Result<ImportOutcome, Error> {
        if look.document.entries.is_empty()
            && let Some(outcome) = self.import_yaml(caller).await?
        {
            return Ok(outcome);
        }
        let shared = Arc::clone(&self.context.shared);
        let options = read_options(&shared, caller, &self.project, &ImportRequest::default()).await?;
        let mut rows = RowBuilder::new(options);
        let left_out = self.left_out(&look.document);
        let mut items = lines_to_merge(&look.document, &look.bases, &self.aside, &mut rows, look.is_base);
        let merged = items.len() + left_out.len();
        for late in &self.late {
            let (changed, appended) = late_lines(late, &look.document, &rows);
            items.extend(changed);
            if !appended.is_empty() {
                self.append_late(look, &appended).await?;
                let taken: HashSet<String> = items.iter().filter_map(bead_of).collect();
                let all = lines_to_merge(&look.document, &look.bases, &self.aside, &mut rows, false);
                items.extend(
                    all.into_iter().filter(|item| bead_of(item).is_none_or(|id| !taken.contains(&id))),
                );
            }
        }
        items.extend(self.new_records(&look.document));
        if look.is_base {
            let notes = FileNotes {
                project: self.project.to_string(),
                bases: gate_bases(&look.document),
                ..FileNotes::default()
            };
            shared.store.note_bead_file(notes).await?;
        }
        let mut report = ImportReport::default();
        if !items.is_empty() {
            report = shared.store.import(self.order(caller, items)).await?;
        }
        let beads =
            look.document.entries.iter().filter(|entry| matches!(entry.content, EntryContent::Bead(..)));
        report.unchanged += u64::try_from(beads.count().saturating_sub(merged)).unwrap_or(0);
        let bases = shared.store.bead_file_bases(self.project.to_string()).await?;
        look.bases = bases.into_iter().collect();
        self.set_aside(&look.document, &report);
        self.tell_conflicts(&report).await;
        let kept = look.document.kept.iter().map(|note| (note.line, note.text.clone()));
        let refused: Vec<_> = kept.chain(left_out).collect();
        report.refused_omitted = refused.len().saturating_sub(MAX_REPORTED_LINES) as u64;
        report.refused = refused.into_iter().take(MAX_REPORTED_LINES).collect();
        let warnings = look.document.warnings.iter().map(|note| (note.line, note.text.clone())).collect();
        let source = look.snapshot.as_ref().map(|snapshot| snapshot.path.display().to_string());
        Ok(ImportOutcome { source: source.unwrap_or_default(), report, warnings, dry_run: false })
    }

    /// Returns the lines that were set aside and are as they were then, with their reasons.
    fn left_out(&self, document: &Document) -> Vec<(u64, String)> {
        let lines = document.entries.iter().filter_map(|entry| {
            let (text, reason) = self.aside.get(&entry.id)?;
            let line = entry.lines.first().copied().unwrap_or(0);
            (*text == entry.text).then(|| (line, reason.clone()))
        });
        lines.collect()
    }

    fn order(&self, caller: &Caller, items: Vec<Imported>) -> ImportOrder {
        ImportOrder {
            project_id: self.project.clone(),
            at: self.context.shared.clock.now(),
            actor: caller.name.clone(),
            origin: caller.origin.clone(),
            allow_stale: false,
            dry_run: false,
            strict: false,
            content: Box::new(items.into_iter()),
        }
    }

    /// Appends late lines to the document, as if the file had them.
    async fn append_late(&self, look: &mut Look, appended: &[String]) -> Result<(), Error> {
        let changes =
            appended.iter().map(|line| arbiter_beadfiles::EntryChange::Append { line: line.clone() });
        let bytes = look.document.with_changes(&changes.collect::<Vec<_>>());
        if let Ok(document) = parse(bytes.into()).await? {
            look.document = document;
        }
        Ok(())
    }

    /// Returns the records of other types that were not handed to the store yet.
    fn new_records(&mut self, document: &Document) -> Vec<Imported> {
        let new = document.others.iter().filter(|line| self.records.insert(String::clone(line)));
        new.map(|line| Imported::Line(line.clone())).collect()
    }

    /// Imports the YAML files of an older tree beside a file without beads.
    async fn import_yaml(&mut self, caller: &Caller) -> Result<Option<ImportOutcome>, Error> {
        let directory = self.require_directory()?;
        let files = disk::read_yaml(&directory).await.map_err(unusable)?;
        if files.is_empty() || self.yaml == files {
            return Ok(None);
        }
        let text = yaml_text(&files);
        let request = ImportRequest { format: FileFormat::Yaml, ..ImportRequest::default() };
        let name = directory.path().display().to_string();
        let shared = &self.context.shared;
        let content = Box::new(Cursor::new(text));
        let outcome = import_file(shared, caller, &self.project, request, content, &name).await?;
        self.yaml = files;
        Ok(Some(outcome))
    }

    /// Remembers the lines that the store does not take, so that they are asked for again only when they change.
    fn set_aside(&mut self, document: &Document, report: &ImportReport) {
        self.aside.retain(|id, (text, _)| document.entry_of(id).is_some_and(|entry| entry.text == *text));
        let reasons = [
            (&report.other_project_ids, "has the id of another project's bead; import it with --prefix"),
            (&report.deleted_ids, "is about a bead that was deleted here"),
        ];
        for (ids, reason) in reasons {
            for entry in ids.iter().filter_map(|id| document.entry_of(id)) {
                self.aside.insert(entry.id.clone(), (entry.text.clone(), reason.to_owned()));
            }
        }
        self.held.clone_from(&report.held_ids);
    }

    /// Writes the lines of beads that changed here.
    async fn write(&mut self, mut look: Look, dialect: FileDialect, is_full: bool) -> Result<Written, Error> {
        let directory = self.require_directory()?;
        let shared = Arc::clone(&self.context.shared);
        let target = disk::target(&directory).await.map_err(unusable)?;
        if target == BeadFile::Own {
            return self.write_own(look, dialect).await;
        }
        let wish = WriteWish { dialect, is_full, at: shared.clock.now() };
        let plan = self.plan(&look, wish).await?;
        let mut outcome = ExportOutcome {
            path: directory.path().join(target.name()).display().to_string(),
            beads: plan.beads,
            is_written: false,
            deleted_ids: plan.deleted_ids.clone(),
            removed_labels: plan.removed_labels.clone(),
        };
        let bytes = look.document.with_changes(&plan.changes);
        let old = look.snapshot.as_ref().map(|snapshot| snapshot.bytes.as_ref()).unwrap_or_default();
        let snapshot = look.snapshot.clone();
        if bytes == old {
            let digest = snapshot.as_ref().map(|snapshot| snapshot.digest.clone());
            self.late.clear();
            self.forget_merged().await;
            self.note(&look, plan, digest).await?;
            self.known = snapshot.map(|snapshot| snapshot.stamp);
            return Ok(Written::Done(outcome));
        }
        match disk::replace(&directory, target, snapshot.as_ref(), bytes.into()).await {
            ReplaceOutcome::Replaced { now, displaced } => {
                self.late.clear();
                self.forget_merged().await;
                // What is told of lines has the numbers of the file as it is now.
                look.document = parse(now.bytes.clone()).await?.unwrap_or(look.document);
                self.note(&look, plan, Some(now.digest.clone())).await?;
                self.read_later(displaced);
                self.known = Some(now.stamp);
                outcome.is_written = true;
                Ok(Written::Done(outcome))
            }
            ReplaceOutcome::Overtaken { now, displaced } => {
                self.note(&look, plan, None).await?;
                self.overtaken(snapshot, displaced);
                Ok(Written::Again(FileRead::Present(now)))
            }
            ReplaceOutcome::Changed(now) => Ok(Written::Again(now)),
            ReplaceOutcome::NotSupported => {
                let reason = format!(
                    "{}: the file system cannot exchange two files, so nothing is written to it",
                    directory.path().display()
                );
                self.fail(BeadFileState::Failed, &reason, vec![]).await
            }
            ReplaceOutcome::Failed(reason) => self.fail(BeadFileState::Failed, &reason, vec![]).await,
        }
    }

    /// Keeps what others wrote in the last moment, to be merged in the next round.
    fn overtaken(&mut self, read: Option<FileSnapshot>, displaced: DisplacedFile) {
        self.late.push(LateLines {
            before: read.map(|snapshot| snapshot.bytes.to_vec()),
            after: displaced.snapshot.bytes.to_vec(),
        });
        self.merged.push(displaced);
    }

    async fn plan(&self, look: &Look, wish: WriteWish) -> Result<WritePlan, Error> {
        let store = &self.context.shared.store;
        let (give, take) = std::sync::mpsc::channel::<Exported>();
        store.export(self.project.to_string(), Box::new(move |item| give.send(item).is_ok())).await?;
        let exported: Vec<Exported> = take.into_iter().collect();
        let here: HashSet<&str> = exported
            .iter()
            .filter_map(|item| match item {
                Exported::Bead(bead) => Some(bead.bead.id.as_str()),
                _ => None,
            })
            .collect();
        let gone: Vec<String> = look.bases.keys().filter(|id| !here.contains(id.as_str())).cloned().collect();
        let deleted: HashSet<String> = store.deleted_beads(gone).await?.into_iter().collect();
        Ok(lines_to_write(&look.document, &look.bases, exported, &deleted, wish))
    }

    /// Notes the state of the file in one transaction, and reports it.
    async fn note(&mut self, look: &Look, plan: WritePlan, digest: Option<String>) -> Result<(), Error> {
        let WritePlan { bases, marks, notes, .. } = plan;
        if !bases.is_empty() || !marks.is_empty() || digest != self.digest {
            let project = self.project.to_string();
            let notes = FileNotes { project, beads: marks, bases, digest: digest.clone(), report: None };
            self.context.shared.store.note_bead_file(notes).await?;
            self.digest = digest;
        }
        let document = &look.document;
        let mut lines: Vec<LineNote> = document.kept.iter().chain(&document.warnings).cloned().collect();
        let held = "is about a bead that is worked on here; it is merged when the lease ends";
        let held = self.held.iter().map(|id| (id, held));
        let aside = self.aside.iter().map(|(id, (_, reason))| (id, reason.as_str()));
        let planned = notes.iter().map(|(id, text)| (id, text.as_str()));
        for (id, text) in held.chain(aside).chain(planned) {
            let line = document.entry_of(id).and_then(|entry| entry.lines.first());
            lines.extend(line.map(|line| LineNote { line: *line, text: text.to_owned() }));
        }
        self.publish(BeadFileReport::new(BeadFileState::InSync, None, lines)).await;
        Ok(())
    }

    /// Writes the file of our own beside that of a tool with a database.
    async fn write_own(&mut self, look: Look, dialect: FileDialect) -> Result<Written, Error> {
        let (shared, directory) = (Arc::clone(&self.context.shared), self.require_directory()?);
        let known = self.known_own;
        let written =
            whole_file::write(&shared.store, &self.project, &directory, BeadFile::Own, dialect, known).await;
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                return self.fail(BeadFileState::Failed, &error.to_string(), vec![]).await;
            }
        };
        self.late.clear();
        self.forget_merged().await;
        self.known_own = written.version;
        self.known = look.snapshot.as_ref().map(|snapshot| snapshot.stamp);
        let digest = look.snapshot.as_ref().map(|snapshot| snapshot.digest.clone());
        self.note(&look, WritePlan { marks: written.notes, ..WritePlan::default() }, digest).await?;
        Ok(Written::Done(written.outcome))
    }
}

async fn parse(bytes: Bytes) -> Result<Result<Document, Vec<LineNote>>, Error> {
    let parsed = spawn_blocking(move || read_document(&bytes)).await;
    parsed.map_err(|error| unusable(error.to_string()))
}
