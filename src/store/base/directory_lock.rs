//! Lock on a data directory: one process at a time, and no access for other users.

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::Metadata;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Reason why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("another arbiter holds the data directory {0}; stop it first, or use another --data-dir")]
    Held(PathBuf),
    /// Others can look into it, or into a file in it.
    #[error("{path} is open to others (mode {mode:o}); run: chmod {private:o} {path}")]
    TooOpen { path: PathBuf, mode: u32, private: u32 },
    #[error("{path} belongs to user {owner}, not to us ({us}); run: chown {us} {path}")]
    WrongOwner { path: PathBuf, owner: u32, us: u32 },
    /// Unexpected object in the place of a file of the store.
    #[error("{0} is not a regular file but something else, such as a link; move it away")]
    NotRegularFile(PathBuf),
    #[error("the data directory {path} cannot be used")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Files in the directory, except the vault, which its own code checks when it opens it.
const CHECKED_FILES: [&str; 8] = [
    "arbiter.db",
    "arbiter.db-wal",
    "arbiter.db-shm",
    "arbiter.db-state",
    "arbiter.lock",
    "keys.json.bak",
    "admin-token",
    "server.json",
];

/// The held lock; it ends with the process, or when it is dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    directory: PathBuf,
    _file: OwnedFd,
}

impl DirectoryLock {
    /// Makes the directory when it is missing (0700), resolves the links in its path once, checks the mode and owner
    /// of it and of the files in it, and takes the lock. Its entry in its parent is durable then.
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source: std::io::Error| LockError::Io { path, source }
        };
        let above = existing_parent(directory);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io(directory))?;
        // SQLite follows no link at all, and a link that is changed later must not lead elsewhere.
        let directory = &directory.canonicalize().map_err(io(directory))?;
        sync_entry(directory, above.as_deref()).map_err(io(directory))?;
        let metadata = std::fs::symlink_metadata(directory).map_err(io(directory))?;
        check_private(directory, &metadata, 0o700)?;
        for path in CHECKED_FILES.map(|name| directory.join(name)) {
            match std::fs::symlink_metadata(&path) {
                Ok(metadata) if !metadata.is_file() => return Err(LockError::NotRegularFile(path)),
                Ok(metadata) => check_private(&path, &metadata, 0o600)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(LockError::Io { path, source }),
            }
        }
        let path = directory.join("arbiter.lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| LockError::Io { path: path.clone(), source: errno.into() })?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _file: file }),
            Err(Errno::WOULDBLOCK) => Err(LockError::Held(directory.to_owned())),
            Err(errno) => Err(LockError::Io { path, source: errno.into() }),
        }
    }

    /// The directory that is held, without links in its path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Returns the real path of the nearest directory above that is there; `None` when `directory` itself is there.
fn existing_parent(directory: &Path) -> Option<PathBuf> {
    if directory.exists() {
        return None;
    }
    let above = directory.ancestors().skip(1).find(|above| above.exists());
    above.unwrap_or(Path::new(".")).canonicalize().ok()
}

/// Makes the entry of the directory durable, up to `above`, from which it was made. Without `above` it was there
/// before: a parent that cannot be opened is another user's, who made the entry.
fn sync_entry(directory: &Path, above: Option<&Path>) -> std::io::Result<()> {
    let parent = directory.parent().unwrap_or(directory);
    match (arbiter_files::sync_created(directory, above.unwrap_or(parent)), above) {
        (Err(error), None) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        (synced, _) => synced,
    }
}

/// Refuses a path that another user owns or can access.
fn check_private(path: &Path, metadata: &Metadata, private: u32) -> Result<(), LockError> {
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us {
        return Err(LockError::WrongOwner { path: path.to_owned(), owner: metadata.uid(), us });
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(LockError::TooOpen { path: path.to_owned(), mode: metadata.mode() & 0o777, private });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn second_lock_is_refused_until_the_first_is_released() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("data");
        let first = DirectoryLock::take(&directory).unwrap();
        assert!(matches!(DirectoryLock::take(&directory), Err(LockError::Held(_))));
        drop(first);
        assert!(DirectoryLock::take(&directory).is_ok());
    }

    #[test]
    fn directory_behind_links_is_held_by_its_real_path() {
        let home = tempfile::tempdir().unwrap();
        let real = home.path().canonicalize().unwrap().join("var/home");
        std::fs::create_dir_all(&real).unwrap();
        std::os::unix::fs::symlink("var/home", home.path().join("home")).unwrap();
        let held = DirectoryLock::take(&home.path().join("home/me/data")).unwrap();
        assert_eq!(held.directory(), real.join("me/data"));
        assert!(matches!(DirectoryLock::take(&real.join("me/data")), Err(LockError::Held(_))));
        drop(held);
        std::os::unix::fs::symlink(real.join("me/data"), home.path().join("link")).unwrap();
        let held = DirectoryLock::take(&home.path().join("link")).unwrap();
        assert_eq!(held.directory(), real.join("me/data"));
    }

    #[test]
    fn readable_directory_is_refused_with_the_fix() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("data");
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        let refused = DirectoryLock::take(&directory).unwrap_err().to_string();
        assert!(refused.contains("chmod 700"), "{refused}");
    }
}
