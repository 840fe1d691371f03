//! Opening and reading one file.

use crate::directory::{Directory, open_below};
use crate::error::{FileKind, ForeignError};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{self, AtFlags, Mode, OFlags, Stat};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

/// Bytes of one piece.
const CHUNK_BYTES: usize = 64 * 1024;

/// Version of a file, which detects most changes without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub device: u64,
    pub inode: u64,
    /// Length in bytes.
    pub length: u64,
    /// Time of the last write: seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Time of the last change of content or attributes: seconds and nanoseconds.
    pub changed: (i64, i64),
}

/// A regular file, opened for reading, with the bound of its size.
#[derive(Debug)]
pub struct ForeignFile {
    file: File,
    max_bytes: u64,
}

/// Opens the regular file at `relative` below a directory. No component may be a link; pipes, sockets, devices
/// and directories are refused without being opened, and so is a file of more than `max_bytes`.
///
/// # Errors
/// [`ForeignError`], the reason.
pub fn open_foreign(
    directory: &Directory,
    relative: &Path,
    max_bytes: u64,
) -> Result<ForeignFile, ForeignError> {
    let name = relative.file_name().ok_or(ForeignError::Outside)?;
    let held: Option<OwnedFd> = match relative.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            Some(open_below(directory.as_fd(), parent, OFlags::PATH | OFlags::DIRECTORY)?)
        }
        _ => None,
    };
    let parent = held.as_ref().map_or(directory.as_fd(), |fd| fd.as_fd());
    // Opening a device can have an effect, so its type is looked at first, and again once it is opened.
    check(&fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?, max_bytes)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = fs::openat(parent, name, flags, Mode::empty())?;
    check(&fs::fstat(&file)?, max_bytes)?;
    Ok(ForeignFile { file: File::from(file), max_bytes })
}

/// Opens the regular file at a path that was given in a setting or on a command line. Links in the path are
/// resolved once, as its giver means them; the result is opened like any other.
///
/// # Errors
/// [`ForeignError`], the reason.
pub fn open_given(path: &Path, max_bytes: u64) -> Result<ForeignFile, ForeignError> {
    // Only the type matters here: a pipe of the shell has no path that could be resolved.
    check(&fs::stat(path)?, max_bytes)?;
    let real = path.canonicalize()?;
    let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(ForeignError::NotRegular(FileKind::Directory));
    };
    open_foreign(&Directory::open(parent)?, Path::new(name), max_bytes)
}

/// Reads the text of the regular file at a path that was given in a setting or on a command line.
///
/// # Errors
/// [`ForeignError`], the reason; [`ForeignError::NotText`] for anything but UTF-8.
pub fn read_text(path: &Path, max_bytes: u64) -> Result<String, ForeignError> {
    open_given(path, max_bytes)?.into_text()
}

fn check(stat: &Stat, max_bytes: u64) -> Result<(), ForeignError> {
    if fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::Symlink {
        return Err(ForeignError::Link);
    }
    if let Some(kind) = FileKind::of(stat.st_mode) {
        return Err(ForeignError::NotRegular(kind));
    }
    if u64::try_from(stat.st_size).is_ok_and(|length| length > max_bytes) {
        return Err(ForeignError::TooLarge(max_bytes));
    }
    Ok(())
}

impl ForeignFile {
    /// Returns its attributes.
    ///
    /// # Errors
    /// [`ForeignError`] of the operating system.
    pub fn stat(&self) -> Result<Stat, ForeignError> {
        Ok(fs::fstat(&self.file)?)
    }

    /// Returns its version.
    ///
    /// # Errors
    /// [`ForeignError`] of the operating system.
    pub fn stamp(&self) -> Result<Stamp, ForeignError> {
        let stat = self.stat()?;
        Ok(Stamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            length: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            changed: (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        })
    }

    /// Reads all of it from its beginning; may be called again.
    ///
    /// # Errors
    /// [`ForeignError::TooLarge`] when it has grown beyond its bound, or an error of the operating system.
    pub fn read_all(&mut self) -> Result<Vec<u8>, ForeignError> {
        let mut bytes = Vec::new();
        self.read_into(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads all of it from its beginning to the end of `bytes`, whose capacity a caller with secrets has made
    /// large enough, so that it never moves.
    ///
    /// # Errors
    /// As [`ForeignFile::read_all`].
    pub fn read_into(&mut self, bytes: &mut Vec<u8>) -> Result<(), ForeignError> {
        self.file.rewind()?;
        let before = bytes.len();
        (&self.file).take(self.max_bytes.saturating_add(1)).read_to_end(bytes)?;
        if u64::try_from(bytes.len() - before).is_ok_and(|length| length > self.max_bytes) {
            return Err(ForeignError::TooLarge(self.max_bytes));
        }
        Ok(())
    }

    /// Passes all of it from its beginning to `take`, in pieces of at most 64 KiB.
    ///
    /// # Errors
    /// As [`ForeignFile::read_all`].
    pub fn read_chunks(&mut self, mut take: impl FnMut(&[u8])) -> Result<(), ForeignError> {
        self.file.rewind()?;
        let (mut buffer, mut left) = (vec![0; CHUNK_BYTES], self.max_bytes);
        loop {
            let length = match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            left = left.checked_sub(length as u64).ok_or(ForeignError::TooLarge(self.max_bytes))?;
            take(buffer.get(..length).unwrap_or_default());
        }
    }

    /// Reads all of it as UTF-8.
    ///
    /// # Errors
    /// As [`ForeignFile::read_all`], and [`ForeignError::NotText`].
    pub fn into_text(mut self) -> Result<String, ForeignError> {
        String::from_utf8(self.read_all()?).map_err(|_| ForeignError::NotText)
    }

    /// Returns a reader that fails when the file is longer than its bound.
    pub fn into_reader(self) -> BoundedReader {
        BoundedReader { left: self.max_bytes, file: self.file, max_bytes: self.max_bytes }
    }

    /// Returns the file itself, for checks of its attributes.
    pub fn as_file(&self) -> &File {
        &self.file
    }
}

/// A reader of a file that fails when the file is longer than its bound.
#[derive(Debug)]
pub struct BoundedReader {
    file: File,
    left: u64,
    max_bytes: u64,
}

impl Read for BoundedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        match self.left.checked_sub(length as u64) {
            Some(left) => self.left = left,
            None => return Err(ForeignError::TooLarge(self.max_bytes).into()),
        }
        Ok(length)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    const MAX: u64 = 16;

    /// A directory with one object of each type; the names of those that are refused, with the reason.
    fn zoo() -> (tempfile::TempDir, Vec<(&'static str, &'static str)>) {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::fs::write(at("file"), "content").unwrap();
        std::fs::write(at("huge"), vec![b'x'; 17]).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        std::fs::write(at("folder/file"), "inner").unwrap();
        fs::mkfifoat(fs::CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        drop(UnixListener::bind(at("socket")).unwrap());
        symlink("/dev/zero", at("zero")).unwrap();
        symlink("file", at("link")).unwrap();
        symlink("folder", at("way")).unwrap();
        symlink("nothing", at("dangling")).unwrap();
        let refused = vec![
            ("huge", "is larger than 16 bytes"),
            ("folder", "is a directory, not a regular file"),
            ("pipe", "is a pipe, not a regular file"),
            ("socket", "is a socket, not a regular file"),
            ("zero", "is a symbolic link, or lies behind one"),
            ("link", "is a symbolic link, or lies behind one"),
            ("way/file", "is a symbolic link, or lies behind one"),
            ("dangling", "is a symbolic link, or lies behind one"),
            ("nothing", "does not exist"),
            ("../x", "leads out of the directory that it must lie in"),
            ("file/x", "is not a directory"),
        ];
        (home, refused)
    }

    #[test]
    fn every_type_but_a_regular_file_is_refused_with_a_reason() {
        let (home, refused) = zoo();
        let directory = Directory::open(home.path()).unwrap();
        for (name, reason) in refused {
            let error = open_foreign(&directory, Path::new(name), MAX).unwrap_err();
            assert_eq!(error.reason(), reason, "{name}");
        }
        let dev = Directory::open(Path::new("/dev")).unwrap();
        let error = open_foreign(&dev, Path::new("zero"), MAX).unwrap_err();
        assert_eq!(error.reason(), "is a device, not a regular file");
        let mut file = open_foreign(&directory, Path::new("folder/file"), MAX).unwrap();
        assert_eq!((file.read_all().unwrap(), file.read_all().unwrap()), (b"inner".into(), b"inner".into()));
    }

    #[test]
    fn given_path_may_lead_over_links_but_not_to_special_files() {
        let (home, _) = zoo();
        for (name, text) in [("link", "content"), ("way/file", "inner"), ("file", "content")] {
            assert_eq!(read_text(&home.path().join(name), MAX).unwrap(), text);
        }
        for (name, reason) in [
            ("zero", "is a device, not a regular file"),
            ("pipe", "is a pipe, not a regular file"),
            ("socket", "is a socket, not a regular file"),
            ("folder", "is a directory, not a regular file"),
            ("way", "is a directory, not a regular file"),
            ("huge", "is larger than 16 bytes"),
            ("dangling", "does not exist"),
        ] {
            assert_eq!(read_text(&home.path().join(name), MAX).unwrap_err().reason(), reason, "{name}");
        }
        assert!(read_text(Path::new("/"), MAX).is_err());
    }

    #[test]
    fn file_that_grows_beyond_its_bound_is_refused_while_read() {
        let (home, _) = zoo();
        let directory = Directory::open(home.path()).unwrap();
        let mut file = open_foreign(&directory, Path::new("file"), MAX).unwrap();
        let reader = open_foreign(&directory, Path::new("file"), MAX).unwrap().into_reader();
        let stamp = file.stamp().unwrap();
        std::fs::write(home.path().join("file"), vec![b'x'; 17]).unwrap();
        assert!(matches!(file.read_all(), Err(ForeignError::TooLarge(MAX))));
        assert!(io::read_to_string(reader).is_err());
        assert_ne!(file.stamp().unwrap(), stamp);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_without_an_excerpt() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("file"), b"se\xffcret").unwrap();
        assert_eq!(read_text(&home.path().join("file"), MAX).unwrap_err().reason(), "is not UTF-8");
    }
}
