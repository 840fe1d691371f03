//! A key file whose password is lost, put where it is no longer in the way.
//!
//! Owns the names it gets. Must not delete or overwrite anything.

use crate::VaultError;
use rustix::fs::{self, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// A file that was renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// What it was called.
    pub from: PathBuf,
    /// What it is called.
    pub to: PathBuf,
}

/// Renames the key file to `<file>.forgotten-<stamp>` and its backup to the same with `.bak`, durably.
/// Answers what there was to rename. Nobody else may have the vault open.
///
/// # Errors
/// [`VaultError::Io`], also when a file of such a name is there already.
pub fn set_aside(file: &Path, stamp: &str) -> Result<Vec<Aside>, VaultError> {
    let with = |end: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let forgotten = format!(".forgotten-{stamp}");
    let pairs = [(file.to_owned(), with(&forgotten)), (with(".bak"), with(&format!("{forgotten}.bak")))];
    let failed = |operation, path: &Path, errno: Errno| VaultError::Io {
        operation,
        path: path.to_owned(),
        source: errno.into(),
    };
    let mut done = Vec::new();
    for (from, to) in pairs {
        match fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => done.push(Aside { from, to }),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed("rename", &from, errno)),
        }
    }
    if let Some(directory) = file.parent().filter(|directory| *directory != Path::new("")) {
        let opened = fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let synced = opened.and_then(|opened| fs::fsync(&opened));
        synced.map_err(|errno| failed("sync the directory of", file, errno))?;
    }
    Ok(done)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::vault::tests::{at, entry, place, secret};

    #[test]
    fn a_file_set_aside_is_kept_and_a_second_of_that_name_is_refused() {
        let place = place();
        let mut vault = place.created();
        vault.create(entry("a", &[]), secret("sk-a"), at(1)).unwrap();
        let before = place.bytes();
        let moved = set_aside(&place.path, "20260101T000000Z").unwrap();
        let names: Vec<_> =
            moved.iter().map(|aside| aside.to.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            ["keys.json.forgotten-20260101T000000Z", "keys.json.forgotten-20260101T000000Z.bak"]
        );
        assert_eq!(std::fs::read(&moved[0].to).unwrap(), before);
        assert_eq!(set_aside(&place.path, "20260101T000000Z").unwrap(), []);
        place.put(b"{\"keys\": {}}");
        assert!(matches!(set_aside(&place.path, "20260101T000000Z"), Err(VaultError::Io { .. })));
        assert!(place.path.exists());
    }
}
