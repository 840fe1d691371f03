//! A private file that is read and replaced as a whole.
//!
//! Owns modes, owners, temporary files, the backup and every sync. Must not know what the bytes mean. Each
//! operation opens the directory once and resolves all names in it. A check and the action it guards therefore
//! see the same directory.

use crate::permissions::check_private;
use crate::{VaultError, temporary};
use rustix::{
    fd::OwnedFd,
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// Largest file read or written, in bytes; thousands of keys need a tenth of it.
pub(crate) const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Mode of every file created here.
const PRIVATE: Mode = Mode::from_raw_mode(0o600);

/// A private file and the contents it was last seen with.
pub(crate) struct AtomicFile {
    path: PathBuf,
    name: String,
    seen: Option<[u8; 32]>,
}

impl AtomicFile {
    /// Opens the file at `path` and removes the temporary files that a killed process left beside it.
    pub(crate) fn open(path: PathBuf) -> Result<Self, VaultError> {
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.ok_or_else(|| VaultError::corrupt(&path, "its name is not a file name"))?;
        let file = Self { path, name, seen: None };
        file.remove_stale(&file.directory()?)?;
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file; returns `None` if it does not exist.
    pub(crate) fn read(&mut self) -> Result<Option<Vec<u8>>, VaultError> {
        let bytes = self.read_name(&self.directory()?, &self.name)?;
        self.seen = bytes.as_deref().map(digest);
        Ok(bytes)
    }

    /// Returns whether the backup of the file exists.
    pub(crate) fn has_backup(&self) -> Result<bool, VaultError> {
        let name = format!("{}.bak", self.name);
        match fs::statat(self.directory()?, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.fault("inspect the backup of", error)),
        }
    }

    /// Replaces the file with `bytes` durably, or leaves it unchanged. The new file is read back and `verify`
    /// must accept it before it is renamed into place. Fails if the file has changed since the last read.
    pub(crate) fn replace(
        &mut self,
        bytes: &[u8],
        verify: impl FnOnce(&[u8]) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(VaultError::TooLarge { limit_bytes: MAX_FILE_BYTES });
        }
        let directory = self.directory()?;
        let current = self.read_name(&directory, &self.name)?;
        if current.as_deref().map(digest) != self.seen {
            return Err(VaultError::Changed { path: self.path.clone() });
        }
        let fresh = temporary::name(&self.name, "new");
        let answer = self.write_temporary(&directory, &fresh, bytes, verify).and_then(|()| {
            if let Some(current) = current {
                self.write_backup(&directory, &current)?;
            }
            self.rename(&directory, &fresh, &self.name)
        });
        if answer.is_err() {
            // Return the first error. The next open removes a temporary file that stays behind.
            let _ = fs::unlinkat(&directory, &fresh, AtFlags::empty());
        }
        answer?;
        self.seen = Some(digest(bytes));
        fs::fsync(&directory).map_err(|error| self.fault("sync the directory of", error))
    }

    /// Returns whether `bytes` were last read or put in place, durably or not.
    pub(crate) fn is_current(&self, bytes: &[u8]) -> bool {
        self.seen == Some(digest(bytes))
    }

    /// Copies the current bytes to the backup file. A link would tie both files to the same damage.
    fn write_backup(&self, directory: &OwnedFd, current: &[u8]) -> Result<(), VaultError> {
        let copy = temporary::name(&self.name, "bak");
        let answer = self
            .write_temporary(directory, &copy, current, |_| Ok(()))
            .and_then(|()| self.rename(directory, &copy, &format!("{}.bak", self.name)));
        if answer.is_err() {
            let _ = fs::unlinkat(directory, &copy, AtFlags::empty());
        }
        answer
    }

    fn write_temporary(
        &self,
        directory: &OwnedFd,
        name: &str,
        bytes: &[u8],
        verify: impl FnOnce(&[u8]) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = fs::openat(directory, name, flags, PRIVATE)
            .map_err(|error| self.fault("create a file beside", error))?;
        let mut file = File::from(opened);
        // On a full disk, write() may be short without an error: hence write_all and the read-back.
        file.write_all(bytes).map_err(|error| self.io_fault("write a file beside", error))?;
        file.sync_all().map_err(|error| self.io_fault("sync a file beside", error))?;
        match self.read_name(directory, name)? {
            Some(written) if written == bytes => verify(&written),
            _ => Err(self.io_fault("read back a file beside", io::ErrorKind::InvalidData.into())),
        }
    }

    fn rename(&self, directory: &OwnedFd, from: &str, to: &str) -> Result<(), VaultError> {
        fs::renameat(directory, from, directory, to)
            .map_err(|error| self.fault("rename a file beside", error))
    }

    fn read_name(&self, directory: &OwnedFd, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
        // NONBLOCK: opening a pipe in the file's place must not block before its type is checked.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match fs::openat(directory, name, flags, Mode::empty()) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(self.corrupt("it is a symbolic link")),
            Err(error) => return Err(self.fault("open", error)),
        };
        let stat = fs::fstat(&opened).map_err(|error| self.fault("inspect", error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.corrupt("it is not a regular file"));
        }
        check_private(&self.path, &stat, "600")?;
        let mut bytes = Vec::new();
        let mut limited = File::from(opened).take(MAX_FILE_BYTES + 1);
        limited.read_to_end(&mut bytes).map_err(|error| self.io_fault("read", error))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(self.corrupt("it is larger than 16 MiB"));
        }
        Ok(Some(bytes))
    }

    fn directory(&self) -> Result<OwnedFd, VaultError> {
        let path = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = fs::open(path, flags, Mode::empty())
            .map_err(|error| self.fault("open the directory of", error))?;
        let stat = fs::fstat(&opened).map_err(|error| self.fault("inspect the directory of", error))?;
        check_private(path, &stat, "700")?;
        Ok(opened)
    }

    fn remove_stale(&self, directory: &OwnedFd) -> Result<(), VaultError> {
        let listing = |error| self.fault("list the directory of", error);
        for found in fs::Dir::read_from(directory).map_err(listing)? {
            let found = found.map_err(listing)?;
            let Ok(name) = found.file_name().to_str() else { continue };
            if temporary::is_stale(&self.name, name) {
                match fs::unlinkat(directory, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(self.fault("remove a stale file beside", error)),
                }
            }
        }
        Ok(())
    }

    fn corrupt(&self, reason: &str) -> VaultError {
        VaultError::corrupt(&self.path, reason)
    }

    fn fault(&self, operation: &'static str, error: Errno) -> VaultError {
        self.io_fault(operation, error.into())
    }

    fn io_fault(&self, operation: &'static str, source: io::Error) -> VaultError {
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => VaultError::Full,
            _ => VaultError::Io { operation, path: self.path.clone(), source },
        }
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn test_dir() -> (tempfile::TempDir, PathBuf) {
        let directory = crate::permissions::private_directory();
        let path = directory.path().join("keys.json");
        (directory, path)
    }

    fn put(path: &Path, mode: u32) {
        std::fs::write(path, b"old").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn file_or_directory_open_to_others_is_refused_with_the_fix() {
        let (directory, path) = test_dir();
        put(&path, 0o640);
        let refused = AtomicFile::open(path.clone()).unwrap().read().unwrap_err();
        let command = format!("chmod 600 '{}'", path.display());
        assert!(matches!(&refused, VaultError::Permissions { fix, .. } if *fix == command), "{refused}");
        assert!(refused.to_string().ends_with(&command));
        put(&path, 0o600);
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o710)).unwrap();
        let command = format!("chmod 700 '{}'", directory.path().display());
        let refused = AtomicFile::open(path).err().unwrap();
        assert!(matches!(&refused, VaultError::Permissions { fix, .. } if *fix == command), "{refused}");
    }

    #[test]
    fn symlink_or_special_file_is_refused_without_blocking() {
        let (directory, path) = test_dir();
        let elsewhere = directory.path().join("elsewhere");
        put(&elsewhere, 0o600);
        symlink(&elsewhere, &path).unwrap();
        assert!(matches!(AtomicFile::open(path.clone()).unwrap().read(), Err(VaultError::Corrupt { .. })));
        std::fs::remove_file(&path).unwrap();
        fs::mkfifoat(fs::CWD, &path, PRIVATE).unwrap();
        assert!(matches!(AtomicFile::open(path).unwrap().read(), Err(VaultError::Corrupt { .. })));
    }

    #[test]
    fn failed_verification_changes_and_leaves_nothing() {
        let (directory, path) = test_dir();
        put(&path, 0o600);
        let mut file = AtomicFile::open(path.clone()).unwrap();
        file.read().unwrap();
        assert!(matches!(file.replace(b"new", |_| Err(VaultError::Locked)), Err(VaultError::Locked)));
        assert!(!file.is_current(b"new"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        file.replace(b"new", |_| Ok(())).unwrap();
        assert_eq!(file.read().unwrap().unwrap(), b"new");
        let too_large = vec![0; usize::try_from(MAX_FILE_BYTES).unwrap() + 1];
        assert!(matches!(file.replace(&too_large, |_| Ok(())), Err(VaultError::TooLarge { .. })));
    }

    #[test]
    fn full_disk_is_distinguished_from_other_errors() {
        let gone = AtomicFile::open(test_dir().1.join("keys.json")).err().unwrap();
        assert!(matches!(gone, VaultError::Io { operation: "open the directory of", .. }));
        let (_directory, path) = test_dir();
        let file = AtomicFile::open(path).unwrap();
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            assert!(matches!(file.fault("write", errno), VaultError::Full));
        }
    }

    #[test]
    fn open_removes_only_stale_temporary_files() {
        let (directory, path) = test_dir();
        for name in
            [".keys.json.4194304.new.tmp", "keys.json", "keys.json.bak", ".other.json.4194304.new.tmp"]
        {
            put(&directory.path().join(name), 0o600);
        }
        AtomicFile::open(path).unwrap();
        let listing = std::fs::read_dir(directory.path()).unwrap();
        let mut left: Vec<_> = listing.map(|found| found.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".other.json.4194304.new.tmp", "keys.json", "keys.json.bak"]);
    }
}
