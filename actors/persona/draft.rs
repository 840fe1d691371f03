//! Drafts: changes of personas that are written beside their place and not known to be done.
//!
//! Owns the directories of drafts. A draft is complete when its note lies in it, which is written last and goes first,
//! so a process that dies leaves a whole draft or a leftover. Finishing one twice does the same as once. Must not
//! know whether a draft is to be finished: that is in the log (`change.rs`). Everything here blocks.

use crate::persona::directory::{PersonaDir, failed, read_at, sync};
use arbiter_core::agent::persona::{PERSONA_FILE, Persona, START_FILE, is_valid_name};
use arbiter_files::{Directory, ForeignFile, open_foreign};
use arbiter_store::StoreError;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Name prefix of drafts; no persona's name begins with it.
const DRAFT: &str = ".draft-";
/// File with the operation of the draft.
const NOTE: &str = "NOTE.json";
/// The largest note that is read, in bytes.
const MAX_NOTE_BYTES: u64 = 64 * 1024;
/// The persona that is to be put in its place; after that the one that was there.
const NEW: &str = "new";
/// The persona that was taken away.
const GONE: &str = "gone";

/// Operation of a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DraftOp {
    Put,
    Remove,
}

/// A change that is prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The newest event before it; its own is a later one.
    pub(crate) after: u64,
    op: DraftOp,
    digest: String,
}

impl Draft {
    fn note(&self) -> Value {
        let op = match self.op {
            DraftOp::Put => "put",
            DraftOp::Remove => "take",
        };
        json!({"name": self.name, "after": self.after, "deed": op, "digest": self.digest})
    }

    fn read(id: &str, place: &Path) -> io::Result<Option<Self>> {
        let read = Directory::open(place)
            .and_then(|directory| open_foreign(&directory, Path::new(NOTE), MAX_NOTE_BYTES))
            .and_then(ForeignFile::into_text);
        let text = match read {
            Ok(text) => text,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let note: Value = serde_json::from_str(&text).unwrap_or_default();
        let op = match note["deed"].as_str() {
            Some("put") => DraftOp::Put,
            Some("take") => DraftOp::Remove,
            _ => return Ok(None),
        };
        let text = |field: &str| note[field].as_str().map(str::to_owned);
        let (name, digest, after) = (text("name"), text("digest"), note["after"].as_u64());
        let (Some(name), Some(digest), Some(after)) =
            (name.filter(|name| is_valid_name(name)), digest, after)
        else {
            return Ok(None);
        };
        Ok(Some(Self { id: id.to_owned(), name, after, op, digest }))
    }
}

impl PersonaDir {
    fn draft_path(&self, draft: &Draft) -> PathBuf {
        self.root().join(format!("{DRAFT}{}", draft.id))
    }

    /// Prepares a deed, so that neither a kill nor a full disk is in its way.
    pub(crate) fn draft(&self, op: DraftOp, persona: &Persona, after: u64) -> Result<Draft, StoreError> {
        let write = || -> io::Result<Draft> {
            self.make(self.root())?;
            let private = Permissions::from_mode(0o700);
            let aside = tempfile::Builder::new()
                .prefix(DRAFT)
                .rand_bytes(16)
                .permissions(private)
                .tempdir_in(self.root())?;
            if op == DraftOp::Put {
                let new = aside.path().join(NEW);
                DirBuilder::new().mode(0o700).create(&new)?;
                put_file(&new.join(PERSONA_FILE), &persona.persona)?;
                put_file(&new.join(START_FILE), &persona.start_here)?;
                sync(&new)?;
            }
            let own = aside.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let id = own.trim_start_matches(DRAFT).to_owned();
            let draft = Draft { id, name: persona.name.clone(), after, op, digest: persona.digest() };
            put_file(&aside.path().join(NOTE), &draft.note().to_string())?;
            sync(aside.path())?;
            sync(self.root())?;
            // From here on it stays until it is finished or discarded.
            let _ = aside.keep();
            Ok(draft)
        };
        write().map_err(|error| failed("write", self.root(), error))
    }

    /// Returns the remaining drafts; deletes invalid ones.
    pub(crate) fn drafts(&self) -> Result<Vec<Draft>, StoreError> {
        let entries = match fs::read_dir(self.root()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(failed("list", self.root(), error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", self.root(), error))?;
            let own = entry.file_name();
            let Some(id) = own.to_str().and_then(|name| name.strip_prefix(DRAFT)) else { continue };
            match Draft::read(id, &entry.path()).map_err(|error| failed("read", &entry.path(), error))? {
                Some(draft) => found.push(draft),
                // A directory that cannot be deleted does no harm.
                None => drop(fs::remove_dir_all(entry.path())),
            }
        }
        // Drafts of one persona in the order of their events.
        found.sort_by(|one, other| (one.after, &one.id).cmp(&(other.after, &other.id)));
        Ok(found)
    }

    /// Does what a draft says, unless that is done already.
    pub(crate) fn finish(&self, draft: &Draft) -> Result<(), StoreError> {
        let (place, aside) = (self.place(&draft.name), self.draft_path(draft));
        match draft.op {
            // What lies there after the exchange is another one: the old.
            DraftOp::Put if digest_at(&aside.join(NEW), &draft.name)?.as_ref() == Some(&draft.digest) => {
                self.check_contents(&draft.name)?;
                self.put(&aside.join(NEW), &place).map_err(|error| failed("write", &place, error))?;
            }
            // What was put there since by hand is not what was to go.
            DraftOp::Remove if digest_at(&place, &draft.name)?.as_ref() == Some(&draft.digest) => {
                self.check_contents(&draft.name)?;
                self.remove_persona(&place, &aside.join(GONE))
                    .map_err(|error| failed("delete", &place, error))?;
            }
            DraftOp::Put | DraftOp::Remove => {}
        }
        self.discard(draft);
        Ok(())
    }

    /// Forgets a draft. One that cannot be deleted is found again, and finishing it changes nothing.
    pub(crate) fn discard(&self, draft: &Draft) {
        let aside = self.draft_path(draft);
        if fs::remove_file(aside.join(NOTE)).is_ok() {
            let _ = fs::remove_dir_all(aside);
        }
    }

    fn put(&self, new: &Path, place: &Path) -> io::Result<()> {
        let folder = place.parent().unwrap_or(self.root());
        self.make(folder)?;
        let flags = if place.exists() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        renameat_with(CWD, new, CWD, place, flags)?;
        sync(folder)?;
        // Before the note goes, it is certain that nothing has to be done any more.
        new.parent().map_or(Ok(()), sync)
    }

    /// Takes a persona away, and folders that are empty then.
    fn remove_persona(&self, place: &Path, gone: &Path) -> io::Result<()> {
        renameat_with(CWD, place, CWD, gone, RenameFlags::NOREPLACE)?;
        let mut folder = place.parent().unwrap_or(self.root());
        sync(folder)?;
        gone.parent().map_or(Ok(()), sync)?;
        while folder != self.root() && fs::remove_dir(folder).is_ok() {
            folder = folder.parent().unwrap_or(self.root());
        }
        Ok(())
    }
}

fn digest_at(place: &Path, name: &str) -> Result<Option<String>, StoreError> {
    Ok(read_at(place, name)?.map(|persona| persona.digest()))
}

fn put_file(path: &Path, content: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
