//! Bead files on disk: read as a whole, and replaced without losing what another program writes meanwhile.
//!
//! Owns the exchange of a file with its draft, and what remains of one that was cut short. Must not know what the
//! bytes mean. Each access runs on a thread for that, one at a time for each directory.

use crate::bead_file::directory::{BeadDirectory, FilePlace};
use arbiter_core::kernel::lease;
use arbiter_files::{Directory, ForeignError, ForeignFile, Stamp, open_foreign};
use bytes::Bytes;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time after which a displaced file is read once more: a program that had it open writes to it, not to the new one.
pub(crate) const SECOND_READ_AFTER: Duration = Duration::from_secs(2);
/// The largest bead file that is read or written, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 128 * 1024 * 1024;
/// The largest description of a workspace that is read, in bytes.
const MAX_METADATA_BYTES: u64 = 64 * 1024;
/// The most names in a bead directory that are looked at.
const MAX_NAMES: usize = 10_000;
/// The description of a workspace by its tool.
const METADATA: &str = "metadata.json";
/// The mode of a new file, which is part of a repository.
const NEW_MODE: Mode = Mode::from_raw_mode(0o644);
/// Characters of a digest in the name of a complete draft.
const DIGEST_IN_NAME: usize = 16;

/// One of the files that may hold a project's beads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BeadFile {
    /// The file that tools of this format share.
    Shared,
    /// Ours beside it, in a workspace whose tool keeps the truth elsewhere and reads files only when told to.
    Own,
}

impl BeadFile {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Shared => "issues.jsonl",
            Self::Own => "arbiter.jsonl",
        }
    }
}

/// A file as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSnapshot {
    pub(crate) bytes: Bytes,
    pub(crate) stamp: Stamp,
    /// SHA-256 of the bytes, in hexadecimal digits.
    pub(crate) digest: String,
    /// Its real place; elsewhere in the project's tree for a link.
    pub(crate) path: PathBuf,
}

/// Content of a file, or the reason why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileRead {
    Present(FileSnapshot),
    /// There is no file, though there is the directory that holds `.beads`.
    Absent,
    /// A file that is neither read nor written; the reason names the path and quotes no content.
    Refused(String),
}

/// The outcome of replacing a file.
#[derive(Debug)]
pub(crate) enum ReplaceOutcome {
    /// The file has the new content, and what came out of its place is what was read.
    Replaced {
        now: FileSnapshot,
        /// The file that was there; read it again after [`SECOND_READ_AFTER`]. `None` when there was none.
        displaced: Option<DisplacedFile>,
    },
    /// The file has the new content, but another program wrote in the last moment: the displaced file differs from the
    /// one that was read. The caller merges it, replaces the file once more and calls [`DisplacedFile::forget`].
    Overtaken { now: FileSnapshot, displaced: DisplacedFile },
    /// Nothing was written: the file is not the one that was read. Begin again with this one.
    Changed(FileRead),
    /// Nothing was written: the file system cannot exchange two names (`renameat2`).
    NotSupported,
    /// Nothing was written, unless the access came too late; the reason names the path. After a reason of time the
    /// next start finds in [`leftovers`] what came out.
    Failed(String),
}

/// A file that was displaced by a newer one and may still be written by a program that has it open.
#[derive(Debug)]
pub(crate) struct DisplacedFile {
    /// Its content as it came out.
    pub(crate) snapshot: FileSnapshot,
    file: ForeignFile,
    /// Its name, as long as its content is nowhere else.
    kept_as: Option<FilePlace>,
}

impl DisplacedFile {
    /// Reads it once more and removes its name; `None` if its content is what came out.
    ///
    /// # Errors
    /// The reason, as a text that names the path.
    pub(crate) async fn read_again(self, directory: &BeadDirectory) -> Result<Option<FileSnapshot>, String> {
        directory.access(move |_| self.read_again_now()).await?
    }

    fn read_again_now(mut self) -> Result<Option<FileSnapshot>, String> {
        let path = &self.snapshot.path;
        let late = snapshot(&mut self.file, path).map_err(|error| reason(path, &error))?;
        let is_late = late.digest != self.snapshot.digest;
        self.forget_now();
        Ok(is_late.then_some(late))
    }

    /// Removes its name: its content is merged.
    pub(crate) async fn forget(self, directory: &BeadDirectory) {
        // One that stays is found by the next start, and merging it again changes nothing.
        let _ = directory.access(move |_| self.forget_now()).await;
    }

    fn forget_now(self) {
        if let Some(place) = self.kept_as {
            remove(&place.directory, &place.name);
        }
    }
}

/// Returns which file is ours to write: in a workspace of `bd`, which keeps its beads in a database of its own and would
/// lose what it has not imported, not the shared one.
///
/// # Errors
/// The reason why its description cannot be read; nothing may be written then.
pub(crate) async fn target(directory: &BeadDirectory) -> Result<BeadFile, String> {
    directory.access(target_now).await?
}

fn target_now(directory: &BeadDirectory) -> Result<BeadFile, String> {
    let metadata = directory
        .open()
        .and_then(|opened| open_foreign(&opened, Path::new(METADATA), MAX_METADATA_BYTES))
        .and_then(ForeignFile::into_text);
    let metadata = match metadata {
        Ok(text) => serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default(),
        Err(error) if error.is_missing() => return Ok(BeadFile::Shared),
        Err(error) => return Err(reason(&directory.path().join(METADATA), &error)),
    };
    let is_of_bd = metadata.get("dolt_mode").is_some() || metadata.get("backend").is_some();
    Ok(if is_of_bd { BeadFile::Own } else { BeadFile::Shared })
}

/// Reads a file.
pub(crate) async fn read(directory: &BeadDirectory, file: BeadFile) -> FileRead {
    directory.access(move |directory| read_now(directory, file)).await.unwrap_or_else(FileRead::Refused)
}

fn read_now(directory: &BeadDirectory, file: BeadFile) -> FileRead {
    let place = match directory.open().and_then(|opened| directory.locate(opened, file.name())) {
        Ok(place) => place,
        // Without its parent, the path itself is a mistake.
        Err(error) if error.is_missing() && directory.open_tree().is_ok() => return FileRead::Absent,
        Err(error) => return FileRead::Refused(reason(&directory.path().join(file.name()), &error)),
    };
    read_place(&place)
}

/// Returns a file's version without reading it; `None` when it is missing or refused.
pub(crate) async fn stamp(directory: &BeadDirectory, file: BeadFile) -> Option<Stamp> {
    let work = move |directory: &BeadDirectory| {
        let place = directory.open().and_then(|opened| directory.locate(opened, file.name()))?;
        open_foreign(&place.directory, Path::new(&place.name), MAX_FILE_BYTES)?.stamp()
    };
    directory.access(work).await.ok()?.ok()
}

fn read_place(place: &FilePlace) -> FileRead {
    let opened = open_foreign(&place.directory, Path::new(&place.name), MAX_FILE_BYTES);
    match opened.and_then(|mut file| snapshot(&mut file, &place.path())) {
        Ok(snapshot) => FileRead::Present(snapshot),
        Err(error) if error.is_missing() => FileRead::Absent,
        Err(error) => FileRead::Refused(reason(&place.path(), &error)),
    }
}

/// The state before the read: a write meanwhile makes it differ from that of the file.
fn snapshot(file: &mut ForeignFile, path: &Path) -> Result<FileSnapshot, ForeignError> {
    let stamp = file.stamp()?;
    let bytes = file.read_all()?;
    Ok(FileSnapshot { digest: digest(&bytes), bytes: bytes.into(), stamp, path: path.to_owned() })
}

/// A YAML file of an older tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct YamlFile {
    /// Its path below the directory of beads.
    pub(crate) name: PathBuf,
    pub(crate) text: String,
}

/// Reads the YAML files of an older tree, in the order of their paths; empty when there are none.
///
/// # Errors
/// The reason why one of them cannot be read, with its path.
pub(crate) async fn read_yaml(directory: &BeadDirectory) -> Result<Vec<YamlFile>, String> {
    directory.access(read_yaml_now).await?
}

fn read_yaml_now(directory: &BeadDirectory) -> Result<Vec<YamlFile>, String> {
    let mut files = Vec::new();
    let mut left = MAX_FILE_BYTES;
    let root = match directory.open() {
        Ok(root) => root,
        Err(error) if error.is_missing() => return Ok(files),
        Err(error) => return Err(reason(directory.path(), &error)),
    };
    for folder in ["", "beads"].map(Path::new) {
        let names = match root.below(folder).and_then(|opened| opened.names(MAX_NAMES)) {
            Ok(names) => names,
            Err(ForeignError::Missing | ForeignError::NotDirectory) => continue,
            Err(error) => return Err(reason(&root.path().join(folder), &error)),
        };
        for name in names.iter().map(|name| folder.join(name)).filter(|name| is_yaml(name)) {
            let text = open_foreign(&root, &name, left).and_then(ForeignFile::into_text);
            let text = text.map_err(|error| reason(&root.path().join(&name), &error))?;
            left = left.saturating_sub(text.len() as u64);
            files.push(YamlFile { name, text });
        }
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

fn is_yaml(name: &Path) -> bool {
    let is_yaml = name.extension().is_some_and(|end| end == "yaml" || end == "yml");
    is_yaml && name.file_stem().is_some_and(|name| name != "config")
}

/// Replaces a file, or makes it when `expected` is `None`. It must be the one that was read, by stamp and digest. The new
/// content takes its place by an exchange of names, so that what was there comes out whole and can be compared.
pub(crate) async fn replace(
    directory: &BeadDirectory,
    file: BeadFile,
    expected: Option<&FileSnapshot>,
    bytes: Bytes,
) -> ReplaceOutcome {
    let expected = expected.cloned();
    let work = move |directory: &BeadDirectory| {
        let outcome = replace_now(directory, file, expected.as_ref(), bytes, &exchange);
        outcome.unwrap_or_else(ReplaceOutcome::Failed)
    };
    directory.access(work).await.unwrap_or_else(ReplaceOutcome::Failed)
}

/// Gives a name the place of another in the same directory.
type Exchange<'a> = dyn Fn(&Directory, &OsStr, &OsStr, RenameFlags) -> Result<(), Errno> + 'a;

fn exchange(directory: &Directory, from: &OsStr, to: &OsStr, flags: RenameFlags) -> Result<(), Errno> {
    rustix::fs::renameat_with(directory, from, directory, to, flags)
}

fn replace_now(
    directory: &BeadDirectory,
    file: BeadFile,
    expected: Option<&FileSnapshot>,
    bytes: Bytes,
    exchange: &Exchange<'_>,
) -> Result<ReplaceOutcome, String> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let error = ForeignError::TooLarge(MAX_FILE_BYTES);
        return Err(reason(&directory.path().join(file.name()), &error));
    }
    let place = directory.open_or_make().and_then(|opened| directory.locate(opened, file.name()));
    let place = place.map_err(|error| reason(&directory.path().join(file.name()), &error))?;
    let failed = |error: ForeignError| reason(&place.path(), &error);
    let is_expected = match expected {
        Some(expected) => is_unchanged(&place, expected),
        None => read_place(&place) == FileRead::Absent,
    };
    if !is_expected {
        return Ok(ReplaceOutcome::Changed(read_place(&place)));
    }
    let (draft, file) = draft(directory, &place, &bytes).map_err(failed)?;
    let flags = if expected.is_some() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    if let Err(errno) = exchange(&place.directory, &draft, &place.name, flags) {
        remove(&place.directory, &draft);
        return match errno {
            Errno::EXIST | Errno::NOENT => Ok(ReplaceOutcome::Changed(read_place(&place))),
            Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => Ok(ReplaceOutcome::NotSupported),
            errno => Err(failed(errno.into())),
        };
    }
    place.directory.sync().map_err(failed)?;
    let stamp = file.stamp().map_err(failed)?;
    let now = FileSnapshot { digest: digest(&bytes), bytes, stamp, path: place.path() };
    Ok(match expected {
        None => ReplaceOutcome::Replaced { now, displaced: None },
        Some(expected) => compare(place, draft, expected, now, exchange),
    })
}

/// Returns whether a file is the one that was read, by stamp and digest.
fn is_unchanged(place: &FilePlace, expected: &FileSnapshot) -> bool {
    open_foreign(&place.directory, Path::new(&place.name), MAX_FILE_BYTES)
        .and_then(|mut file| Ok(file.stamp()? == expected.stamp && digest_of(&mut file)? == expected.digest))
        .unwrap_or(false)
}

/// Compares what came out of a file's place, which has the draft's name now, with what was read.
fn compare(
    place: FilePlace,
    draft: OsString,
    expected: &FileSnapshot,
    now: FileSnapshot,
    exchange: &Exchange<'_>,
) -> ReplaceOutcome {
    let came_out = open_foreign(&place.directory, Path::new(&draft), MAX_FILE_BYTES).and_then(|mut file| {
        let is_same = digest_of(&mut file)? == expected.digest;
        let snapshot = if is_same { expected.clone() } else { snapshot(&mut file, &place.path())? };
        Ok((snapshot, file))
    });
    let (snapshot, file) = match came_out {
        Ok(came_out) => came_out,
        Err(error) => {
            // Another program put something else there, such as a link: it gets its place back.
            let back = exchange(&place.directory, &draft, &place.name, RenameFlags::EXCHANGE);
            if back.is_ok() {
                remove(&place.directory, &draft);
            }
            return ReplaceOutcome::Changed(FileRead::Refused(reason(&place.path(), &error)));
        }
    };
    if snapshot.digest == expected.digest {
        // The opened file is enough for late writes; a name would show up in the repository.
        remove(&place.directory, &draft);
        let displaced = Some(DisplacedFile { snapshot, file, kept_as: None });
        return ReplaceOutcome::Replaced { now, displaced };
    }
    let kept_as = Some(FilePlace { directory: place.directory, name: draft });
    ReplaceOutcome::Overtaken { now, displaced: DisplacedFile { snapshot, file, kept_as } }
}

/// Writes the new content beside the file, durably and with the file's mode and owner. Its name carries its digest, by
/// which a later start tells it from a file that came out in exchange for it.
fn draft(
    directory: &BeadDirectory,
    place: &FilePlace,
    bytes: &[u8],
) -> Result<(OsString, ForeignFile), ForeignError> {
    let begun = OsString::from(format!(".arbiter-{}.tmp", directory.project()));
    let whole = draft_name(directory, &digest(bytes));
    remove(&place.directory, &begun);
    let written = write_draft(place, &begun, bytes).and_then(|()| {
        rustix::fs::renameat(&place.directory, &begun, &place.directory, &whole)?;
        open_foreign(&place.directory, Path::new(&whole), MAX_FILE_BYTES)
    });
    let file = written.inspect_err(|_| {
        remove(&place.directory, &begun);
        remove(&place.directory, &whole);
    })?;
    Ok((whole, file))
}

fn write_draft(place: &FilePlace, draft: &OsStr, bytes: &[u8]) -> Result<(), ForeignError> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(&place.directory, draft, flags, Mode::RUSR | Mode::WUSR)?;
    let old = rustix::fs::statat(&place.directory, &place.name, AtFlags::SYMLINK_NOFOLLOW);
    if let Ok(old) = &old {
        let (owner, group) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
        // Only a privileged server can keep a foreign owner; a group may be one of its own.
        let _ = rustix::fs::fchown(&opened, Some(owner), Some(group))
            .or_else(|_| rustix::fs::fchown(&opened, None, Some(group)));
    }
    let mode = old.map_or(NEW_MODE, |old| Mode::from_raw_mode(old.st_mode & 0o777));
    rustix::fs::fchmod(&opened, mode)?;
    let mut file = File::from(opened);
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}

fn draft_name(directory: &BeadDirectory, digest: &str) -> OsString {
    let digest = digest.get(..DIGEST_IN_NAME).unwrap_or_default();
    format!(".arbiter-{}~{digest}.tmp", directory.project()).into()
}

/// Returns the files that came out of an exchange and were not merged before the server ended; removes drafts that were
/// never in place. Call [`DisplacedFile::forget`] when one is merged.
///
/// # Errors
/// The reason, with the path.
pub(crate) async fn leftovers(directory: &BeadDirectory) -> Result<Vec<DisplacedFile>, String> {
    directory.access(leftovers_now).await?
}

fn leftovers_now(directory: &BeadDirectory) -> Result<Vec<DisplacedFile>, String> {
    let (mut found, mut seen) = (Vec::new(), Vec::new());
    for file in [BeadFile::Shared, BeadFile::Own] {
        // Where a file cannot be placed, nothing was ever exchanged.
        let Ok(place) = directory.open().and_then(|opened| directory.locate(opened, file.name())) else {
            continue;
        };
        if seen.contains(&place.directory.path().to_owned()) {
            continue;
        }
        let names = place.directory.names(MAX_NAMES);
        for name in names.map_err(|error| reason(place.directory.path(), &error))? {
            found.extend(leftover(directory.project().as_str(), &place, name));
        }
        seen.push(place.directory.path().to_owned());
    }
    Ok(found)
}

/// The file that came out of an exchange and has this name; a draft of this name is removed.
fn leftover(project: &str, place: &FilePlace, name: OsString) -> Option<DisplacedFile> {
    let rest = name.to_str()?.strip_prefix(".arbiter-")?.strip_suffix(".tmp")?;
    let rest = rest.strip_prefix(project)?;
    let Some(digest) = rest.strip_prefix('~') else {
        if rest.is_empty() {
            remove(&place.directory, &name);
        }
        return None;
    };
    let mut file = open_foreign(&place.directory, Path::new(&name), MAX_FILE_BYTES).ok()?;
    let snapshot = snapshot(&mut file, &place.path()).ok()?;
    if snapshot.digest.starts_with(digest) {
        remove(&place.directory, &name);
        return None;
    }
    let directory = place.directory.below(Path::new("")).ok()?;
    Some(DisplacedFile { snapshot, file, kept_as: Some(FilePlace { directory, name }) })
}

/// Removes a file of ours. One that stays is in the way of the next write, which says so, or found by the next start.
fn remove(directory: &Directory, name: &OsStr) {
    let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
}

fn digest(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

fn digest_of(file: &mut ForeignFile) -> Result<String, ForeignError> {
    let mut hasher = Sha256::new();
    file.read_chunks(|chunk| hasher.update(chunk))?;
    Ok(hex(hasher))
}

fn hex(hasher: Sha256) -> String {
    lease::hex(&hasher.finalize())
}

fn reason(path: &Path, error: &ForeignError) -> String {
    format!("{} {}", path.display(), error.reason())
}

#[cfg(test)]
mod tests;
