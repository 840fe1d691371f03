//! The directory of a project's bead files: where it is, how it is opened, and where a linked file lies.
//!
//! Owns the rule that nothing outside of the project's tree is opened. Nothing here knows the format of a file.

use arbiter_core::kernel::ids::ProjectId;
use arbiter_files::{Directory, ForeignError};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::spawn_blocking;

/// The longest wait for one access to a project's directory.
const ACCESS_TIMEOUT: Duration = Duration::from_secs(30);
/// The end of the name of a file that a link may lead to.
const LINKED_EXTENSION: &str = "jsonl";

/// The bead directory of a project; clones share the bound of one access at a time.
#[derive(Clone, Debug)]
pub(crate) struct BeadDirectory {
    /// The path of the directory called `.beads`.
    path: PathBuf,
    /// The configured root that the path lies below, if there is one.
    root: Option<PathBuf>,
    project: ProjectId,
    is_busy: Arc<AtomicBool>,
}

/// A file's real place: its directory, which is opened, and its name there.
#[derive(Debug)]
pub(crate) struct FilePlace {
    pub(crate) directory: Directory,
    pub(crate) name: OsString,
}

impl FilePlace {
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }
}

/// Clears the flag of an access when it returns, also when it panics or comes too late.
struct Access(Arc<AtomicBool>);

impl Drop for Access {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl BeadDirectory {
    /// The directory at `path`, which ends in `.beads`. Below one of `roots`, no component may be a link; elsewhere
    /// an administrator has named the directory that holds `.beads`, so links above it are followed.
    pub(crate) fn new(project: &ProjectId, path: &Path, roots: &[PathBuf]) -> Self {
        let root = roots.iter().find(|root| path.starts_with(root)).cloned();
        Self { path: path.to_owned(), root, project: project.clone(), is_busy: Arc::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn project(&self) -> &ProjectId {
        &self.project
    }

    /// Opens the project's tree: the directory that holds `.beads`.
    pub(crate) fn open_tree(&self) -> Result<Directory, ForeignError> {
        let tree = self.path.parent().ok_or(ForeignError::Outside)?;
        match &self.root {
            Some(root) => {
                let below = tree.strip_prefix(root).map_err(|_| ForeignError::Outside)?;
                Directory::open(root)?.below(below)
            }
            None => Directory::open(tree),
        }
    }

    /// Opens the directory itself, which is no link.
    pub(crate) fn open(&self) -> Result<Directory, ForeignError> {
        self.open_tree()?.below(Path::new(self.own_name()))
    }

    /// Opens the directory; makes it when it is missing and its parent is not.
    pub(crate) fn open_or_make(&self) -> Result<Directory, ForeignError> {
        self.open_tree()?.make(self.own_name())?;
        self.open()
    }

    fn own_name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// Finds the place of a file in the directory. A link is followed once, to a `.jsonl` file within the project's
    /// tree and outside of `.git`.
    pub(crate) fn locate(&self, directory: Directory, name: &str) -> Result<FilePlace, ForeignError> {
        let target = match directory.link_target(OsStr::new(name)) {
            Ok(Some(target)) => target,
            Ok(None) | Err(ForeignError::Missing) => return Ok(FilePlace { directory, name: name.into() }),
            Err(error) => return Err(error),
        };
        let linked = within(self.own_name(), &target).ok_or(ForeignError::Outside)?;
        let is_hidden = linked.iter().any(|part| part == ".git");
        let name = linked.file_name().map(OsStr::to_owned).ok_or(ForeignError::Outside)?;
        if is_hidden || linked.extension().is_none_or(|end| end != LINKED_EXTENSION) {
            return Err(ForeignError::Link);
        }
        let directory = self.open_tree()?.below(linked.parent().unwrap_or(Path::new("")))?;
        Ok(FilePlace { directory, name })
    }

    /// Does something with the directory on a thread for that, within 30 s. An access that did not return in time
    /// keeps later ones out until it does, so that a hung file system takes one thread.
    ///
    /// # Errors
    /// The reason, as a text.
    pub(crate) async fn access<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, String> {
        let name = self.path.display();
        if self.is_busy.swap(true, Ordering::AcqRel) {
            return Err(format!("{name}: an earlier access has not returned yet"));
        }
        let (access, own) = (Access(Arc::clone(&self.is_busy)), self.clone());
        let working = spawn_blocking(move || {
            let _access = access;
            work(&own)
        });
        match tokio::time::timeout(ACCESS_TIMEOUT, working).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(format!("{name}: the access panicked")),
            Err(_) => Err(format!("{name}: no answer within {} s", ACCESS_TIMEOUT.as_secs())),
        }
    }
}

#[cfg(test)]
impl BeadDirectory {
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }
}

/// The place that a link in the directory `from` leads to, relative to the tree; `None` outside of it.
fn within(from: &OsStr, target: &Path) -> Option<PathBuf> {
    let mut place = PathBuf::from(from);
    for component in target.components() {
        match component {
            Component::Normal(part) => place.push(part),
            Component::CurDir => {}
            Component::ParentDir if place.pop() => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(place)
}
