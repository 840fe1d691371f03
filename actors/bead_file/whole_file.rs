//! The file of a project, read in and written out as a whole.
//!
//! Owns the rule when a file is left alone. Reading and replacing it is `disk.rs`.

use crate::bead_file::ExportOutcome;
use crate::bead_file::directory::BeadDirectory;
use crate::bead_file::disk::{self, BeadFile, FileRead, FileSnapshot, ReplaceOutcome, YamlFile};
use crate::bead_file::export::{BeadWriter, FileDialect, WrittenMark};
use crate::bead_file::import::{FileFormat, YAML_FILE};
use crate::error::Error;
use arbiter_beadfiles::RawFields;
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_files::Stamp;
use arbiter_store::{Exported, Store};
use std::collections::HashSet;
use std::io::{BufRead, Cursor};
use std::sync::mpsc::sync_channel;
use tokio::task::spawn_blocking;

/// Beads that are handed to the writing thread ahead.
const WRITE_AHEAD: usize = 256;

/// A file that is read.
pub(crate) struct OpenedFile {
    pub(crate) format: FileFormat,
    pub(crate) content: Box<dyn BufRead + Send>,
}

/// Returns the refusal for a file that cannot be read or written.
pub(crate) fn unusable(reason: impl Into<String>) -> Error {
    Refusal::conflict(ProblemCode::BeadFileUnusable, reason.into()).into()
}

/// Opens what there is: the file, else the YAML files of an older tree; `None` when there is neither.
pub(crate) async fn open(directory: &BeadDirectory) -> Result<Option<OpenedFile>, Error> {
    match disk::read(directory, BeadFile::Shared).await {
        FileRead::Present(file) => {
            Ok(Some(OpenedFile { format: FileFormat::Jsonl, content: Box::new(Cursor::new(file.bytes)) }))
        }
        FileRead::Refused(reason) => Err(unusable(reason)),
        FileRead::Absent => {
            let files = disk::read_yaml(directory).await.map_err(unusable)?;
            let text = yaml_text(&files);
            Ok((!files.is_empty())
                .then(|| OpenedFile { format: FileFormat::Yaml, content: Box::new(Cursor::new(text)) }))
        }
    }
}

/// Joins the YAML files of an older tree to one text, in which each document names its file.
pub(crate) fn yaml_text(files: &[YamlFile]) -> String {
    files.iter().map(|file| format!("---\n{YAML_FILE}{}\n{}\n", file.name.display(), file.text)).collect()
}

/// A file that was written.
pub(crate) struct WrittenFile {
    pub(crate) outcome: ExportOutcome,
    pub(crate) version: Option<Stamp>,
    pub(crate) notes: Vec<WrittenMark>,
}

/// Replaces a project's file by what the store holds, unless it has that content or knows more.
pub(crate) async fn write(
    store: &Store,
    project: &ProjectId,
    directory: &BeadDirectory,
    target: BeadFile,
    dialect: FileDialect,
    known: Option<Stamp>,
) -> Result<WrittenFile, Error> {
    let (give, take) = sync_channel::<Exported>(WRITE_AHEAD);
    let writing = spawn_blocking(move || NewFile::collect(dialect, take.into_iter()));
    let exported = store.export(project.to_string(), Box::new(move |item| give.send(item).is_ok())).await;
    let new = writing.await.map_err(|error| unusable(error.to_string()))?;
    exported?;
    let old = match disk::read(directory, target).await {
        FileRead::Present(old) => Some(old),
        FileRead::Absent => None,
        FileRead::Refused(reason) => return Err(unusable(reason)),
    };
    let path = directory.path().join(target.name()).display().to_string();
    let deleted_ids = deleted_ids(store, &path, old.as_ref(), &new, known).await?;
    let mut outcome = ExportOutcome {
        path,
        beads: new.beads,
        is_written: false,
        deleted_ids,
        removed_labels: new.removed_labels,
    };
    if let Some(old) = old.as_ref().filter(|old| old.bytes == new.text.as_bytes()) {
        return Ok(WrittenFile { outcome, version: Some(old.stamp), notes: new.notes });
    }
    let now = replace(directory, target, old.as_ref(), new.text).await?;
    outcome.is_written = true;
    Ok(WrittenFile { outcome, version: Some(now.stamp), notes: new.notes })
}

/// Replaces a file; what another program wrote in the last moment gets its place back.
async fn replace(
    directory: &BeadDirectory,
    target: BeadFile,
    old: Option<&FileSnapshot>,
    text: String,
) -> Result<FileSnapshot, Error> {
    let changed = || {
        let path = directory.path().join(target.name());
        unusable(format!("{} was changed meanwhile", path.display()))
    };
    match disk::replace(directory, target, old, text.into()).await {
        ReplaceOutcome::Replaced { now, .. } => Ok(now),
        ReplaceOutcome::Overtaken { now, displaced } => {
            let bytes = displaced.snapshot.bytes.clone();
            if let ReplaceOutcome::Replaced { .. } = disk::replace(directory, target, Some(&now), bytes).await
            {
                displaced.forget(directory).await;
            }
            Err(changed())
        }
        ReplaceOutcome::Changed(FileRead::Refused(reason)) | ReplaceOutcome::Failed(reason) => {
            Err(unusable(reason))
        }
        ReplaceOutcome::Changed(_) => Err(changed()),
        ReplaceOutcome::NotSupported => Err(unusable(format!(
            "{}: the file system cannot exchange two files, so nothing is written to it",
            directory.path().display()
        ))),
    }
}

/// Returns the ids that are in the file and were deleted here; refuses a file with beads that are unknown here.
async fn deleted_ids(
    store: &Store,
    path: &str,
    old: Option<&FileSnapshot>,
    new: &NewFile,
    known: Option<Stamp>,
) -> Result<Vec<String>, Error> {
    let Some(old) = old else { return Ok(vec![]) };
    let knows_more =
        |detail: String| -> Error { Refusal::conflict(ProblemCode::BeadFileKnowsMore, detail).into() };
    let ids: HashSet<String> = old.bytes.split(|byte| *byte == b'\n').filter_map(id_of).collect();
    let mut deleted_ids = Vec::new();
    if Some(old.stamp) != known || new.ids.len() < ids.len() {
        let gone: Vec<String> = ids.iter().filter(|id| !new.ids.contains(*id)).cloned().collect();
        let unknown = store.unknown_beads(gone.clone()).await?;
        if !unknown.is_empty() {
            let some = unknown.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            return Err(knows_more(format!(
                "{path} holds {} beads that are not here ({some}); import it before it is written over",
                unknown.len()
            )));
        }
        deleted_ids = gone;
    }
    if new.beads == 0 && !ids.is_empty() && deleted_ids.len() < ids.len() {
        return Err(knows_more(format!("{path} holds beads, and none are here")));
    }
    Ok(deleted_ids)
}

/// The content that is to take the place of another.
#[derive(Default)]
struct NewFile {
    text: String,
    beads: u64,
    ids: HashSet<String>,
    notes: Vec<WrittenMark>,
    removed_labels: Vec<(String, String)>,
}

impl NewFile {
    fn collect(dialect: FileDialect, items: impl Iterator<Item = Exported>) -> Self {
        let (mut new, mut writer) = (Self::default(), BeadWriter::new(dialect));
        for item in items {
            if let Exported::Bead(bead) = &item {
                new.beads += 1;
                new.ids.insert(bead.bead.id.to_string());
                if let Some(mark) = &bead.mark {
                    let lost = mark.seen.labels.iter().filter(|label| !bead.bead.tags.contains(label));
                    new.removed_labels.extend(lost.map(|label| (bead.bead.id.to_string(), label.clone())));
                }
            }
            if let Exported::Decision(decision) = &item {
                new.ids.insert(decision.id.to_string());
            }
            let (lines, note) = writer.lines(item);
            new.text.push_str(&lines);
            new.notes.extend(note);
        }
        new
    }
}

/// The id of the bead on a line; none when there is no bead on it, or one that counts as deleted.
fn id_of(line: &[u8]) -> Option<String> {
    let fields = RawFields::parse(std::str::from_utf8(line).ok()?).ok()?;
    let text = |name: &str| fields.get(name).and_then(|raw| serde_json::from_str::<String>(raw).ok());
    let is_bead = text("_type").is_none_or(|kind| kind == "issue");
    let is_gone = text("status").is_some_and(|status| status == "tombstone");
    // What we wrote for a decision goes with it.
    let is_ours = fields.get("await_type").is_some() && text("id").is_some_and(|id| id.starts_with("dec-"));
    text("id").filter(|_| is_bead && !is_gone && !is_ours)
}
