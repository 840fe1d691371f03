//! Watch of a project's bead directory, which other programs replace, as `git` does at a change of branches.

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::{Path, PathBuf};

/// Name of the directory.
const DIRECTORY: &str = ".beads";
/// Beginning of the names of this program's drafts, which are no changes by others.
const DRAFT: &str = ".arbiter-";

/// A change, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A file in the directory changed.
    Content,
    /// The directory itself came, went or was replaced.
    Directory,
}

impl Seen {
    /// Returns the name of the wake-up.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Directory => "directory",
        }
    }
}

/// Watches a project's tree for its bead directory, and that directory if it is there; `None` if neither can be
/// watched.
pub(crate) fn watch(
    tree: &Path,
    own: Option<&Path>,
    tell: impl Fn(Seen) + Send + 'static,
) -> Option<RecommendedWatcher> {
    let directory = tree.join(DIRECTORY);
    let on_change = move |event: notify::Result<Event>| {
        if let Some(seen) = event.ok().and_then(|event| seen(&directory, &event)) {
            tell(seen);
        }
    };
    let mut watcher = notify::recommended_watcher(on_change).ok()?;
    let places = [Some(tree), own];
    let mut is_watched = false;
    for place in places.into_iter().flatten() {
        // One that is missing is watched when it has come: its parent tells.
        is_watched |= watcher.watch(place, RecursiveMode::NonRecursive).is_ok();
    }
    is_watched.then_some(watcher)
}

fn seen(directory: &Path, event: &Event) -> Option<Seen> {
    if event.kind.is_access() {
        return None;
    }
    if event.paths.iter().any(|path| path == directory) {
        return Some(Seen::Directory);
    }
    let is_draft =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(DRAFT));
    let is_sibling = |path: &PathBuf| path.parent() == directory.parent();
    let matters = event.paths.iter().any(|path| !is_draft(path) && !is_sibling(path));
    matters.then_some(Seen::Content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::EventKind;
    use notify::event::{AccessKind, CreateKind};

    #[test]
    fn watch_ignores_drafts_siblings_and_reads() {
        let directory = Path::new("/p/.beads");
        let look = |kind, path: &str| seen(directory, &Event::new(kind).add_path(PathBuf::from(path)));
        let created = EventKind::Create(CreateKind::Any);
        assert_eq!(look(created, "/p/.beads/issues.jsonl"), Some(Seen::Content));
        assert_eq!(look(created, "/p/.beads/.arbiter-p.tmp"), None);
        assert_eq!(look(created, "/p/readme.md"), None);
        assert_eq!(look(created, "/p/.beads"), Some(Seen::Directory));
        assert_eq!(look(created, "/p/shared/issues.jsonl"), Some(Seen::Content));
        assert_eq!(look(EventKind::Access(AccessKind::Any), "/p/.beads/issues.jsonl"), None);
    }
}
