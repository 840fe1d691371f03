//! The user's personas on disk: directories of two files below `personas` in the data directory.
//!
//! Reads them and defines their layout. `draft.rs` replaces a directory as a whole, so a reader sees the old or
//! the new one. Every operation blocks, so it runs on blocking threads.

use arbiter_core::agent::persona::{MAX_PARTS, MAX_TEXT, PERSONA_FILE, Persona, START_FILE, is_valid_name};
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_files::{Directory, ForeignError, ForeignFile, open_foreign};
use arbiter_store::StoreError;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The most personas of a user.
pub(crate) const MAX_PERSONAS: usize = 1_000;
/// Name prefix of directories that earlier versions left beside the personas.
const ASIDE: &str = ".aside-";

/// Directory of the personas.
#[derive(Clone, Debug)]
pub(crate) struct PersonaDir(PathBuf);

impl PersonaDir {
    /// The shelf of a data directory. It is made when something is put on it.
    pub(crate) fn new(data: &Path) -> Self {
        Self(data.join("personas"))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A persona; none when there is none of that name.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Persona>, StoreError> {
        if !is_valid_name(name) {
            return Ok(None);
        }
        read_at(&self.place(name), name)
    }

    /// The names of all of them, in order.
    pub(crate) fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let place = self.place(&folder);
            let entries = match fs::read_dir(&place) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("list", &place, error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| failed("list", &place, error))?;
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let Some(own) = entry.file_name().to_str().map(str::to_owned) else { continue };
                let name = if folder.is_empty() { own } else { format!("{folder}/{own}") };
                if !is_folder || !is_valid_name(&name) {
                    continue;
                }
                if entry.path().join(PERSONA_FILE).is_file() {
                    found.push(name.clone());
                }
                if name.split('/').count() < MAX_PARTS {
                    folders.push(name);
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Refuses a name below that of another persona, or above one: a directory holds one persona and nothing else.
    pub(crate) fn check_path(&self, name: &str) -> Result<(), StoreError> {
        let taken = |other: &str| {
            let detail =
                format!("{name} and {other} cannot both be personas: one would lie within the other");
            StoreError::Refused(Refusal::conflict(ProblemCode::Conflict, detail))
        };
        let above = name.match_indices('/').map(|(at, _)| &name[..at]);
        for folder in above {
            if self.place(folder).join(PERSONA_FILE).exists() {
                return Err(taken(folder));
            }
        }
        let within = format!("{name}/");
        match self.names()?.iter().find(|other| other.starts_with(&within)) {
            Some(other) => Err(taken(other)),
            None => Ok(()),
        }
    }

    /// Refuses to replace or delete a directory in which something else lies: it would go along.
    pub(crate) fn check_contents(&self, name: &str) -> Result<(), StoreError> {
        let place = self.place(name);
        for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
            let own = entry.file_name();
            if own != PERSONA_FILE && own != START_FILE {
                let detail = format!(
                    "{} holds something else, {}: move it away first",
                    place.display(),
                    own.display()
                );
                return Err(StoreError::Refused(Refusal::conflict(ProblemCode::Conflict, detail)));
            }
        }
        Ok(())
    }

    /// Deletes the leftovers of earlier versions, and makes manually added files private.
    pub(crate) fn tidy(&self) {
        for name in self.names().unwrap_or_default() {
            let place = self.place(&name);
            let folders = place.ancestors().take_while(|folder| folder.starts_with(&self.0));
            let files = [PERSONA_FILE, START_FILE].map(|file| (place.join(file), 0o600));
            for (path, mode) in folders.map(|folder| (folder.to_owned(), 0o700)).chain(files) {
                // Foreign files and links are never read; the parent directory is private in any case.
                if fs::symlink_metadata(&path).is_ok_and(|about| !about.is_symlink()) {
                    let _ = fs::set_permissions(&path, Permissions::from_mode(mode));
                }
            }
        }
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(ASIDE)) {
                // A directory that cannot be deleted does no harm.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    pub(crate) fn make(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // The folders above are new as well, perhaps.
        folder.ancestors().skip(1).take_while(|above| above.starts_with(&self.0)).try_for_each(sync)
    }
}

/// The persona whose files lie in a directory; none when there are none.
pub(crate) fn read_at(place: &Path, name: &str) -> Result<Option<Persona>, StoreError> {
    let Some(persona) = text(place, PERSONA_FILE)? else { return Ok(None) };
    let start_here = text(place, START_FILE)?.unwrap_or_default();
    Ok(Some(Persona { name: name.to_owned(), persona, start_here }))
}

pub(crate) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// A file's text, not longer than it may be; none without the file.
fn text(place: &Path, name: &str) -> Result<Option<String>, StoreError> {
    let read = Directory::open(place)
        .and_then(|directory| open_foreign(&directory, Path::new(name), MAX_TEXT as u64))
        .and_then(ForeignFile::into_text);
    match read {
        Ok(text) => Ok(Some(text)),
        Err(ForeignError::Missing | ForeignError::NotDirectory) => Ok(None),
        Err(error) => Err(failed("read", &place.join(name), error.into())),
    }
}

pub(crate) fn failed(operation: &'static str, path: &Path, source: io::Error) -> StoreError {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Io { operation, path: path.display().to_string(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persona::draft::DraftOp;

    fn persona(name: &str, text: &str) -> Persona {
        Persona { name: name.into(), persona: text.into(), start_here: "Begin.".into() }
    }

    fn put(persona_dir: &PersonaDir, persona: &Persona) {
        persona_dir.finish(&persona_dir.draft(DraftOp::Put, persona, 0).unwrap()).unwrap();
    }

    fn modes(path: &Path, found: &mut Vec<u32>) {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let about = entry.metadata().unwrap();
            found.push(about.permissions().mode() & 0o777);
            if about.is_dir() {
                modes(&entry.path(), found);
            }
        }
    }

    #[test]
    fn persona_dir_put_replace_list_and_remove_work() {
        let home = tempfile::tempdir().unwrap();
        let persona_dir = PersonaDir::new(home.path());
        assert_eq!((persona_dir.names().unwrap(), persona_dir.read("a/b").unwrap()), (vec![], None));
        put(&persona_dir, &persona("a/b", "one"));
        put(&persona_dir, &persona("a/b", "two"));
        put(&persona_dir, &persona("c", "three"));
        assert_eq!(persona_dir.names().unwrap(), ["a/b", "c"]);
        assert_eq!(persona_dir.read("a/b").unwrap(), Some(persona("a/b", "two")));
        let mut found = Vec::new();
        modes(home.path(), &mut found);
        assert!(found.iter().all(|mode| [0o700, 0o600].contains(mode)), "{found:?}");
        persona_dir.finish(&persona_dir.draft(DraftOp::Remove, &persona("a/b", "two"), 0).unwrap()).unwrap();
        assert_eq!(
            (persona_dir.names().unwrap(), persona_dir.read("a/b").unwrap()),
            (vec!["c".to_owned()], None)
        );
        let left: Vec<_> = fs::read_dir(home.path().join("personas")).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn persona_name_nested_or_outside_the_dir_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let persona_dir = PersonaDir::new(home.path());
        put(&persona_dir, &persona("a/b", "one"));
        assert!(persona_dir.check_path("a").is_err() && persona_dir.check_path("a/b/c").is_err());
        assert!(persona_dir.check_path("a/b").is_ok() && persona_dir.check_path("a/c").is_ok());
        fs::write(home.path().join("PERSONA.md"), "outside").unwrap();
        let place = home.path().join("personas/a/b");
        assert!(persona_dir.check_contents("a/b").is_ok() && persona_dir.check_contents("none").is_ok());
        fs::write(place.join("notes.md"), "mine").unwrap();
        assert!(persona_dir.check_contents("a/b").is_err());
        assert_eq!(persona_dir.read("..").unwrap(), None);
        assert_eq!(persona_dir.read("a/../..").unwrap(), None);
    }

    #[test]
    fn special_file_in_place_of_a_text_is_refused_at_once() {
        let home = tempfile::tempdir().unwrap();
        let persona_dir = PersonaDir::new(home.path());
        put(&persona_dir, &persona("odd", "x"));
        for name in [PERSONA_FILE, START_FILE] {
            let path = home.path().join("personas/odd").join(name);
            let text = fs::read(&path).unwrap();
            let makers: [fn(&Path); 4] = [
                |path| {
                    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                    rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
                },
                |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
                |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
                |path| fs::create_dir(path).unwrap(),
            ];
            for make in makers {
                fs::remove_file(&path).unwrap();
                make(&path);
                assert!(persona_dir.read("odd").is_err(), "{}", path.display());
                fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
                fs::write(&path, &text).unwrap();
            }
        }
        assert!(persona_dir.read("odd").unwrap().is_some());
    }

    #[test]
    fn oversized_file_and_link_are_refused_leftovers_removed() {
        let home = tempfile::tempdir().unwrap();
        let persona_dir = PersonaDir::new(home.path());
        put(&persona_dir, &persona("long", "x"));
        fs::write(home.path().join("personas/long/PERSONA.md"), "x".repeat(MAX_TEXT + 1)).unwrap();
        assert!(persona_dir.read("long").is_err());
        fs::write(home.path().join("secret"), "s").unwrap();
        fs::create_dir_all(home.path().join("personas/link")).unwrap();
        std::os::unix::fs::symlink(home.path().join("secret"), home.path().join("personas/link/PERSONA.md"))
            .unwrap();
        assert!(persona_dir.read("link").is_err());
        let by_hand = home.path().join("personas/long/PERSONA.md");
        fs::set_permissions(&by_hand, Permissions::from_mode(0o644)).unwrap();
        fs::create_dir(home.path().join("personas/.aside-x")).unwrap();
        persona_dir.tidy();
        assert_eq!(fs::metadata(&by_hand).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(home.path().join("personas")).unwrap().count(), 2);
    }
}
