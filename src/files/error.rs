//! Reasons to refuse a file. None of them quotes a file's content.

use rustix::fs::FileType;
use rustix::io::Errno;
use std::fmt;
use std::io;

/// The type of an object in a file system that is not a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Directory,
    NamedPipe,
    Socket,
    Device,
    Other,
}

impl FileKind {
    /// Returns the kind of what is neither a regular file nor a link; `None` for these.
    pub(crate) fn of(mode: rustix::fs::RawMode) -> Option<Self> {
        match FileType::from_raw_mode(mode) {
            FileType::RegularFile | FileType::Symlink => None,
            FileType::Directory => Some(Self::Directory),
            FileType::Fifo => Some(Self::NamedPipe),
            FileType::Socket => Some(Self::Socket),
            FileType::CharacterDevice | FileType::BlockDevice => Some(Self::Device),
            FileType::Unknown => Some(Self::Other),
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "a directory",
            Self::NamedPipe => "a pipe",
            Self::Socket => "a socket",
            Self::Device => "a device",
            Self::Other => "a special file",
        })
    }
}

/// The reason why a file or directory of others was not opened or read. Its text follows the path.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    #[error("does not exist")]
    Missing,
    /// The name, or a directory on the way to it, is a link.
    #[error("is a symbolic link, or lies behind one")]
    Link,
    #[error("is {0}, not a regular file")]
    NotRegular(FileKind),
    #[error("is not a directory")]
    NotDirectory,
    #[error("leads out of the directory that it must lie in")]
    Outside,
    /// Larger than the bound, in bytes.
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    /// More entries than the bound.
    #[error("has more than {0} entries")]
    TooMany(usize),
    #[error("is not UTF-8")]
    NotText,
    #[error("cannot be used")]
    Io(#[source] io::Error),
}

impl ForeignError {
    /// Returns the reason with its cause, as a text that follows the path.
    pub fn reason(&self) -> String {
        match self {
            Self::Io(source) => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }

    /// Returns whether there is nothing at the path.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

impl From<Errno> for ForeignError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::Missing,
            Errno::LOOP => Self::Link,
            Errno::NOTDIR => Self::NotDirectory,
            Errno::XDEV => Self::Outside,
            _ => Self::Io(errno.into()),
        }
    }
}

impl From<io::Error> for ForeignError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Errno::from_raw_os_error(number).into(),
            None => Self::Io(error),
        }
    }
}

impl From<ForeignError> for io::Error {
    fn from(error: ForeignError) -> Self {
        match error {
            ForeignError::Io(source) => source,
            ForeignError::Missing => io::ErrorKind::NotFound.into(),
            _ => Self::new(io::ErrorKind::InvalidInput, format!("it {error}")),
        }
    }
}
