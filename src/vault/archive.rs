//! Moves a key file out of the way when its password is lost, and leaves a blank one in its place.
//!
//! An archived file is renamed, never deleted and never overwritten.

use crate::VaultError;
use crate::atomic_file::AtomicFile;
use rustix::fs::{self, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// Text of a key file that the next password may replace with a new vault.
const BLANK: &[u8] = b"{\"keys\": {}}\n";

/// A key file or backup and the name it was archived under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedFile {
    pub from: PathBuf,
    pub to: PathBuf,
}

/// Renames the key file to `<file>.forgotten-<timestamp>` and its backup to the same name with `.bak`, durably.
/// Writes a blank key file in its place: the next password creates a new vault there. Returns the renamed files.
/// No process may have the vault open.
///
/// # Errors
/// [`VaultError::Io`], also when a file with the target name already exists; the errors of writing.
pub fn archive_key_file(file: &Path, timestamp: &str) -> Result<Vec<ArchivedFile>, VaultError> {
    let with = |end: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let forgotten = format!(".forgotten-{timestamp}");
    let pairs = [(file.to_owned(), with(&forgotten)), (with(".bak"), with(&format!("{forgotten}.bak")))];
    let failed = |operation, path: &Path, errno: Errno| VaultError::Io {
        operation,
        path: path.to_owned(),
        source: errno.into(),
    };
    let mut done = Vec::new();
    for (from, to) in pairs {
        match fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => done.push(ArchivedFile { from, to }),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed("rename", &from, errno)),
        }
    }
    if let Some(directory) = file.parent().filter(|directory| *directory != Path::new("")) {
        let opened = fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let synced = opened.and_then(|opened| fs::fsync(&opened));
        synced.map_err(|errno| failed("sync the directory of", file, errno))?;
    }
    // Only now: a crash before this leaves a missing file, which is refused, and the reset is run again.
    AtomicFile::open(file.to_owned())?.replace(BLANK, |_| Ok(()))?;
    Ok(done)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::vault::tests::{at, entry, secret, test_dir};
    use crate::{Iterations, Vault, VaultState};

    #[test]
    fn archived_file_is_kept_and_a_name_clash_is_refused() {
        let test_dir = test_dir();
        let mut vault = test_dir.created();
        vault.create(entry("a", &[]), secret("sk-a"), at(1)).unwrap();
        let before = test_dir.bytes();
        let moved = archive_key_file(&test_dir.path, "20260101T000000Z").unwrap();
        let names: Vec<_> =
            moved.iter().map(|aside| aside.to.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            ["keys.json.forgotten-20260101T000000Z", "keys.json.forgotten-20260101T000000Z.bak"]
        );
        assert_eq!(std::fs::read(&moved[0].to).unwrap(), before);
        let blank = Vault::open(test_dir.path.clone(), Iterations::DEFAULT).unwrap();
        assert_eq!((blank.state(), blank.is_missing()), (VaultState::Uninitialized, false));
        assert!(matches!(archive_key_file(&test_dir.path, "20260101T000000Z"), Err(VaultError::Io { .. })));
        assert!(test_dir.path.exists());
    }
}
