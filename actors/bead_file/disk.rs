//! Files of beads on the disk: where they are, how they are read and replaced, and when they are left alone.
//!
//! Everything here blocks, so it runs on threads for that.

use crate::bead_file::ExportOutcome;
use crate::bead_file::export::{BeadWriter, FileDialect, WrittenMark};
use crate::bead_file::import::FileFormat;
use crate::error::Error;
use arbiter_beadfiles::RawFields;
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{Exported, Store};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, BufWriter, Cursor, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use tokio::task::spawn_blocking;

/// The file that tools of this format share.
const SHARED_FILE: &str = "issues.jsonl";
/// Ours beside it, in a workspace whose tool keeps the truth elsewhere and reads files only when told to.
const ARBITER_FILE: &str = "arbiter.jsonl";
/// Beads that are handed to the writing thread ahead.
const WRITE_AHEAD: usize = 256;
/// The mode of a new file: it is part of a repository.
const MODE: u32 = 0o644;

/// Paths of a project's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BeadFilePaths {
    pub(crate) directory: PathBuf,
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
}

impl BeadFilePaths {
    /// The files in a directory called `.beads`.
    pub(crate) fn of(directory: &Path) -> Self {
        let metadata = fs::read_to_string(directory.join("metadata.json")).unwrap_or_default();
        let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap_or_default();
        // `bd` keeps its beads in a database of its own and exports them; what it has not imported it would lose.
        let is_bds = metadata.get("dolt_mode").is_some() || metadata.get("backend").is_some();
        let target = if is_bds { ARBITER_FILE } else { SHARED_FILE };
        Self {
            directory: directory.to_owned(),
            source: directory.join(SHARED_FILE),
            target: directory.join(target),
        }
    }
}

impl BeadFilePaths {
    /// Returns the path of the draft that is renamed over the file.
    fn draft(&self, project: &ProjectId) -> PathBuf {
        self.directory.join(format!(".arbiter-{project}.tmp"))
    }

    /// Takes away what a server that was killed within a write has left; only this project's actor writes there.
    pub(crate) async fn tidy(&self, project: &ProjectId) {
        let draft = self.draft(project);
        // One that cannot be taken away is in the way of the next write, which says so.
        let _ = spawn_blocking(move || remove(&draft)).await;
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Version of a file, which detects changes without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileVersion {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

fn version_of(metadata: &fs::Metadata) -> FileVersion {
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    FileVersion { inode: metadata.ino(), length: metadata.len(), modified }
}

/// The state of a file; none when there is none.
pub(crate) async fn version(path: PathBuf) -> Option<FileVersion> {
    spawn_blocking(move || fs::metadata(path).ok().map(|metadata| version_of(&metadata))).await.ok().flatten()
}

/// Returns whether there are files of the older trees.
pub(crate) async fn has_yaml_files(directory: PathBuf) -> bool {
    spawn_blocking(move || !yaml_files(&directory).is_empty()).await.unwrap_or(false)
}

/// The YAML files of an older tree, in order.
fn yaml_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in [directory.to_owned(), directory.join("beads")] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path()).filter(|path| {
            let is_yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
            is_yaml && path.file_stem().is_some_and(|name| name != "config")
        }));
    }
    found.sort();
    found
}

/// A file that is read.
pub(crate) struct OpenedFile {
    pub(crate) format: FileFormat,
    pub(crate) content: Box<dyn BufRead + Send>,
    pub(crate) version: Option<FileVersion>,
    pub(crate) digest: String,
}

/// Opens what there is: the file, else the YAML files of an older tree.
pub(crate) async fn open(paths: BeadFilePaths) -> io::Result<OpenedFile> {
    spawn_blocking(move || match File::open(&paths.source) {
        Ok(mut file) => {
            let version = version_of(&file.metadata()?);
            let digest = hex(&mut file)?;
            let file = File::open(&paths.source)?;
            let content = Box::new(BufReader::with_capacity(1 << 16, file));
            Ok(OpenedFile { format: FileFormat::Jsonl, content, version: Some(version), digest })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let yaml_files = yaml_files(&paths.directory);
            if yaml_files.is_empty() {
                return Err(error);
            }
            let mut text = String::new();
            for path in &yaml_files {
                text.push_str("---\n");
                text.push_str(&fs::read_to_string(path)?);
                text.push('\n');
            }
            let digest = hex(&mut text.as_bytes())?;
            Ok(OpenedFile {
                format: FileFormat::Yaml,
                content: Box::new(Cursor::new(text)),
                version: None,
                digest,
            })
        }
        Err(error) => Err(error),
    })
    .await
    .map_err(io::Error::other)?
}

/// The digest of what would be read.
pub(crate) async fn digest(paths: BeadFilePaths) -> Option<String> {
    open(paths).await.ok().map(|opened| opened.digest)
}

fn hex(source: &mut impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// A file that was written.
pub(crate) struct WrittenFile {
    pub(crate) outcome: ExportOutcome,
    pub(crate) version: Option<FileVersion>,
    pub(crate) digest: String,
    pub(crate) notes: Vec<WrittenMark>,
}

/// Replaces a project's file by what the store holds, unless it has that content or knows more.
pub(crate) async fn write(
    store: &Store,
    project: &ProjectId,
    paths: &BeadFilePaths,
    dialect: FileDialect,
    known: Option<&FileVersion>,
) -> Result<WrittenFile, Error> {
    let (give, take) = sync_channel::<Exported>(WRITE_AHEAD);
    let draft = paths.draft(project);
    let writing = spawn_blocking(move || new_file(&draft, dialect, take.into_iter()));
    let exported = store.export(project.to_string(), Box::new(move |item| give.send(item).is_ok())).await;
    let problem = |error: io::Error| -> Error {
        let detail = format!("{}: {error}", paths.target.display());
        Refusal::conflict(ProblemCode::BeadFileUnusable, detail).into()
    };
    let new = writing.await.map_err(|error| problem(io::Error::other(error)))?.map_err(problem)?;
    exported?;
    let target = paths.target.clone();
    let old = spawn_blocking(move || OldFile::read(&target))
        .await
        .map_err(|error| problem(io::Error::other(error)))?;
    let old = old.map_err(problem)?;
    let mut deleted_ids = Vec::new();
    if old.version.as_ref() != known || new.ids.len() < old.ids.len() {
        let gone: Vec<String> = old.ids.iter().filter(|id| !new.ids.contains(*id)).cloned().collect();
        let unknown = store.unknown_beads(gone.clone()).await?;
        if !unknown.is_empty() {
            let some = unknown.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            let detail = format!(
                "{} holds {} beads that are not here ({some}); import it before it is written over",
                paths.target.display(),
                unknown.len()
            );
            return Err(Refusal::conflict(ProblemCode::BeadFileKnowsMore, detail).into());
        }
        deleted_ids = gone;
    }
    if new.beads == 0 && !old.ids.is_empty() && deleted_ids.len() < old.ids.len() {
        let detail = format!("{} holds beads, and none are here", paths.target.display());
        return Err(Refusal::conflict(ProblemCode::BeadFileKnowsMore, detail).into());
    }
    let outcome = ExportOutcome {
        path: paths.target.display().to_string(),
        beads: new.beads,
        is_written: old.digest.as_deref() != Some(new.digest.as_str()),
        deleted_ids,
        removed_labels: new.removed_labels.clone(),
    };
    let (target, is_written) = (paths.target.clone(), outcome.is_written);
    let (digest, notes) = (new.digest.clone(), new.notes.clone());
    let installed = spawn_blocking(move || if is_written { new.install(&target) } else { Ok(old.version) });
    let version = installed.await.map_err(|error| problem(io::Error::other(error)))?.map_err(problem)?;
    Ok(WrittenFile { outcome, version, digest, notes })
}

/// A file that is to take the place of another.
struct NewFile {
    file: tempfile::NamedTempFile,
    digest: String,
    beads: u64,
    ids: HashSet<String>,
    notes: Vec<WrittenMark>,
    removed_labels: Vec<(String, String)>,
}

fn new_file(
    draft: &Path,
    dialect: FileDialect,
    items: impl Iterator<Item = Exported>,
) -> io::Result<NewFile> {
    let directory = draft.parent().unwrap_or(Path::new("/"));
    if !directory.exists() {
        // Only the directory itself: a path that leads nowhere is a mistake.
        fs::create_dir(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    }
    remove(draft)?;
    let name = draft.file_name().unwrap_or_default();
    let file = tempfile::Builder::new().prefix(name).rand_bytes(0).tempfile_in(directory)?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    let (mut hasher, mut writer) = (Sha256::new(), BeadWriter::new(dialect));
    let (mut beads, mut ids, mut notes, mut removed_labels) = (0, HashSet::new(), Vec::new(), Vec::new());
    for item in items {
        if let Exported::Bead(bead) = &item {
            beads += 1;
            ids.insert(bead.bead.id.to_string());
            if let Some(mark) = &bead.mark {
                let lost = mark.seen.labels.iter().filter(|label| !bead.bead.tags.contains(label));
                removed_labels.extend(lost.map(|label| (bead.bead.id.to_string(), label.clone())));
            }
        }
        if let Exported::Decision(decision) = &item {
            ids.insert(decision.id.to_string());
        }
        let (lines, note) = writer.lines(item);
        hasher.update(lines.as_bytes());
        out.write_all(lines.as_bytes())?;
        notes.extend(note);
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    let digest = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(NewFile { file, digest, beads, ids, notes, removed_labels })
}

impl NewFile {
    /// Puts it in the place of the old one, which is there whole until then.
    fn install(self, target: &Path) -> io::Result<Option<FileVersion>> {
        let mode = fs::metadata(target).map_or(MODE, |metadata| metadata.permissions().mode());
        self.file.as_file().set_permissions(Permissions::from_mode(mode))?;
        self.file.as_file().sync_all()?;
        let file = self.file.persist(target).map_err(|error| error.error)?;
        if let Some(directory) = target.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(Some(version_of(&file.metadata()?)))
    }
}

/// Facts about the file to replace.
#[derive(Default)]
struct OldFile {
    version: Option<FileVersion>,
    digest: Option<String>,
    ids: HashSet<String>,
}

impl OldFile {
    fn read(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let version = version_of(&file.metadata()?);
        let (mut hasher, mut ids) = (Sha256::new(), HashSet::new());
        let mut source = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        while source.read_until(b'\n', &mut line)? > 0 {
            hasher.update(&line);
            ids.extend(id_of(&line));
            line.clear();
        }
        let digest = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { version: Some(version), digest: Some(digest), ids })
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
