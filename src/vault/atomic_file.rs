//! One file that is read whole and replaced whole, and is nobody else's.
//!
//! Owns modes, owners, temporary files, the backup and every sync. Must not know what the bytes mean.
//! All names are resolved in a directory opened once per operation, so that a check and the act it
//! guards see the same directory.

use crate::VaultError;
use rustix::{
    fd::OwnedFd,
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
    process::{self, Pid},
};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// The largest file read or written, in bytes; thousands of keys are a tenth of it.
pub(crate) const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// The mode of everything created here.
const PRIVATE: Mode = Mode::from_raw_mode(0o600);
/// Permission bits that nobody but the owner may have.
const OTHERS: u32 = 0o077;

/// A private file, and what was last seen in it.
pub(crate) struct AtomicFile {
    path: PathBuf,
    name: String,
    seen: Option<[u8; 32]>,
}

impl AtomicFile {
    /// The file at this path, and its directory without what a killed process left there.
    pub(crate) fn open(path: PathBuf) -> Result<Self, VaultError> {
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.ok_or_else(|| VaultError::Corrupt { path: path.clone(), reason: "its name is not a file name".to_owned() })?;
        let file = Self { path, name, seen: None };
        file.remove_stale(&file.directory()?)?;
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file; nothing when there is none.
    pub(crate) fn read(&mut self) -> Result<Option<Vec<u8>>, VaultError> {
        let bytes = self.read_name(&self.directory()?, &self.name)?;
        self.seen = bytes.as_deref().map(digest);
        Ok(bytes)
    }

    /// Replaces the file by these bytes, durably, or leaves it as it is. Before the new file takes its
    /// name it is read back and `verify` must accept it. Refused when the file is not as last read.
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
        let fresh = self.temporary("new");
        let answer = self.write_temporary(&directory, &fresh, bytes, verify).and_then(|()| {
            if let Some(current) = current {
                self.keep_backup(&directory, &current)?;
            }
            self.rename(&directory, &fresh, &self.name)
        });
        if answer.is_err() {
            // The first error is the one to tell; what stays behind is removed at the next open.
            let _ = fs::unlinkat(&directory, &fresh, AtFlags::empty());
        }
        answer?;
        self.seen = Some(digest(bytes));
        fs::fsync(&directory).map_err(|error| self.fault("sync the directory of", error))
    }

    /// Whether these bytes are what was last read or put in place, durably or not.
    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        self.seen == Some(digest(bytes))
    }

    /// Keeps the bytes that are about to be replaced. A copy, not a link: both files survive alone.
    fn keep_backup(&self, directory: &OwnedFd, current: &[u8]) -> Result<(), VaultError> {
        let copy = self.temporary("bak");
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
        let opened = fs::openat(directory, name, flags, PRIVATE).map_err(|error| self.fault("create a file beside", error))?;
        let mut file = File::from(opened);
        // One write() may be short on a full disk, without an error: hence the loop and the reading back.
        file.write_all(bytes).map_err(|error| self.io_fault("write a file beside", error))?;
        file.sync_all().map_err(|error| self.io_fault("sync a file beside", error))?;
        match self.read_name(directory, name)? {
            Some(written) if written == bytes => verify(&written),
            _ => Err(self.io_fault("read back a file beside", io::ErrorKind::InvalidData.into())),
        }
    }

    fn rename(&self, directory: &OwnedFd, from: &str, to: &str) -> Result<(), VaultError> {
        fs::renameat(directory, from, directory, to).map_err(|error| self.fault("rename a file beside", error))
    }

    fn read_name(&self, directory: &OwnedFd, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
        // NONBLOCK: a pipe put in the file's place must not hang us before its type is seen.
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
        let opened = fs::open(path, flags, Mode::empty()).map_err(|error| self.fault("open the directory of", error))?;
        let stat = fs::fstat(&opened).map_err(|error| self.fault("inspect the directory of", error))?;
        check_private(path, &stat, "700")?;
        Ok(opened)
    }

    /// `.keys.json.<pid>.<kind>.tmp`: the process id says whether its maker still lives.
    fn temporary(&self, kind: &str) -> String {
        format!(".{}.{}.{kind}.tmp", self.name, std::process::id())
    }

    fn remove_stale(&self, directory: &OwnedFd) -> Result<(), VaultError> {
        let listing = |error| self.fault("list the directory of", error);
        for found in fs::Dir::read_from(directory).map_err(listing)? {
            let found = found.map_err(listing)?;
            let Ok(name) = found.file_name().to_str() else { continue };
            if self.is_stale(name) {
                match fs::unlinkat(directory, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(self.fault("remove a stale file beside", error)),
                }
            }
        }
        Ok(())
    }

    /// Whether this is a temporary file of ours that no other living process is writing.
    fn is_stale(&self, name: &str) -> bool {
        let middle = name.strip_prefix('.').and_then(|name| name.strip_prefix(self.name.as_str()));
        let Some(middle) = middle.and_then(|name| name.strip_prefix('.')).and_then(|name| name.strip_suffix(".tmp")) else {
            return false;
        };
        let maker = middle.split('.').next().and_then(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 0);
        let maker = maker.and_then(Pid::from_raw).filter(|pid| *pid != process::getpid());
        maker.is_none_or(|pid| process::test_kill_process(pid) == Err(Errno::SRCH))
    }

    fn corrupt(&self, reason: &str) -> VaultError {
        VaultError::Corrupt { path: self.path.clone(), reason: reason.to_owned() }
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

fn check_private(path: &Path, stat: &Stat, mode: &str) -> Result<(), VaultError> {
    let fix = mend(path, stat.st_mode, stat.st_uid, process::geteuid().as_raw(), mode);
    fix.map_or(Ok(()), |fix| Err(VaultError::Permissions { path: path.to_owned(), fix }))
}

/// The command that makes the path private again; nothing when it is.
fn mend(path: &Path, found_mode: u32, owner: u32, us: u32, mode: &str) -> Option<String> {
    let quoted = format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"));
    let chown = (owner != us).then(|| format!("chown {us} {quoted}"));
    let chmod = (found_mode & OTHERS != 0).then(|| format!("chmod {mode} {quoted}"));
    let commands: Vec<String> = chown.into_iter().chain(chmod).collect();
    (!commands.is_empty()).then(|| commands.join(" && "))
}
