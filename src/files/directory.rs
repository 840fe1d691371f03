//! Directories: opened once, and then the place from which names are resolved without following links.

use crate::ForeignError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Device and inode of a directory, the same for every path to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// An opened directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory at a trusted path. Links in the path are resolved once; the result is opened without
    /// following any, so that a change in between is noticed.
    ///
    /// # Errors
    /// [`ForeignError`] when it is missing or is no directory.
    pub fn open(path: &Path) -> Result<Self, ForeignError> {
        let path = path.canonicalize()?;
        let fd = match path.strip_prefix("/") {
            Ok(below) if !below.as_os_str().is_empty() => {
                let root = open_directory(CWD, "/")?;
                open_below(root.as_fd(), below, OFlags::RDONLY | OFlags::DIRECTORY)?
            }
            _ => open_directory(CWD, &path)?,
        };
        Ok(Self { fd, path })
    }

    /// Opens a directory below this one; no component may be a link.
    ///
    /// # Errors
    /// [`ForeignError`] when it is missing, is no directory, lies behind a link or outside.
    pub fn below(&self, relative: &Path) -> Result<Self, ForeignError> {
        let fd = if relative.as_os_str().is_empty() {
            open_directory(&self.fd, ".")?
        } else {
            open_below(self.fd.as_fd(), relative, OFlags::RDONLY | OFlags::DIRECTORY)?
        };
        Ok(Self { fd, path: self.path.join(relative) })
    }

    /// Makes a directory in this one, of mode 0755 regardless of the umask, unless something of that name is there.
    ///
    /// # Errors
    /// [`ForeignError`] of the operating system.
    pub fn make(&self, name: &OsStr) -> Result<(), ForeignError> {
        match fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let made = self.below(Path::new(name))?;
                fs::fchmod(&made.fd, Mode::from_raw_mode(0o755))?;
                self.sync()
            }
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns the path without links under which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its device and inode.
    ///
    /// # Errors
    /// [`ForeignError`] of the operating system.
    pub fn identity(&self) -> Result<Identity, ForeignError> {
        let stat = fs::fstat(&self.fd)?;
        Ok(Identity { device: stat.st_dev, inode: stat.st_ino })
    }

    /// Returns the names in it, sorted.
    ///
    /// # Errors
    /// [`ForeignError::TooMany`] with more than `max` names, or an error of the operating system.
    pub fn names(&self, max: usize) -> Result<Vec<OsString>, ForeignError> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if names.len() == max {
                return Err(ForeignError::TooMany(max));
            }
            names.push(name.to_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Returns the target of the link called `name`; `None` when it is no link.
    ///
    /// # Errors
    /// [`ForeignError`] when there is nothing of that name, or of the operating system.
    pub fn link_target(&self, name: &OsStr) -> Result<Option<PathBuf>, ForeignError> {
        let stat = fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if fs::FileType::from_raw_mode(stat.st_mode) != fs::FileType::Symlink {
            return Ok(None);
        }
        let target = fs::readlinkat(&self.fd, name, Vec::new())?;
        Ok(Some(PathBuf::from(OsStr::from_bytes(target.to_bytes()))))
    }

    /// Makes the names in it durable.
    ///
    /// # Errors
    /// [`ForeignError`] of the operating system.
    pub fn sync(&self) -> Result<(), ForeignError> {
        Ok(fs::fsync(&self.fd)?)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes the entry of a directory in its parent durable, and so on up to `above`, which was there before.
///
/// # Errors
/// [`std::io::Error`] of the operating system.
pub fn sync_created(directory: &Path, above: &Path) -> std::io::Result<()> {
    let parents = directory.ancestors().skip(1).take_while(|parent| parent.starts_with(above));
    for parent in parents {
        std::fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn open_directory(at: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, ForeignError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::openat(at, path, flags, Mode::empty())?)
}

/// Opens what lies below a directory; no component may be a link, and none may lead up.
pub(crate) fn open_below(
    directory: BorrowedFd<'_>,
    relative: &Path,
    flags: OFlags,
) -> Result<OwnedFd, ForeignError> {
    let is_plain = |component| matches!(component, Component::Normal(_));
    if relative.as_os_str().is_empty() || !relative.components().all(is_plain) {
        return Err(ForeignError::Outside);
    }
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match fs::openat2(directory, relative, flags, Mode::empty(), resolve) {
        // An older kernel, a filter of system calls, or a rename on the way; or a link, told apart below.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::INVAL | Errno::NOTDIR) => {
            walk(directory, relative, flags)
        }
        opened => Ok(opened?),
    }
}

/// Opens component by component, for kernels without `openat2`.
fn walk(directory: BorrowedFd<'_>, relative: &Path, flags: OFlags) -> Result<OwnedFd, ForeignError> {
    let mut held: Option<OwnedFd> = None;
    let names: Vec<&OsStr> = relative.iter().collect();
    for (at, name) in names.iter().enumerate() {
        let is_last = at + 1 == names.len();
        let on_the_way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from = held.as_ref().map_or(directory, |fd| fd.as_fd());
        let opened = fs::openat(from, *name, if is_last { flags } else { on_the_way }, Mode::empty());
        let opened =
            opened.map_err(|errno| match (errno, fs::statat(from, *name, AtFlags::SYMLINK_NOFOLLOW)) {
                // A link that is to be a directory fails with ENOTDIR.
                (Errno::NOTDIR, Ok(stat))
                    if fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::Symlink =>
                {
                    ForeignError::Link
                }
                _ => errno.into(),
            })?;
        held = Some(opened);
    }
    held.ok_or(ForeignError::Outside)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn directory_behind_a_link_is_opened_by_its_real_path() {
        let home = tempfile::tempdir().unwrap();
        let real = home.path().canonicalize().unwrap().join("var/home");
        std::fs::create_dir_all(&real).unwrap();
        symlink("var/home", home.path().join("home")).unwrap();
        let opened = Directory::open(&home.path().join("home")).unwrap();
        assert_eq!(opened.path(), real);
        assert_eq!(opened.identity().unwrap(), Directory::open(&real).unwrap().identity().unwrap());
        assert_eq!(Directory::open(Path::new("/")).unwrap().path(), Path::new("/"));
    }

    #[test]
    fn link_below_a_directory_is_refused_by_both_ways_to_open() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("a/b")).unwrap();
        symlink("a", home.path().join("link")).unwrap();
        let root = Directory::open(home.path()).unwrap();
        assert!(root.below(Path::new("a/b")).is_ok() && root.below(Path::new("")).is_ok());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        assert!(walk(root.as_fd(), Path::new("a/b"), flags).is_ok());
        for path in ["link", "link/b"].map(Path::new) {
            assert!(matches!(root.below(path), Err(ForeignError::Link)), "{path:?}");
            assert!(matches!(walk(root.as_fd(), path, flags), Err(ForeignError::Link)), "{path:?}");
        }
        for path in ["..", "a/../..", "/etc", "./a/../../x"].map(Path::new) {
            assert!(matches!(root.below(path), Err(ForeignError::Outside)), "{path:?}");
        }
        assert!(matches!(root.below(Path::new("c")), Err(ForeignError::Missing)));
    }

    #[test]
    fn names_are_sorted_and_bounded() {
        let home = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c"] {
            std::fs::write(home.path().join(name), "").unwrap();
        }
        let directory = Directory::open(home.path()).unwrap();
        assert_eq!(directory.names(3).unwrap(), ["a", "b", "c"]);
        assert!(matches!(directory.names(2), Err(ForeignError::TooMany(2))));
    }
}
